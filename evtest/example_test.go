package evtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/evtest"
)

// printer stands for the t of a test in the examples: it prints what a failing
// test says.
type printer struct{ testing.TB }

func (printer) Helper()                           {}
func (printer) Context() context.Context          { return context.Background() }
func (printer) Cleanup(func())                    {}
func (printer) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (printer) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// In a test function, t is the test's own. This test fails, to show what it
// says.
func ExampleGiven() {
	t := printer{}

	evtest.Given(t, Opened{Owners: []string{"ada"}}, Deposited{Amount: 5}).
		When(withdraw(3)).
		Then(Withdrawn{Amount: 3}).
		ThenState(func(_ testing.TB, a *Account) { fmt.Println("balance", a.Balance) })

	evtest.Given[Account](t).
		When(withdraw(3)).
		ThenError(errFunds)

	evtest.Given(t, Deposited{Amount: 5}).
		When(withdraw(3)).
		Then(Withdrawn{Amount: 4})
	// Output:
	// balance 2
	// evtest: Then: other events were recorded (- expected, + recorded):
	//     - account.withdrawn  {"amount":4}
	//     + account.withdrawn  {"amount":3}
}

// Events and state pass through the codec, as in the program.
func ExampleScenario_With() {
	t := printer{}

	evtest.Given(t, Deposited{Amount: 5}).
		With(&evtest.ScenarioOptions{Codec: accounts()}).
		WhenFunc(func(a *Account) error {
			return errors.Join(evsourcing.Execute(a, withdraw(2)), evsourcing.Execute(a, withdraw(2)))
		}).
		Then(Withdrawn{Amount: 2}, Withdrawn{Amount: 2})
	// Output:
}

func ExampleCheck() {
	t := printer{}

	evtest.Check[Account](t, accounts(), nil, Opened{}, Withdrawn{}, &Limited{})
	// This event's ApplyTo is b.list = e.List.
	evtest.Check(t, evsourcing.NewRegistry(keepsSlice{}), &evtest.CheckOptions[broken]{Seed: 1}, keepsSlice{})
	// Output:
	// evtest: Check[evtest_test.broken]: ApplyTo of "slice" keeps memory of its event: the state's list is the event's slice List, not a copy of it
	//   found with Seed 1 by:
	//     slice  {"List":["Ac>"]}
}

func ExampleReact() {
	t := printer{}

	congratulate := evsourcing.On(func(_ context.Context, id string, e Deposited) error {
		fmt.Println(id, "has", e.Amount, "more")
		return nil
	})
	msgs := evtest.Messages(t, accounts(), evsourcing.StreamID{Type: "account", ID: "ada"},
		Opened{}, Deposited{Amount: 5}, Withdrawn{Amount: 1})
	fmt.Println(evtest.React(t, congratulate, msgs...))
	// Output:
	// ada has 5 more
	// <nil>
}

// The handler of a subscription takes messages as they are.
func ExampleMessages() {
	t := printer{}

	balances := map[string]int{}
	handle := func(_ context.Context, msgs []evsourcing.Message) error {
		for _, m := range msgs {
			if e, ok := m.Event.(Deposited); ok {
				balances[m.Stream.ID] += e.Amount
			}
		}
		return nil
	}
	stream := evsourcing.StreamID{Type: "account", ID: "ada"}
	err := handle(context.Background(), evtest.Messages(t, accounts(), stream, Deposited{Amount: 5}, Deposited{Amount: 2}))
	fmt.Println(balances, err)
	// Output: map[ada:7] <nil>
}

// The file says that a deposit was once stored with a sum, which nobody reads
// any more.
func ExampleGolden() {
	t := printer{}
	file := filepath.Join(os.TempDir(), "evtest-example.json")
	defer os.Remove(file)
	entry := `[{"topic": "counter.counted", "content_type": "application/json", "data": {"N": 1, "by": "ada"},
		"read_as": {"topic": "counter.counted", "event": {"N": 1, "by": "ada"}}}]`
	if err := os.WriteFile(file, []byte(entry), 0o600); err != nil {
		panic(err)
	}
	codec := evsourcing.NewRegistry(Counted{})

	fmt.Println("in a test, the name is testdata/events.json")
	evtest.Golden(shortNames{t, file}, codec, file)
	// Output:
	// in a test, the name is testdata/events.json
	// evtest: Golden: FILE: entry 1, topic "counter.counted", is read as another event than before (- before, + now):
	//     - by = "ada"
	//   if that is right, remove the entry's "read_as" and run the test once with EVTEST_UPDATE=1
}
