package evtest_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/evtest"
)

// goldenFile returns the name of a file that does not exist in a new directory,
// or that has the text.
func goldenFile(t *testing.T, text ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "testdata", "events.json")
	if len(text) > 0 {
		require.NoError(t, os.Mkdir(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, []byte(text[0]), 0o600))
	}
	return name
}

func contents(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(data)
}

// updated runs Golden with EVTEST_UPDATE=1, and the rest of its caller without.
func updated(t *testing.T, codec evsourcing.Codec, file string, samples ...evsourcing.Event) *recorder {
	t.Helper()
	t.Setenv(evtest.UpdateVariable, "1")
	r := record(t, func(t testing.TB) { evtest.Golden(t, codec, file, samples...) })
	t.Setenv(evtest.UpdateVariable, "")
	return r
}

// golden returns a test that calls Golden, its file's name left out of what it
// says.
func golden(codec evsourcing.Codec, file string, samples ...evsourcing.Event) func(t testing.TB) {
	return func(t testing.TB) {
		evtest.Golden(shortNames{t, file}, codec, file, samples...)
	}
}

// shortNames replaces the file's name in messages.
type shortNames struct {
	testing.TB
	file string
}

func (s shortNames) Errorf(format string, args ...any) {
	for i := range args {
		if args[i] == s.file {
			args[i] = "FILE"
		}
		if err, ok := args[i].(error); ok {
			args[i] = errors.New(strings.ReplaceAll(err.Error(), s.file, "FILE"))
		}
	}
	s.TB.Errorf(format, args...)
}

func (s shortNames) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	s.FailNow()
}

// The life of a golden file: absent, made, unchanged, and never changed again.
func TestGolden(t *testing.T) {
	file := goldenFile(t)
	says(t, `
evtest: Golden: FILE has no entry for topic "account.deposited": run the test once with EVTEST_UPDATE=1 to add one like this:
    account.deposited  {"amount":95}
evtest: Golden: FILE has no entry for topic "account.limited": run the test once with EVTEST_UPDATE=1 to add one like this:
    account.limited  {"limits":{"text 763":27}}
evtest: Golden: FILE has no entry for topic "account.opened": run the test once with EVTEST_UPDATE=1 to add one like this:
    account.opened  {"owners":["text 491"],"at":"2012-06-17T23:11:05Z"}
evtest: Golden: FILE has no entry for topic "account.withdrawn": run the test once with EVTEST_UPDATE=1 to add one like this:
    account.withdrawn  {"amount":95}`, golden(accounts(), file))

	for _, off := range []string{"", "0"} {
		t.Setenv(evtest.UpdateVariable, off)
		require.Len(t, record(t, golden(accounts(), file)).messages, 4)
	}
	require.NoFileExists(t, file)
	r := updated(t, accounts(), file, Opened{Owners: []string{"<Ada>", "Bob"}}, Deposited{})
	assert.Empty(t, r.messages)
	assert.Len(t, r.logs, 4)
	want := `[
  {
    "topic": "account.opened",
    "content_type": "application/json",
    "data": {
      "owners": [
        "\u003cAda\u003e",
        "Bob"
      ]
    },
    "tags": [
      "new"
    ],
    "read_as": {
      "topic": "account.opened",
      "event": {
        "owners": [
          "<Ada>",
          "Bob"
        ]
      }
    }
  },
`
	text := contents(t, file)
	assert.Equal(t, want, text[:min(len(want), len(text))])
	passes(t, golden(accounts(), file, Opened{Owners: []string{"Cid"}}))
	passes(t, golden(unlisted{accounts()}, file))

	// Made-up samples have all fields, so there is one more.
	fails(t, golden(accounts(), file), `no entry for topic "account.opened" with at: run`)
	assert.Equal(t, text, contents(t, file))
	assert.Empty(t, updated(t, accounts(), file).messages)
	more := contents(t, file)
	assert.Equal(t, strings.TrimSuffix(text, "\n]\n"), more[:len(text)-len("\n]\n")], "only added to")
	passes(t, golden(accounts(), file))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(file, 0o400)) // nothing to write
	assert.Empty(t, updated(t, accounts(), file).messages)
	require.NoError(t, os.Chmod(file, info.Mode()))
	assert.Equal(t, more, contents(t, file))
}

// unlisted is a codec that does not say what it knows.
type unlisted struct{ evsourcing.Codec }

const paid = `{"topic":"paid","content_type":"application/json","data":{"sum":5,"parts":[1,2],"to":{"name":"x"}},"read_as":{"topic":"paid","event":{"sum":5,"parts":[1,2],"to":{"name":"x"}}}}`

type (
	paidAsWas struct {
		Sum   int               `json:"sum"`
		Parts []int             `json:"parts"`
		To    map[string]string `json:"to"`
	}
	paidMore struct {
		Sum   int   `json:"sum"`
		Parts []int `json:"parts"`
		To    struct {
			Name string `json:"name"`
			City string `json:"city"`
		} `json:"to"`
		Currency string `json:"currency,omitempty"`
	}
	paidRenamed struct {
		Amount int               `json:"amount"`
		Parts  []int             `json:"parts"`
		To     map[string]string `json:"to"`
	}
	paidRetyped struct {
		Sum   string            `json:"sum"`
		Parts []int             `json:"parts"`
		To    map[string]string `json:"to"`
	}
	paidParts struct {
		Sum   int               `json:"sum"`
		Parts growing           `json:"parts"`
		To    map[string]string `json:"to"`
	}
	paidByAnotherName paidAsWas
	growing           []int
)

func (g *growing) UnmarshalJSON(data []byte) error {
	err := json.Unmarshal(data, (*[]int)(g))
	*g = append(*g, 3)
	return err
}

func (paidAsWas) Topic() string         { return "paid" }
func (paidMore) Topic() string          { return "paid" }
func (paidRenamed) Topic() string       { return "paid" }
func (paidRetyped) Topic() string       { return "paid" }
func (paidParts) Topic() string         { return "paid" }
func (paidByAnotherName) Topic() string { return "payment.made" }

// What can happen to events that are stored.
func TestGoldenFindsChanges(t *testing.T) {
	const note = "\n  if that is right, remove the entry's \"read_as\" and run the test once with EVTEST_UPDATE=1"
	for name, tt := range map[string]struct {
		codec *evsourcing.Registry
		says  string
	}{
		"nothing":     {evsourcing.NewRegistry(paidAsWas{}), ""},
		"the kind":    {evsourcing.NewRegistry(&paidAsWas{}), ""},
		"more fields": {evsourcing.NewRegistry(paidMore{}), ""},
		"renamed field": {evsourcing.NewRegistry(paidRenamed{}), "\n" + `evtest: Golden: FILE: entry 1, topic "paid", is read as another event than before (- before, + now):` + `
    - sum = 5` + note},
		"another value": {evsourcing.NewRegistry(paidParts{}), "\n" + `evtest: Golden: FILE: entry 1, topic "paid", is read as another event than before (- before, + now):` + `
    - parts = an array of 2
    + parts = an array of 3` + note},
		"another type": {evsourcing.NewRegistry(paidRetyped{}), "\n" + `evtest: Golden: FILE: entry 1, topic "paid", can't be read any more, and stores have such events: evsourcing: decode version 1 of golden/1, topic "paid": json: cannot unmarshal number into Go struct field paidRetyped.sum of type string
  keep the event's type, or give its topic an Alias or Upcast`},
		"removed": {evsourcing.NewRegistry(), "\n" + `evtest: Golden: FILE: entry 1, topic "paid", can't be read any more, and stores have such events: evsourcing: decode version 1 of golden/1, topic "paid": evsourcing: unknown topic
  keep the event's type, or give its topic an Alias or Upcast`},
		"renamed topic": {aliased(), "\n" + `evtest: Golden: FILE: entry 1, topic "paid", is read as another event than before (- before, + now):` + `
    - topic paid
    + topic payment.made` + note},
	} {
		t.Run(name, func(t *testing.T) {
			file := goldenFile(t, "["+paid+"]")
			says(t, tt.says, golden(unlisted{tt.codec}, file))
			before := contents(t, file)

			// Updating repairs nothing.
			r := updated(t, unlisted{tt.codec}, file)
			assert.Len(t, r.messages, min(1, len(tt.says)))
			assert.Equal(t, before, contents(t, file))
		})
	}
}

func aliased() *evsourcing.Registry {
	r := evsourcing.NewRegistry(paidByAnotherName{})
	r.Alias("paid", paidByAnotherName{})
	return r
}

// A reading that has been removed is filled in, and everything else stays as it
// was, what Golden does not know included.
func TestGoldenAcceptsAChange(t *testing.T) {
	for _, removed := range []string{
		`{"topic":"paid","content_type":"application/json","data":{"sum":5,"parts":[1,2],"to":{"name":"\u0078"}},"why":"a <note>"}`,
		`{"topic":"paid","content_type":"application/json","data":{"sum":5,"parts":[1,2],"to":{"name":"x"}},"read_as":null}`,
	} {
		file := goldenFile(t, "["+removed+"]")
		codec := unlisted{aliased()}
		says(t, `
evtest: Golden: FILE: entry 1, topic "paid", does not say what it is read as: run the test once with EVTEST_UPDATE=1`, golden(codec, file))
		r := updated(t, codec, file)
		assert.Empty(t, r.messages)
		assert.Len(t, r.logs, 1)
		var compact strings.Builder
		for line := range strings.Lines(contents(t, file)) {
			compact.WriteString(strings.TrimSpace(line))
		}
		text := strings.ReplaceAll(compact.String(), `": `, `":`)
		want := strings.TrimSuffix(strings.TrimSuffix(removed, "}"), `,"read_as":null`)
		assert.Equal(t, "["+want+`,"read_as":{"topic":"payment.made","event":{"sum":5,"parts":[1,2],"to":{"name":"x"}}}}]`, text)
		passes(t, golden(codec, file))
	}
}

// reversed is a format that is not JSON.
type reversed struct{}

func (reversed) ContentType() string { return "text/reversed" }

func (reversed) Marshal(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return reverse(data), err
}

func (reversed) Unmarshal(data []byte, v any) error { return json.Unmarshal(reverse(data), v) }

func reverse(data []byte) []byte {
	out := make([]byte, 0, len(data))
	for i := len(data) - 1; i >= 0; i-- {
		out = append(out, data[i])
	}
	return out
}

// padded is a format that looks like JSON, but has blanks that count.
type padded struct{}

func (padded) ContentType() string { return "text/padded" }

func (padded) Marshal(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return append([]byte("  "), data...), err
}

func (padded) Unmarshal(data []byte, v any) error {
	if !strings.HasPrefix(string(data), "  ") {
		return errors.New("not padded")
	}
	return json.Unmarshal(data, v)
}

func TestGoldenKeepsBytes(t *testing.T) {
	file := goldenFile(t)
	codec := unlisted{evsourcing.NewRegistry(Counted{}).WithEncoder(padded{})}
	require.Empty(t, updated(t, codec, file, Counted{5}).messages)
	passes(t, golden(codec, file, Counted{5}))
}

// Another encoder needs entries of its own, beside those of the first.
func TestGoldenEncoders(t *testing.T) {
	file := goldenFile(t)
	codec := func() *evsourcing.Registry { return evsourcing.NewRegistry(paidAsWas{}) }
	sample := paidAsWas{Sum: 5}
	require.Empty(t, updated(t, codec(), file, sample).messages)
	fails(t, golden(codec().WithEncoder(reversed{}), file, sample),
		`FILE has no entry for topic "paid" with content type "text/reversed": run`, "\n    paid  fWxsdW46")
	require.Empty(t, updated(t, codec().WithEncoder(reversed{}), file, sample).messages)
	passes(t, golden(codec().WithEncoder(reversed{}), file, sample))
	assert.Contains(t, contents(t, file), `"base64": "fWxsdW46Im90Iixs`)
	fails(t, golden(codec(), file, sample), `no encoder for content type "text/reversed"`)

	// More fields show there too.
	fails(t, golden(codec().WithEncoder(reversed{}), file, paidAsWas{Sum: 5, To: map[string]string{"name": "x"}}), "with to.name: run")
}

// A field that is new needs an entry in which it is.
func TestGoldenNewFields(t *testing.T) {
	file := goldenFile(t, `[{"topic":"paid","content_type":"application/json","data":{"sum":5,"parts":[1]},"read_as":{"topic":"paid","event":{"sum":5,"parts":[1]}}}]`)
	more := evsourcing.NewRegistry(paidMore{})
	fails(t, golden(more, file), `FILE has no entry for topic "paid" with currency, to, to.city, to.name: run`)
	require.Empty(t, updated(t, more, file).messages)
	passes(t, golden(more, file))
	passes(t, golden(evsourcing.NewRegistry(paidAsWas{}), goldenFile(t, "["+paid+"]"))) // elements of arrays count as one
}

func TestGoldenRefuses(t *testing.T) {
	codec := evsourcing.NewRegistry(paidAsWas{})
	says(t, "evtest: Golden: sample 1 is nil", golden(codec, goldenFile(t), paidAsWas{}, nil))
	fails(t, golden(codec, goldenFile(t, "{}")), "evtest: Golden: FILE is not a list of entries")
	fails(t, golden(codec, goldenFile(t, `["x"]`)), "evtest: Golden: FILE: entry 1: json")
	fails(t, golden(unlisted{codec}, goldenFile(t, `[{"topic":"paid","content_type":"application/json","data":{},"base64":"e30="}]`)), "entry 1: it has both data and base64")
	fails(t, golden(unlisted{codec}, goldenFile(t, `[{"topic":"paid","content_type":"application/json","base64":"?"}]`)), "entry 1: illegal base64")
	fails(t, golden(unlisted{codec}, goldenFile(t), Opened{}), `a sample of topic "account.opened": it can't be stored: evsourcing: unknown topic`)
	fails(t, golden(unlisted{forgetful{codec}}, goldenFile(t, "["+paid+"]")), `entry 1, topic "paid", can't be read any more`, "the codec returned no event")
	lossy := evsourcing.NewRegistry(lossyEvent{})
	fails(t, golden(lossy, goldenFile(t), lossyEvent{N: 5}), `a sample of topic "lossy": it does not come back from the codec as it was (- before, + after):`, "- N = 5\n    + N = 0")
	fails(t, golden(evsourcing.NewRegistry(function{}), goldenFile(t)), `a sample of topic "function": it can't be stored`)
}

type lossyEvent struct{ N int }

func (lossyEvent) Topic() string               { return "lossy" }
func (*lossyEvent) UnmarshalJSON([]byte) error { return nil }

// guarded is an event that can't be made up.
type guarded struct{ Kind string }

func (guarded) Topic() string { return "guarded" }
func (g *guarded) UnmarshalJSON(data []byte) error {
	type plain guarded
	if err := json.Unmarshal(data, (*plain)(g)); err != nil {
		return err
	}
	if g.Kind != "good" {
		return errors.New("not good")
	}
	return nil
}

func TestGoldenNeedsASample(t *testing.T) {
	file := goldenFile(t)
	codec := evsourcing.NewRegistry(guarded{})
	fails(t, golden(codec, file), `FILE needs an entry for topic "guarded": pass a sample of it to Golden, since none can be made up: `, "not good")
	require.Empty(t, updated(t, codec, file, guarded{"good"}).messages)
	passes(t, golden(codec, file, guarded{"good"}))
	passes(t, golden(codec, file)) // the file has one
}

// A golden file that a program keeps: see the file.
func TestGoldenOfTheseTests(t *testing.T) {
	evtest.Golden(t, accounts(), "testdata/events.json")
}

// An upcaster may need metadata, and samples of old topics are covered.
func TestGoldenUpcast(t *testing.T) {
	file := goldenFile(t, `[{"topic":"old","content_type":"application/json","data":{"n":2},"tags":["a"],"metadata":{"factor":"3"},"read_as":{"topic":"counter.counted","event":{"N":6}}}]`)
	codec := func(by func(e evsourcing.StoredEvent) string) *evsourcing.Registry {
		r := evsourcing.NewRegistry(Counted{})
		r.Upcast("old", "counter.counted", func(e evsourcing.StoredEvent) (evsourcing.StoredEvent, error) {
			e.Data = []byte(by(e))
			return e, nil
		})
		return r
	}
	passes(t, golden(unlisted{codec(func(e evsourcing.StoredEvent) string {
		return `{"N":` + map[string]string{`3{"n":2}a`: "6"}[e.Metadata["factor"]+string(e.Data)+e.Tags[0]] + `}`
	})}, file))
	fails(t, golden(unlisted{codec(func(evsourcing.StoredEvent) string { return `{"N":5}` })}, file), "- N = 6\n    + N = 5")
}

// Parcelled has a default, so that what is decoded of nothing is not zero.
type Parcelled struct {
	Carrier string `json:"carrier"`
	Parcels int    `json:"parcels"`
}

func (Parcelled) Topic() string { return "parcelled" }

func (e *Parcelled) UnmarshalJSON(data []byte) error {
	type plain Parcelled
	e.Parcels = 1
	return json.Unmarshal(data, (*plain)(e))
}

func TestGoldenFillsWhatHasDefaults(t *testing.T) {
	file := goldenFile(t)
	require.Empty(t, updated(t, evsourcing.NewRegistry(Parcelled{}), file).messages)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Regexp(t, `"carrier": "\w+`, string(data))
	assert.NotContains(t, string(data), `"parcels": 1,`)
}
