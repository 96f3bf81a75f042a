//go:build !linux

package sqlite

import (
	"syscall"
	"testing"

	"github.com/evsourcing/evsourcing/internal/faulttest"
)

func tmpfs(t testing.TB, _ int) string {
	t.Helper()
	faulttest.Missing(t, "no small file system: tmpfs is mounted on Linux only")
	return ""
}

func asNobody() *syscall.SysProcAttr { return nil }
