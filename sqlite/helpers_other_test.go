//go:build !linux

package sqlite

import (
	"syscall"
	"testing"
)

func tmpfs(t testing.TB, _ int) string {
	t.Helper()
	t.Skip("a small file system is mounted on Linux only")
	return ""
}

func asNobody() *syscall.SysProcAttr { return nil }
