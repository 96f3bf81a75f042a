// want: in call to evtest.Check[domain.Aircraft], P (type *domain.Hangar) does not satisfy interface{*T; evsourcing.Aggregate}

package nocompile

import (
	"testing"

	"github.com/evsourcing/evsourcing/evtest"
	"github.com/evsourcing/evsourcing/testdata/compile/domain"
)

func test(t *testing.T) {
	evtest.Check[domain.Aircraft](t, nil, nil, domain.Swept{})
}
