package follow

import (
	"testing"

	"github.com/evsourcing/evsourcing/internal/faulttest"
)

func TestMain(m *testing.M) { faulttest.Main(m, faulttest.Roles{"subscriber": subscriber}) }
