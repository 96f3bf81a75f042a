// Package ok is what the packages in nocompile are without their mistakes.
package ok

import (
	"context"
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/evtest"
	"github.com/evsourcing/evsourcing/testdata/compile/domain"
)

func record() {
	evsourcing.Record(&domain.Aircraft{}, domain.Landed{Airport: "CDG"})
	evsourcing.Record(&domain.Hangar{}, domain.Swept{})
}

func command() evsourcing.Command[*domain.Aircraft] {
	return func(*domain.Aircraft) (evsourcing.EventOf[*domain.Aircraft], error) {
		return domain.Landed{Airport: "CDG"}, nil
	}
}

func execute() error {
	return evsourcing.Execute(&domain.Aircraft{}, domain.Land("CDG"))
}

func repository(store evsourcing.EventStore, codec evsourcing.Codec) *evsourcing.Repository[domain.Aircraft] {
	return evsourcing.NewRepository[domain.Aircraft]("aircraft", store, codec, nil)
}

func update(ctx context.Context, r *evsourcing.Repository[domain.Aircraft]) error {
	_, err := r.Update(ctx, "DM2018", func(a *domain.Aircraft) error {
		return evsourcing.Execute(a, domain.Land("CDG"))
	})
	return err
}

func save(ctx context.Context, r *evsourcing.Repository[domain.Aircraft]) error {
	return r.Save(ctx, &domain.Aircraft{})
}

// Embedding Base is all that makes an aggregate.
type balloon struct {
	evsourcing.Base
	height int
}

type risen struct{ height int }

func (risen) Topic() string        { return "balloon.risen" }
func (e risen) ApplyTo(b *balloon) { b.height = e.height }

func embed() {
	evsourcing.Record(&balloon{}, risen{height: 100})
}

func test(t *testing.T, codec evsourcing.Codec) {
	evtest.Given[domain.Aircraft](t, domain.Landed{Airport: "CDG"}).When(domain.Land("CDG")).Then(domain.Landed{Airport: "CDG"})
	evtest.Given[domain.Hangar](t).When(domain.Sweep()).Then(domain.Swept{})
	evtest.Check[domain.Aircraft](t, codec, nil, domain.Landed{})
}
