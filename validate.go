package evsourcing

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/google/uuid"
)

// maxVersion is the highest version and position: they must fit in an int64.
const maxVersion = math.MaxInt64

// Validate checks what is passed to Append, for every store alike: promise 8 of
// [EventStore]. It returns an error that names the first thing wrong:
//
//   - no batches, an empty batch, or two batches for one stream;
//   - a stream that is not valid ([ErrInvalidStream]), or events of another one;
//   - an empty topic, or a nil event ID;
//   - an event ID that occurs twice ([ErrDuplicateEvent]);
//   - a version that is wrong or missing;
//   - a time before the year 0 or after 9999, which is what texts can hold;
//   - a NUL byte or invalid UTF-8 in a topic, content type, tag or metadata;
//   - a topic, content type, tag or metadata key over [MaxNameSize], data over
//     [MaxDataSize], tags and metadata over [MaxMetadataSize], all texts and data
//     of the append over [MaxAppendSize].
func Validate(batches ...Batch) error {
	if len(batches) == 0 {
		return errors.New("evsourcing: append: no batches")
	}
	count, size := 0, 0
	for i := range batches {
		n, err := validateBatch(&batches[i])
		if err != nil {
			return err
		}
		count += len(batches[i].Events)
		size += n
	}
	if size > MaxAppendSize {
		return fmt.Errorf("evsourcing: append to %v: the append has %d bytes, over the limit of %d: append its events in several steps", batches[0].Stream, size, MaxAppendSize)
	}
	if len(batches) > 1 {
		streams := make(map[StreamID]struct{}, len(batches))
		for i := range batches {
			if _, dup := streams[batches[i].Stream]; dup {
				return fmt.Errorf("evsourcing: append: two batches for stream %v", batches[i].Stream)
			}
			streams[batches[i].Stream] = struct{}{}
		}
	}
	return validateUnique(batches, count)
}

// validateBatch returns how many bytes the batch has.
func validateBatch(b *Batch) (size int, err error) {
	if err := b.Stream.Validate(); err != nil {
		return 0, err
	}
	if len(b.Events) == 0 {
		return 0, fmt.Errorf("evsourcing: append to %v: an empty batch", b.Stream)
	}
	if b.Expected != AnyVersion && b.Expected > maxVersion-uint64(len(b.Events)) {
		return 0, fmt.Errorf("evsourcing: append to %v: expected version %d is out of range", b.Stream, b.Expected)
	}
	for i := range b.Events {
		e := &b.Events[i]
		if e.Stream != b.Stream && e.Stream != (StreamID{}) {
			return 0, fmt.Errorf("evsourcing: append to %v: event %d is of another stream, %v", b.Stream, i, e.Stream)
		}
		want := uint64(0)
		if b.Expected != AnyVersion {
			want = b.Expected + uint64(i) + 1
		}
		if e.Version != want {
			return 0, fmt.Errorf("evsourcing: append to %v: event %d has version %d, want %d", b.Stream, i, e.Version, want)
		}
		n, err := validateEvent(e)
		if err != nil {
			return 0, fmt.Errorf("evsourcing: append to %v: event %d (topic %q): %w", b.Stream, i, abbreviate(e.Topic), err)
		}
		size += n + len(b.Stream.Type) + len(b.Stream.ID)
	}
	return size, nil
}

// validateEvent returns how many bytes the event has.
func validateEvent(e *StoredEvent) (size int, err error) {
	if e.ID == uuid.Nil {
		return 0, errors.New("the event ID is nil")
	}
	if err := ValidateName(e.Topic); err != nil {
		return 0, fmt.Errorf("the topic %w", err)
	}
	if e.ContentType != "" {
		if err := ValidateName(e.ContentType); err != nil {
			return 0, fmt.Errorf("the content type %q %w", abbreviate(e.ContentType), err)
		}
	}
	if len(e.Data) > MaxDataSize {
		return 0, fmt.Errorf("the data has %d bytes, over the limit of %d", len(e.Data), MaxDataSize)
	}
	if year := e.Time.UTC().Year(); year < 0 || year > 9999 {
		return 0, fmt.Errorf("the time's year is %d, not within 0 to 9999", year)
	}
	for _, tag := range e.Tags {
		if err := ValidateName(tag); err != nil {
			return 0, fmt.Errorf("the tag %q %w", abbreviate(tag), err)
		}
		size += len(tag)
	}
	for k, v := range e.Metadata {
		if err := ValidateName(k); err != nil {
			return 0, fmt.Errorf("the metadata key %q %w", abbreviate(k), err)
		}
		if err := validateText(v); err != nil {
			return 0, fmt.Errorf("the metadata value of %q %w", k, err)
		}
		size += len(k) + len(v)
	}
	if size > MaxMetadataSize {
		return 0, fmt.Errorf("tags and metadata have %d bytes, over the limit of %d", size, MaxMetadataSize)
	}
	return size + len(e.Topic) + len(e.ContentType) + len(e.Data), nil
}

// validateUnique finds an event ID that occurs twice, by comparing pairs while
// that is cheaper than a set.
func validateUnique(batches []Batch, count int) error {
	const few = 8
	if count <= 1 {
		return nil
	}
	var set map[uuid.UUID]struct{}
	list := make([]uuid.UUID, 0, few)
	if count > few {
		set = make(map[uuid.UUID]struct{}, count)
	}
	for i := range batches {
		for j := range batches[i].Events {
			id := batches[i].Events[j].ID
			dup := false
			if set != nil {
				_, dup = set[id]
				set[id] = struct{}{}
			} else {
				for _, other := range list {
					dup = dup || other == id
				}
				list = append(list, id)
			}
			if dup {
				return fmt.Errorf("%w: %v occurs twice in the append to %v", ErrDuplicateEvent, id, batches[i].Stream)
			}
		}
	}
	return nil
}

// ValidateName returns what is wrong with a name of any kind, worded to follow
// what it is the name of: it is empty, over [MaxNameSize], has a NUL byte, or is
// not valid UTF-8. Stores check the names of checkpoints and owners by it.
func ValidateName(s string) error {
	if s == "" {
		return errors.New("is empty")
	}
	if len(s) > MaxNameSize {
		return fmt.Errorf("has %d bytes, over the limit of %d", len(s), MaxNameSize)
	}
	return validateText(s)
}

func validateText(s string) error {
	ascii := true
	for i := range len(s) {
		if s[i] == 0 {
			return errors.New("has a NUL byte")
		}
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	if !ascii && !utf8.ValidString(s) {
		return errors.New("is not valid UTF-8")
	}
	return nil
}
