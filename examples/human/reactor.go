package main

import (
	"context"
	"log"

	"github.com/evsourcing/evsourcing"
)

// reactors returns the program's reactors, under the names by which a
// configuration may choose them.
func reactors(humans *evsourcing.Repository[Human], out *log.Logger) map[string]evsourcing.Reactor {
	return map[string]evsourcing.Reactor{
		"say.hello": evsourcing.On(func(_ context.Context, _ string, e Born) error {
			out.Printf("Hello, %s!", e.Name)
			return nil
		}),

		// This one looks at the human, whatever happened to it. It may have gone
		// on living since.
		"celebrate": evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			h, err := humans.Load(ctx, m.Stream.ID)
			if err != nil {
				return err
			}
			out.Printf("A party for %s, because of %s.", h.Name, m.Topic)
			return nil
		}),

		// What a reactor stores is published in its turn, with the event that
		// it reacts to as its cause.
		"come.of.age": evsourcing.On(func(ctx context.Context, id string, e HadBirthday) error {
			if e.Age != adulthood {
				return nil
			}
			_, err := humans.Update(ctx, id, func(h *Human) error {
				if h.Adult {
					return nil // done by an attempt before this one
				}
				return evsourcing.Execute(h, growUp)
			})
			return err
		}),
	}
}
