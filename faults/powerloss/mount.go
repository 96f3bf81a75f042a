//go:build linux

package powerloss

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Mount mounts the disk at a directory. A process that does it must not run programs from
// there, nor start any there, nor map files of it: it would wait for itself.
func (d *Disk) Mount(dir string) error {
	root := os.Getuid() == 0
	server, err := fuse.NewServer(filesystem{fuse.NewDefaultRawFileSystem(), d}, dir, &fuse.MountOptions{
		Name: "powerloss", FsName: "powerloss", Options: []string{"default_permissions"},
		// Others than root ask fusermount, can't let other users in, and need not.
		DirectMountStrict: root, AllowOther: root,
		// Only the kernel changes anything, so its cache is never stale.
		ExplicitDataCacheControl: true,
		DisableXAttrs:            true, DisableReadDirPlus: true,
		Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	d.server = server
	go server.Serve() // until Unmount
	if err := server.WaitMount(); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	return nil
}

// Unmount unmounts the disk, as soon as no process uses it. What the kernel has in its
// cache is gone then.
func (d *Disk) Unmount(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := d.server.Unmount()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("unmount: %w: %w", ctx.Err(), err)
		}
	}
}

// Copy puts what is in a directory onto the disk, which is empty, synced.
func (d *Disk) Copy(from string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	nodes := map[string]*node{}
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		owner := fuse.Owner{Uid: stat.Uid, Gid: stat.Gid}
		if path == from {
			root := d.nodes[fuse.FUSE_ROOT_ID]
			root.attr.Mode, root.attr.Owner = stat.Mode, owner
			nodes[path] = root
			return nil
		}
		n := d.add(stat.Mode, owner)
		nodes[path] = n
		if n.file != nil {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			n.file.write(b, 0)
			n.file.sync()
		}
		dir := nodes[filepath.Dir(path)].directory
		d.do(dir.bind(e.Name(), n.attr.Ino))
		d.syncDirectory(dir)
		return nil
	})
}
