package storetest_test

import (
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/storetest"
)

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) evsourcing.EventStore { return evsourcing.NewMemoryStore() })
}
