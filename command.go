package evsourcing

import "fmt"

// A Command decides: from the aggregate's present state it returns exactly one
// event, or the error that says why not. It must not change the aggregate;
// only the event does.
//
// Commands with arguments are functions that return a Command:
//
//	func Land(at string) evsourcing.Command[*Aircraft] {
//		return func(a *Aircraft) (evsourcing.EventOf[*Aircraft], error) {
//			if !a.Flying {
//				return nil, ErrOnGround
//			}
//			return Landed{Airport: at}, nil
//		}
//	}
type Command[A Aggregate] func(a A) (EventOf[A], error)

// Execute runs cmd on the aggregate and records the event it returns. If cmd
// returns an error, Execute returns that error as it is. If cmd, or the event
// it returns, is nil, the error wraps [ErrNoEvent]. On every error the
// aggregate is unchanged.
func Execute[A Aggregate](a A, cmd Command[A]) error {
	if cmd == nil {
		return fmt.Errorf("%w: the command for %T is nil", ErrNoEvent, a)
	}
	start(a)
	e, err := cmd(a)
	if err != nil {
		return err
	}
	if isNil(e) {
		return fmt.Errorf("%w: the command for %T returned neither an event nor an error", ErrNoEvent, a)
	}
	Record(a, e)
	return nil
}
