package sqlite

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/evsourcing/evsourcing"
	"github.com/evsourcing/evsourcing/storetest"
)

func openTest(t testing.TB, path string, opts *Options) *Store {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "test.db")
	}
	s, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStoreKeepsEveryPromise(t *testing.T) {
	storetest.Run(t, func(t *testing.T) evsourcing.EventStore {
		return openTest(t, "", &Options{Logger: slog.New(slog.DiscardHandler)})
	})
}
