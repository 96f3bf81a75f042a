// Package evtest tests what a program makes of event sourcing: its aggregates,
// its reactors and subscription handlers, and its stored events, as the years
// go by. It needs nothing but the standard library, and goes with any other
// testing library.
//
// # Aggregates
//
// Given what has happened, when a command is run, then this happens:
//
//	func TestWithdraw(t *testing.T) {
//		evtest.Given[Account](t, Deposited{Amount: 5}).
//			When(Withdraw(3)).
//			Then(Withdrawn{Amount: 3}).
//			ThenState(func(t testing.TB, a *Account) {
//				if a.Balance != 2 {
//					t.Errorf("the balance is %d", a.Balance)
//				}
//			})
//		evtest.Given[Account](t, Deposited{Amount: 5}).
//			When(Withdraw(7)).
//			ThenError(ErrInsufficientFunds)
//	}
//
// [Check] finds out whether the aggregate as a whole keeps the rules that the
// library relies on, by random sequences of its events.
//
// # Reactors and handlers
//
// [Messages] makes events the messages that a bus or a log delivers. [React]
// hands them to a reactor; a subscription's handler takes them as they are.
//
// # Stored events
//
// [Golden] keeps samples of every event that was ever stored in a file beside
// the test, and fails when one is not read as it used to be.
package evtest
