//go:build !linux

package sqlite

import (
	"syscall"
	"testing"
)

func tmpfs(t testing.TB, _ int) string {
	t.Helper()
	missing(t, "no small file system: tmpfs is mounted on Linux only")
	return ""
}

func asNobody() *syscall.SysProcAttr { return nil }
