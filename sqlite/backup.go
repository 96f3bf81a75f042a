package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// Steps of a backup.
const (
	backupPages = 256 // copied between two looks at the context
	backupTell  = 10 * time.Second
)

// Backup makes a copy of the whole file at path, which must not exist, while the
// store is read and written. The copy is what was committed at one moment after
// the call began: all that was acknowledged before it, and nothing half. When
// Backup returns nil the copy is complete and on the disk; after an error
// nothing is left at path. The copy has the permissions of the store's file.
//
// While it copies, the write-ahead log can't be cut, and grows by what is
// written. The copy is made under a temporary name in path's directory. To
// restore one, stop every process that has the store open, remove the store's
// file and those beside it whose names end in -wal and -shm, and put the copy in
// its place. Subscriptions whose checkpoints are elsewhere then may be ahead of
// the log, and say so with ErrDiverged.
func (s *Store) Backup(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkPath(path); err != nil {
		return fmt.Errorf("evsourcing: sqlite: backup: %w", err)
	}
	for _, end := range []string{"", "-wal", "-shm", "-journal"} { // an old log would become the copy's
		if _, err := os.Lstat(path + end); err == nil {
			return fmt.Errorf("evsourcing: sqlite: backup to %s: %s: %w", path, path+end, fs.ErrExist)
		}
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("evsourcing: sqlite: backup: %w", err)
	}
	temp := file.Name()
	defer os.Remove(temp)
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(s.path); err == nil {
		mode = info.Mode().Perm()
	}
	if err := errors.Join(file.Chmod(mode), file.Close()); err != nil {
		return fmt.Errorf("evsourcing: sqlite: backup: %w", err)
	}
	if err := s.copyTo(ctx, temp); err != nil {
		return err
	}
	if err := publish(temp, path); err != nil {
		return fmt.Errorf("evsourcing: sqlite: backup: %w", err)
	}
	return nil
}

// copyTo copies the database to an empty file.
func (s *Store) copyTo(ctx context.Context, temp string) (err error) {
	s.wal.long.Add(1)
	defer s.wal.long.Add(-1)
	src, err := s.connect(reading)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := zsqlite.OpenConn(temp, zsqlite.OpenReadWrite)
	if err != nil {
		return s.explain("backup to "+temp, err)
	}
	defer func() {
		if cerr := dst.Close(); err == nil {
			err = s.explain("backup to "+temp, cerr)
		}
	}()
	// The file is worth nothing until it is complete, and is synced then.
	for _, p := range []string{"PRAGMA synchronous = 0", "PRAGMA journal_mode = off"} {
		if err := sqlitex.ExecuteTransient(dst, p, nil); err != nil {
			return s.explain("backup to "+temp, err)
		}
	}
	// A copy starts anew whenever somebody writes, unless it is of what one
	// reading transaction sees.
	if err := sqlitex.ExecuteTransient(src.Conn, "BEGIN", nil); err != nil {
		return s.explain("backup", err)
	}
	defer src.rollback()
	if _, err := src.last(); err != nil { // now it has begun
		return s.explain("backup", err)
	}
	b, err := zsqlite.NewBackup(dst, "main", src.Conn, "main")
	if err != nil {
		return s.explain("backup", err)
	}
	defer b.Close()
	told := time.Now()
	for {
		more, err := b.Step(backupPages)
		if err != nil {
			return s.explain("backup", err)
		}
		if !more {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if now := time.Now(); now.Sub(told) >= backupTell {
			told = now
			s.opts.Logger.Info("evsourcing: sqlite: backup goes on", "path", s.path, "pages", b.PageCount(), "left", b.Remaining())
		}
	}
}

// publish makes a finished file durable under its name, unless that is taken.
func publish(temp, path string) error {
	if err := syncFile(temp); err != nil {
		return err
	}
	err := os.Link(temp, path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		// A file system without hard links. Renaming would overwrite.
		if _, serr := os.Lstat(path); serr == nil {
			err = fmt.Errorf("%s: %w", path, fs.ErrExist)
		} else {
			err = os.Rename(temp, path)
		}
	}
	if err != nil {
		return err
	}
	return syncFile(filepath.Dir(path))
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
