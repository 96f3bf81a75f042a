package postgres_test

import (
	"fmt"
	"os"
	"testing"
)

// TestMain is also the main function of the processes that tests start and kill.
func TestMain(m *testing.M) {
	if role := os.Getenv("EVSOURCING_TEST_CHILD"); role != "" {
		if err := child(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if shared != nil {
		shared.Remove()
	}
	os.Exit(code)
}
