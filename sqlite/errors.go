package sqlite

import (
	"errors"
	"fmt"

	zsqlite "zombiezen.com/go/sqlite"
)

// Errors that callers test for with errors.Is, beside those of evsourcing.
var (
	// ErrCorrupt: the file, or an event in it, is damaged. The error names what
	// was found; see [Store.Check]. Of Open, it may also mean that the write-ahead
	// log has a damage, with which SQLite would drop events that were acknowledged.
	ErrCorrupt = errors.New("evsourcing: sqlite: damaged")

	// ErrBusy: another process held the file's write lock for longer than
	// [Options].BusyTimeout, or the function of a transaction in this process has
	// kept it for more than twice [Options].HandlerTime. Nothing was stored.
	ErrBusy = errors.New("evsourcing: sqlite: another is writing")
)

// code returns the primary result code of err, and the extended one.
func code(err error) (primary, extended zsqlite.ResultCode) {
	extended = zsqlite.ErrCode(err)
	return extended.ToPrimary(), extended
}

// explain says what an error of SQLite means, and for which file.
func (s *Store) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	primary, _ := code(err)
	switch primary {
	case zsqlite.ResultNotADB:
		return fmt.Errorf("%w: %s: %s is not an SQLite database, or its first page is damaged: %w", ErrCorrupt, doing, s.path, err)
	case zsqlite.ResultCorrupt:
		return fmt.Errorf("%w: %s: %s: %w; see docs/operations.md for how to restore a backup", ErrCorrupt, doing, s.path, err)
	case zsqlite.ResultReadOnly:
		return fmt.Errorf("evsourcing: sqlite: %s: %s is read-only; the file and its directory must be writable: %w", doing, s.path, err)
	case zsqlite.ResultCantOpen:
		return fmt.Errorf("evsourcing: sqlite: %s: can't open %s; its directory must exist and be writable: %w", doing, s.path, err)
	case zsqlite.ResultPerm, zsqlite.ResultAuth:
		return fmt.Errorf("evsourcing: sqlite: %s: no permission to use %s: %w", doing, s.path, err)
	case zsqlite.ResultFull:
		return fmt.Errorf("evsourcing: sqlite: %s: the disk of %s is full: %w", doing, s.path, err)
	default:
		return fmt.Errorf("evsourcing: sqlite: %s: %s: %w", doing, s.path, err)
	}
}
