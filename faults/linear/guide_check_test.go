package linear

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/dustin/go-humanize"

	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// compare has histories judged by the model alone and by the guide, and returns how
// many of the judgements differ. The histories are small enough for the model alone,
// and of sound and of broken stores.
func compare(ctx context.Context, rounds int, guided func([]porcupine.Operation) porcupine.CheckResult) (legal, illegal, undecided, differ int, err error) {
	bugs := append(brokenStores(), brokenStore{"has no bug", sound})
	for i := range rounds * len(bugs) {
		s, err := prepareMemory(bugs[i%len(bugs)].spoil)(ctx)
		if err != nil {
			return legal, illegal, undecided, differ, err
		}
		h, err := run(ctx, s, 2+i%4, 12+i%12)
		if err != nil {
			return legal, illegal, undecided, differ, err
		}
		plain := newModel(h.operations).check(h.operations, 2*time.Second)
		switch plain {
		case porcupine.Ok:
			legal++
		case porcupine.Illegal:
			illegal++
		default:
			undecided++
			continue
		}
		if plain != guided(h.operations) {
			differ++
		}
		if err := s.close(); err != nil {
			return legal, illegal, undecided, differ, err
		}
	}
	return legal, illegal, undecided, differ, nil
}

// The guide judges as the model alone does.
func TestGuide(t *testing.T) {
	legal, illegal, undecided, differ, err := compare(t.Context(), faulttest.Scale(4, 10, 500), func(o []porcupine.Operation) porcupine.CheckResult {
		return newGuide(o).check(checkPatience)
	})
	t.Attr("figure", fmt.Sprintf("the checker: %s legal and %s illegal small histories (%d undecided) judged with and without advice, %d judgements differ",
		humanize.Comma(int64(legal)), humanize.Comma(int64(illegal)), undecided, differ))
	if err != nil {
		t.Fatal(err)
	}
	if differ > 0 || legal == 0 || illegal == 0 {
		t.Errorf("%d legal, %d illegal, %d differ", legal, illegal, differ)
	}
}

// The same with a checker to which an append without an answer has not happened.
func TestGuideControl(t *testing.T) {
	legal, illegal, _, differ, err := compare(t.Context(), faulttest.Scale(2, 5, 100), func(o []porcupine.Operation) porcupine.CheckResult {
		o = slices.DeleteFunc(slices.Clone(o), func(o porcupine.Operation) bool { return o.Output.(Response).Outcome == Ambiguous })
		return newGuide(o).check(checkPatience)
	})
	t.Attr("figure", fmt.Sprintf("a checker that forgets ambiguous appends: %s of %s judgements differ", humanize.Comma(int64(differ)), humanize.Comma(int64(legal+illegal))))
	if err != nil {
		t.Fatal(err)
	}
	if differ == 0 {
		t.Error("no judgement differs")
	}
}
