package sqlite

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Where SQLite finds a frame of the write-ahead log damaged, it takes that and all
// that follows for a commit that was cut short by a crash, and drops them without a
// word: acknowledged events with them. But a commit begins after the one before it was
// synced, if Durability is Full. So where one follows another beyond the place from
// which on SQLite reads nothing, the first of them was acknowledged, and is lost.
// Damage of the last commit can't be told from a crash, and what was cut off leaves no
// trace.

// Layout of the write-ahead log. Numbers are big-endian, but words are summed in
// the byte order that the lowest bit of the first number tells.
const (
	walHead     = 32
	walHeadSalt = 16
	walHeadSum  = 24

	frameHead   = 24
	frameCommit = 4 // 0 unless the frame ends a commit
	frameSalt   = 8 // as in the log's head, or the frame is of an older log
	frameSum    = 16
)

// checkWAL returns an ErrCorrupt if acknowledged commits in the write-ahead log can't
// be read any more. It takes the write lock for that long, so that nobody writes.
func (s *Store) checkWAL(c *conn) error {
	if s.opts.Durability != Full {
		return nil // what a loss of power takes away may lie before what it leaves
	}
	size, err := c.pragma("PRAGMA page_size")
	if err != nil {
		return s.explain("opening", err)
	}
	if err := s.begin(c, s.openPatience()); err != nil {
		return err
	}
	defer c.rollback()
	f, err := os.Open(s.path + "-wal") // SQLite has no locks on it that closing would drop
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("evsourcing: sqlite: opening: %w", err)
	}
	defer f.Close()
	head := make([]byte, walHead)
	if _, err := io.ReadFull(f, head); err != nil {
		return nil // there is no log
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if _, err := f.Seek(walHead, io.SeekStart); err != nil {
			return fmt.Errorf("evsourcing: sqlite: opening: %w", err)
		}
		w := walReader{order: order, frame: make([]byte, frameHead+size)}
		broken, lost, err := w.scan(head, bufio.NewReaderSize(f, 1<<20))
		if err != nil {
			return fmt.Errorf("evsourcing: sqlite: opening: %s-wal: %w", s.path, err)
		}
		if lost {
			return fmt.Errorf("%w: %s-wal: frame %d of the write-ahead log can't be read, so SQLite drops commits behind it, which were acknowledged; see docs/operations.md for what to do",
				ErrCorrupt, s.path, broken)
		}
	}
	return nil
}

// A walReader reads the frames of a write-ahead log.
type walReader struct {
	order binary.ByteOrder
	frame []byte
}

// scan returns the number of the first frame that SQLite does not read, 0 for the
// head, and whether acknowledged commits are lost with it.
func (w *walReader) scan(head []byte, frames io.Reader) (broken int, lost bool, err error) {
	want := w.sum(walSum{}, head[:walHeadSum])
	stored := sumAt(head, walHeadSum)
	salt := string(head[walHeadSalt:walHeadSum])
	read := want == stored && w.named(head)
	commit := false // the frame before ends one that is not read
	for n := 1; ; n++ {
		if _, err := io.ReadFull(frames, w.frame); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return broken, false, nil
			}
			return broken, false, err
		}
		if n == 1 && !read && resembles(salt, string(w.frame[frameSalt:frameSum])) {
			salt = string(w.frame[frameSalt:frameSum])
		}
		// What follows a frame goes on from its sum, be it damaged or what it sums.
		bySum, byWords := w.sumFrame(stored), w.sumFrame(want)
		stored = sumAt(w.frame, frameSum)
		its := string(w.frame[frameSalt:frameSum])
		ours := its == salt
		follows := ours && (stored == bySum || stored == byWords)
		if commit && follows {
			return broken, true, nil
		}
		if read && (!ours || stored != bySum) {
			read, broken = false, n
		}
		ours = ours || n == broken && resembles(salt, its)
		commit = !read && ours && binary.BigEndian.Uint32(w.frame[frameCommit:]) != 0
		want = bySum
	}
}

// named reports whether the head says that sums have this byte order.
func (w *walReader) named(head []byte) bool { return (head[3]&1 == 1) == (w.order == binary.BigEndian) }

// resembles reports whether one of two salts, each of two words, may be the other with
// a damage. Those of an older log have other words.
func resembles(a, b string) bool { return a[:4] == b[:4] || a[4:] == b[4:] }

// A walSum is the running checksum of a log.
type walSum [2]uint32

func sumAt(b []byte, at int) walSum {
	return walSum{binary.BigEndian.Uint32(b[at:]), binary.BigEndian.Uint32(b[at+4:])}
}

// sumFrame returns the sum of the frame after one with the sum given.
func (w *walReader) sumFrame(s walSum) walSum {
	return w.sum(w.sum(s, w.frame[:frameSalt]), w.frame[frameHead:])
}

func (w *walReader) sum(s walSum, words []byte) walSum {
	for ; len(words) >= 8; words = words[8:] {
		s[0] += w.order.Uint32(words) + s[1]
		s[1] += w.order.Uint32(words[4:]) + s[0]
	}
	return s
}
