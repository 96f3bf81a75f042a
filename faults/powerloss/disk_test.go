//go:build linux

package powerloss

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/evsourcing/evsourcing/internal/faulttest"
)

// newDir makes a directory to mount a disk at, directly below the one for temporary
// files, where other users get to. It is removed after the test.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "evsourcing-powerloss-")
	fatal(t, err)
	t.Cleanup(func() { _ = os.Remove(dir) })
	return dir
}

// needFUSE skips the test where no disk can be mounted, or fails it where that has to be
// possible.
func needFUSE(t *testing.T) {
	t.Helper()
	d := NewDisk(0)
	if err := d.Mount(newDir(t)); err != nil {
		faulttest.Missing(t, "power loss is not tested here: no FUSE file system can be mounted, which takes /dev/fuse, and root or fusermount: %v", err)
	}
	unmount(t, d)
}

// newDesk mounts a disk until the test ends.
func newDesk(t *testing.T, d *Disk) desk {
	t.Helper()
	dir := newDir(t)
	fatal(t, d.Mount(dir))
	t.Cleanup(func() { unmount(t, d) })
	return desk{t, dir}
}

// unmount unmounts a disk, once, when the processes that use it have ended.
func unmount(t *testing.T, d *Disk) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := d.Unmount(ctx); err != nil {
		t.Error(err)
	}
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// files returns what programs see on the disk, by path; directories have a slash.
func (d *Disk) files() fstest.MapFS {
	all := fstest.MapFS{}
	var walk func(dir *directory, path string)
	walk = func(dir *directory, path string) {
		for name, id := range dir.now {
			n := d.nodes[id]
			if n.file == nil {
				all[path+name+"/"] = &fstest.MapFile{}
				walk(n.directory, path+name+"/")
				continue
			}
			b := make([]byte, n.file.now.size)
			n.file.read(b, 0)
			all[path+name] = &fstest.MapFile{Data: b, Mode: fs.FileMode(n.attr.Nlink)}
		}
	}
	walk(d.nodes[1].directory, "")
	return all
}

// describe returns a text for small files: names, and what they say.
func (d *Disk) describe() string {
	var list []string
	for path, f := range d.files() {
		list = append(list, path+"="+strings.ReplaceAll(string(f.Data), "\x00", "."))
	}
	slices.Sort(list)
	return strings.TrimSuffix(strings.Join(list, " "), "=")
}

// A desk does simple things on a disk; they must not fail.
type desk struct {
	t   *testing.T
	dir string
}

func (k desk) path(name string) string { return filepath.Join(k.dir, name) }

// open opens a file to read and write, makes it if need be, and closes it after the test.
func (k desk) open(name string, flags int) *os.File {
	k.t.Helper()
	f, err := os.OpenFile(k.path(name), os.O_RDWR|os.O_CREATE|flags, 0o600)
	fatal(k.t, err)
	k.t.Cleanup(func() { _ = f.Close() })
	return f
}

// put writes a file, and syncs it.
func (k desk) put(name, text string) *os.File {
	k.t.Helper()
	f := k.open(name, 0)
	k.write(f, text, 0)
	fatal(k.t, f.Sync())
	return f
}

func (k desk) write(f *os.File, text string, at int64) {
	k.t.Helper()
	_, err := f.WriteAt([]byte(text), at)
	fatal(k.t, err)
}

func (k desk) syncDir(name string) {
	k.t.Helper()
	f, err := os.Open(k.path(name))
	fatal(k.t, err)
	fatal(k.t, f.Sync())
	fatal(k.t, f.Close())
}

// TestDiskForgetsWhatWasNotSynced is what a disk keeps when nothing survives that need
// not, and when all does.
func TestDiskForgetsWhatWasNotSynced(t *testing.T) {
	needFUSE(t)
	for _, c := range []struct {
		name       string
		do         func(k desk)
		none, full string // what is left
		journaled  bool
	}{
		{"a file", func(k desk) { k.put("a", "x") }, "", "a=x", false},
		{"its name", func(k desk) { k.put("a", "x"); k.syncDir("") }, "a=x", "a=x", false},
		{"a name only", func(k desk) { k.write(k.open("a", 0), "x", 0); k.syncDir("") }, "a", "a=x", false},
		{"a write", func(k desk) {
			f := k.put("a", "old")
			k.syncDir("")
			k.write(f, "new", 0)
			k.write(f, "er", 3)
		}, "a=old", "a=newer", false},
		{"fdatasync", func(k desk) {
			f := k.put("a", "old")
			k.syncDir("")
			k.write(f, "newer", 0)
			fatal(k.t, syscall.Fdatasync(int(f.Fd())))
		}, "a=newer", "a=newer", false},
		{"O_DSYNC", func(k desk) { k.write(k.open("a", syscall.O_DSYNC), "x", 0); k.syncDir("") }, "a=x", "a=x", false},
		{"O_SYNC", func(k desk) { k.write(k.open("a", syscall.O_SYNC), "x", 0); k.syncDir("") }, "a=x", "a=x", false},
		{"sync by another descriptor", func(k desk) {
			k.write(k.open("a", 0), "x", 0)
			fatal(k.t, k.open("a", 0).Sync())
			k.syncDir("")
		}, "a=x", "a=x", false},
		{"sync_file_range, which promises nothing", func(k desk) {
			f := k.open("a", 0)
			k.write(f, "x", 0)
			fatal(k.t, syscall.SyncFileRange(int(f.Fd()), 0, 1, 7))
			k.syncDir("")
		}, "a", "a=x", false},
		{"memory that is mapped", func(k desk) {
			f := k.put("a", "old")
			k.syncDir("")
			fatal(k.t, mapped(k.path("a"), "new"))
			_ = f
		}, "a=new", "a=new", false},
		{"truncate", func(k desk) { f := k.put("a", "xyz"); k.syncDir(""); fatal(k.t, f.Truncate(1)) }, "a=xyz", "a=x", false},
		{"truncate and sync", func(k desk) {
			f := k.put("a", "xyz")
			k.syncDir("")
			fatal(k.t, f.Truncate(1))
			fatal(k.t, f.Truncate(2))
			fatal(k.t, f.Sync())
		}, "a=x.", "a=x.", false},
		{"open to truncate", func(k desk) { k.put("a", "xyz"); k.syncDir(""); k.open("a", os.O_TRUNC) }, "a=xyz", "a", false},
		{"unlink", func(k desk) { k.put("a", "x"); k.syncDir(""); fatal(k.t, os.Remove(k.path("a"))) }, "a=x", "", false},
		{"unlink and sync", func(k desk) {
			k.put("a", "x")
			k.syncDir("")
			fatal(k.t, os.Remove(k.path("a")))
			k.syncDir("")
		}, "", "", false},
		{"rename", func(k desk) {
			k.put("a", "x")
			k.put("b", "old")
			k.syncDir("")
			fatal(k.t, os.Rename(k.path("a"), k.path("b")))
		}, "a=x b=old", "b=x", false},
		{"rename and sync", func(k desk) {
			k.put("a", "x")
			k.put("b", "old")
			k.syncDir("")
			fatal(k.t, os.Rename(k.path("a"), k.path("b")))
			k.syncDir("")
		}, "b=x", "b=x", false},
		{"a new file in place of an old one, not synced", func(k desk) {
			k.put("b", "old")
			k.syncDir("")
			k.write(k.open("a", 0), "new", 0)
			fatal(k.t, os.Rename(k.path("a"), k.path("b")))
			k.syncDir("")
		}, "b", "b=new", false},
		{"link", func(k desk) { k.put("a", "x"); k.syncDir(""); fatal(k.t, os.Link(k.path("a"), k.path("b"))) }, "a=x", "a=x b=x", false},
		{"a directory", func(k desk) { fatal(k.t, os.Mkdir(k.path("d"), 0o700)); k.put("d/a", "x"); k.syncDir("d") }, "", "d/= d/a=x", false},
		{"a directory and its name", func(k desk) {
			fatal(k.t, os.Mkdir(k.path("d"), 0o700))
			k.put("d/a", "x")
			k.syncDir("d")
			k.syncDir("")
		}, "d/= d/a=x", "d/= d/a=x", false},
		{"a move to another directory, which is synced", func(k desk) {
			fatal(k.t, os.Mkdir(k.path("d"), 0o700))
			k.put("a", "x")
			fatal(k.t, os.Rename(k.path("a"), k.path("d/b")))
			k.syncDir("d")
		}, "d/= d/b=x", "d/= d/b=x", false},
		{name: "the name of a file, journaled", journaled: true, do: func(k desk) { k.put("a", "x"); k.open("b", 0) }, none: "a=x", full: "a=x b"},
		{name: "a move, journaled", journaled: true, do: func(k desk) {
			f := k.put("a", "x")
			fatal(k.t, os.Rename(k.path("a"), k.path("b")))
			fatal(k.t, f.Sync())
		}, none: "b=x", full: "b=x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for share, want := range []string{c.none, c.full} {
				d := NewDisk(1)
				d.Journaled = c.journaled
				c.do(newDesk(t, d))
				f := newFate(1)
				f.share = float64(share)
				if got := d.after(1, f).describe(); got != want {
					t.Errorf("if %d of 1 survives: %q, want %q", share, got, want)
				}
			}
		})
	}
}

// mapped writes by a shared mapping of a file, and syncs it, in a process of its own.
func mapped(path, text string) error {
	out, err := child("map", path, text).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func init() {
	children["map"] = func(args []string) error {
		f, err := os.OpenFile(args[0], os.O_RDWR, 0)
		if err != nil {
			return err
		}
		m, err := syscall.Mmap(int(f.Fd()), 0, len(args[1]), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
		if err != nil {
			return err
		}
		copy(m, args[1])
		return errors.Join(f.Sync(), syscall.Munmap(m), f.Close())
	}
}

// TestDiskMayKeepSome is what survives of that which was not synced: any of it.
func TestDiskMayKeepSome(t *testing.T) {
	old, young := bytes.Repeat([]byte("o"), 4*pageSize), bytes.Repeat([]byte("n"), 4*pageSize)
	whole, torn, names := map[string]int{}, 0, map[string]int{}
	for seed := range uint64(300) {
		d := NewDisk(seed)
		root := d.nodes[1].directory
		a := d.add(syscall.S_IFREG, d.nodes[1].attr.Owner)
		d.do(root.bind("a", a.attr.Ino))
		d.syncDirectory(root)
		a.file.write(old, 0)
		a.file.sync()
		a.file.write(young, 0)
		b := d.add(syscall.S_IFREG, d.nodes[1].attr.Owner)
		d.do(root.bind("b", b.attr.Ino))
		d.do(root.bind("b", 0), root.bind("c", b.attr.Ino))
		found := d.After(seed).files()
		pages := ""
		for p := 0; p < len(old); p += pageSize {
			page := found["a"].Data[p : p+pageSize]
			for s := 0; s < pageSize; s += sectorSize {
				if sector := page[s : s+sectorSize]; bytes.Count(sector, sector[:1]) != sectorSize {
					t.Fatalf("seed %d: a sector is torn", seed)
				}
			}
			if bytes.Count(page, page[:1]) != pageSize {
				torn++
			}
			pages += string(page[:1])
		}
		whole[pages]++
		_, b1 := found["b"]
		_, c1 := found["c"]
		names[fmt.Sprint(b1, c1)]++
	}
	if len(whole) != 16 || torn == 0 || len(names) != 3 || names["true true"] > 0 {
		t.Errorf("pages survive as %v, %d are torn; names survive as %v", whole, torn, names)
	}
}

// TestDiskGoesDark is what programs meet when power is lost, and what the next disk has.
func TestDiskGoesDark(t *testing.T) {
	needFUSE(t)
	d := NewDisk(1)
	k := newDesk(t, d)
	f := k.put("a", strings.Repeat("x", 3*pageSize+10))
	k.syncDir("")
	d.LoseAfter(2)
	k.write(f, "y", 0)
	if _, err := f.WriteAt([]byte("z"), 1); !errors.Is(err, syscall.EIO) {
		t.Errorf("the write that meets the loss returns %v", err)
	}
	<-d.Dark()
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("a sync after it returns %v", err)
	}
	fatal(t, f.Close())
	next := d.after(1, &fate{newFate(1).Rand, 0})
	k2 := newDesk(t, next)
	b, err := os.ReadFile(k2.path("a"))
	if err != nil || string(b) != strings.Repeat("x", 3*pageSize+10) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	k2.put("b", "1")
	list, err := os.ReadDir(k2.dir)
	if err != nil || len(list) != 2 || list[0].Name() != "a" || list[1].Name() != "b" {
		t.Errorf("%v, %v", list, err)
	}
	fatal(t, os.MkdirAll(k2.path("d/e"), 0o700))
	for want, err := range map[error]error{
		fs.ErrExist:       os.Mkdir(k2.path("a"), 0o700),
		fs.ErrNotExist:    os.Remove(k2.path("none")),
		syscall.ENOTEMPTY: os.Remove(k2.path("d")),
	} {
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

// TestCopy puts a tree on a disk, which survives.
func TestCopy(t *testing.T) {
	from := t.TempDir()
	fatal(t, os.MkdirAll(filepath.Join(from, "d", "e"), 0o700))
	fatal(t, os.WriteFile(filepath.Join(from, "d", "f"), []byte("x"), 0o600))
	d := NewDisk(1)
	fatal(t, d.Copy(from))
	if got := d.after(1, &fate{newFate(1).Rand, 0}).describe(); got != "d/= d/e/= d/f=x" {
		t.Error(got)
	}
}
