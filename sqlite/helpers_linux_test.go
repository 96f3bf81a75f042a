package sqlite

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// tmpfs mounts a small file system in memory.
func tmpfs(t testing.TB, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("size=", bytes)); err != nil {
		faulttest.Missing(t, "no small file system: tmpfs can't be mounted, for which one has to be root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// asNobody makes a command run as a user without rights.
func asNobody() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}
