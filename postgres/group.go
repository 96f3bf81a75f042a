package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/internal/engine"
)

// appendOneSQL stores one event. Its snapshot is older than the lock, so that no
// row may also mean that the stream is at the version by now; and an insertion that
// meets the version, or the event ID, fails.
const appendOneSQL = `
WITH l AS MATERIALIZED (SELECT pg_advisory_xact_lock(1163088725, '{schema}'::regnamespace::oid::int))
INSERT INTO {schema}.events (position, version, time, id, type, stream, topic, content_type, data, tags, metadata)
SELECT nextval('{schema}.positions'), $1::bigint + 1, $2::bigint, $3::uuid, $4::text, $5::text, $6::text, $7::text, $8::bytea,
	nullif($9::text, ''), nullif($10::text, '')
FROM l
WHERE $1::bigint = coalesce((SELECT version FROM {schema}.events WHERE stream = $5::text AND type = $4::text ORDER BY version DESC LIMIT 1), 0)
RETURNING position`

const appendGroupSQL = `
SELECT last_position, refused, new_versions FROM {schema}.append(false, $1::boolean, $2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::uuid[],
	$7::text[], $8::text[], $9::text[], $10::text[], $11::bytea[], $12::text[], $13::text[])`

const appendStrictSQL = `
SELECT last_position FROM {schema}.append(true, $1::boolean, $2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::uuid[],
	$7::text[], $8::text[], $9::text[], $10::text[], $11::bytea[], $12::text[], $13::text[])`

// advanceAndAppendSQL saves a checkpoint and then appends, in one message: were they two,
// an owner that is cut off while it sends the second would hold the checkpoint's row, for
// as long as the server waits for the rest.
const advanceAndAppendSQL = `
WITH a AS MATERIALIZED (SELECT true AS ok FROM {schema}.advance($14::text, $15::bigint, $16::bigint, $17::uuid, $18::bigint))
SELECT p.last_position FROM a, LATERAL {schema}.append(a.ok, $1::boolean, $2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::uuid[],
	$7::text[], $8::text[], $9::text[], $10::text[], $11::bytea[], $12::text[], $13::text[]) AS p`

const advanceSQL = `SELECT true FROM {schema}.advance($1::text, $2::bigint, $3::bigint, $4::uuid, $5::bigint)`

// isPlain reports whether appendOne can store the group.
func isPlain(group []*engine.Append) bool {
	return len(group) == 1 && group[0].Events() == 1 && group[0].Batches[0].Expected != evsourcing.AnyVersion
}

// appendOne stores one event, or returns its append.
func (s *Store) appendOne(ctx context.Context, q querier, group []*engine.Append) (maybe []*engine.Append, err error) {
	a := group[0]
	b := &a.Batches[0]
	e, h := &b.Events[0], &a.Headers[0]
	var position int64
	err = q.QueryRow(ctx, s.sql.appendOne, int64(b.Expected), e.Time.UnixMicro(), pgtype.UUID{Bytes: e.ID, Valid: true},
		b.Stream.Type, b.Stream.ID, e.Topic, e.ContentType, notNil(e.Data), h.Tags, h.Metadata).Scan(&position)
	if errors.Is(err, pgx.ErrNoRows) {
		return group, nil
	}
	if err != nil {
		return nil, err
	}
	a.Result = evsourcing.AppendResult{Position: uint64(position), Versions: []uint64{b.Expected + 1}}
	return nil, nil
}

// appendGroup stores appends, and returns those that could not be.
func (s *Store) appendGroup(ctx context.Context, q querier, group []*engine.Append) (refused []*engine.Append, err error) {
	args := newGroupArgs(group)
	var last *int64
	var not []int32
	var versions []int64
	if err := q.QueryRow(ctx, s.sql.appendGroup, args.list()...).Scan(&last, &not, &versions); err != nil {
		return nil, err
	}
	bad := make([]bool, len(group))
	count := uint64(0)
	for _, i := range not {
		bad[i] = true
	}
	for i, a := range group {
		if !bad[i] {
			count += uint64(a.Events())
		}
	}
	if count == 0 {
		return group, nil
	}
	if last == nil || args.numbering && uint64(len(versions)) != count {
		return nil, fmt.Errorf("the append function has stored %d events and says so of %d", count, len(versions))
	}
	position, n := uint64(*last)-count, 0
	for i, a := range group {
		if bad[i] {
			refused = append(refused, a)
			continue
		}
		position += uint64(a.Events())
		a.Result = evsourcing.AppendResult{Position: position, Versions: make([]uint64, len(a.Batches))}
		for j := range a.Batches {
			b := &a.Batches[j]
			n += len(b.Events)
			if b.Expected == evsourcing.AnyVersion {
				a.Result.Versions[j] = uint64(versions[n-1])
			} else {
				a.Result.Versions[j] = b.Expected + uint64(len(b.Events))
			}
		}
	}
	return refused, nil
}

// groupArgs are the arguments of the append function.
type groupArgs struct {
	numbering                                            bool
	appends                                              []int32
	expected, versions, times                            []int64
	ids                                                  []pgtype.UUID
	types, streams, topics, contentTypes, tags, metadata []string
	datas                                                [][]byte
}

func newGroupArgs(group []*engine.Append) *groupArgs {
	n := 0
	for _, a := range group {
		n += a.Events()
	}
	g := &groupArgs{
		appends: make([]int32, 0, n), ids: make([]pgtype.UUID, 0, n), datas: make([][]byte, 0, n),
	}
	numbers, texts := make([]int64, 3*n), make([]string, 6*n)
	for i, to := range []*[]int64{&g.expected, &g.versions, &g.times} {
		*to = numbers[i*n : i*n : (i+1)*n]
	}
	for i, to := range []*[]string{&g.types, &g.streams, &g.topics, &g.contentTypes, &g.tags, &g.metadata} {
		*to = texts[i*n : i*n : (i+1)*n]
	}
	for i, a := range group {
		headers := a.Headers
		for j := range a.Batches {
			b := &a.Batches[j]
			expected := int64(-1)
			if b.Expected == evsourcing.AnyVersion {
				g.numbering = true
			} else {
				expected = int64(b.Expected)
			}
			for k := range b.Events {
				g.add(int32(i), expected, &b.Events[k], &headers[k])
				expected = -1
			}
			headers = headers[len(b.Events):]
		}
	}
	return g
}

// add adds an event. One whose version is 0 goes to the end of its stream.
func (g *groupArgs) add(number int32, expected int64, e *evsourcing.StoredEvent, h *engine.Header) {
	g.appends = append(g.appends, number)
	g.expected = append(g.expected, expected)
	g.versions = append(g.versions, int64(e.Version))
	g.times = append(g.times, e.Time.UnixMicro())
	g.ids = append(g.ids, pgtype.UUID{Bytes: e.ID, Valid: true})
	g.types = append(g.types, e.Stream.Type)
	g.streams = append(g.streams, e.Stream.ID)
	g.topics = append(g.topics, e.Topic)
	g.contentTypes = append(g.contentTypes, e.ContentType)
	g.datas = append(g.datas, notNil(e.Data))
	g.tags = append(g.tags, h.Tags)
	g.metadata = append(g.metadata, h.Metadata)
}

func (g *groupArgs) list() []any {
	return []any{g.numbering, g.appends, g.expected, g.versions, g.times, g.ids, g.types, g.streams, g.topics, g.contentTypes, g.datas, g.tags, g.metadata}
}

// notNil makes a nil slice an empty one, which is not NULL.
func notNil(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}
