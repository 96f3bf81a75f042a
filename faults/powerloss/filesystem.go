//go:build linux

package powerloss

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// forever is how long the kernel may remember what only it can change.
const forever = time.Hour

// filesystem answers the kernel. Opening a file is nothing to tell the disk: that is
// ENOSYS, and makes the kernel keep what it has read.
type filesystem struct {
	fuse.RawFileSystem
	*Disk
}

func (fs filesystem) String() string { return "powerloss" }

// see returns the node of a call that changes nothing.
func (d *Disk) see(id uint64) (*node, fuse.Status) {
	if d.isDark() {
		return nil, fuse.EIO
	}
	n := d.nodes[id]
	if n == nil {
		return nil, fuse.ENOENT
	}
	return n, fuse.OK
}

// touch returns the node of a call that changes something, unless power is lost by then.
func (d *Disk) touch(id uint64) (*node, fuse.Status) {
	if d.left > 0 {
		if d.left--; d.left == 0 {
			d.lose()
		}
	}
	return d.see(id)
}

// stat returns the attributes of a node.
func (n *node) stat() fuse.Attr {
	a := n.attr
	if n.file != nil {
		a.Size = uint64(n.file.now.size)
		a.Blocks = (a.Size + sectorSize - 1) / sectorSize
	}
	return a
}

func (n *node) enter(out *fuse.EntryOut) {
	out.NodeId, out.Generation, out.Attr = n.attr.Ino, 1, n.stat()
	out.SetEntryTimeout(forever)
	out.SetAttrTimeout(forever)
}

// child returns the node of a name.
func (d *Disk) child(dir *node, name string) (*node, fuse.Status) {
	if dir.directory == nil {
		return nil, fuse.ENOTDIR
	}
	n := d.nodes[dir.directory.now[name]]
	if n == nil {
		return nil, fuse.ENOENT
	}
	return n, fuse.OK
}

func (fs filesystem) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	dir, status := fs.see(in.NodeId)
	if !status.Ok() {
		return status
	}
	n, status := fs.child(dir, name)
	if status.Ok() {
		n.enter(out)
	}
	return status
}

func (fs filesystem) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, status := fs.see(in.NodeId)
	if status.Ok() {
		out.Attr = n.stat()
		out.SetTimeout(forever)
	}
	return status
}

func (fs filesystem) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, status := fs.touch(in.NodeId)
	if !status.Ok() {
		return status
	}
	if mode, ok := in.GetMode(); ok {
		n.attr.Mode = n.attr.Mode&syscall.S_IFMT | mode&^syscall.S_IFMT
	}
	if uid, ok := in.GetUID(); ok {
		n.attr.Uid = uid
	}
	if gid, ok := in.GetGID(); ok {
		n.attr.Gid = gid
	}
	if size, ok := in.GetSize(); ok && n.file != nil {
		n.file.truncate(int64(size))
	}
	if mtime, ok := in.GetMTime(); ok {
		n.attr.SetTimes(nil, &mtime, nil)
	}
	out.Attr = n.stat()
	out.SetTimeout(forever)
	return fuse.OK
}

// put adds a node under a name that is free.
func (fs filesystem) put(parent uint64, name string, mode uint32, owner fuse.Owner, out *fuse.EntryOut) fuse.Status {
	dir, status := fs.touch(parent)
	if !status.Ok() {
		return status
	}
	if _, status := fs.child(dir, name); status.Ok() {
		return fuse.Status(syscall.EEXIST)
	}
	n := fs.add(mode, owner)
	fs.do(dir.directory.bind(name, n.attr.Ino))
	n.enter(out)
	return fuse.OK
}

func (fs filesystem) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.put(in.NodeId, name, in.Mode, in.Owner, out)
}

func (fs filesystem) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.put(in.NodeId, name, in.Mode|syscall.S_IFDIR, in.Owner, out)
}

func (fs filesystem) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fs.put(in.NodeId, name, in.Mode, in.Owner, &out.EntryOut)
}

func (fs filesystem) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	dir, status := fs.touch(in.NodeId)
	if !status.Ok() {
		return status
	}
	n, status := fs.see(in.Oldnodeid)
	if !status.Ok() {
		return status
	}
	n.attr.Nlink++
	fs.do(dir.directory.bind(name, in.Oldnodeid))
	n.enter(out)
	return fuse.OK
}

// remove takes away a name of a file, or of an empty directory.
func (fs filesystem) remove(parent uint64, name string) fuse.Status {
	dir, status := fs.touch(parent)
	if !status.Ok() {
		return status
	}
	n, status := fs.child(dir, name)
	if !status.Ok() {
		return status
	}
	if n.directory != nil && len(n.directory.now) > 0 {
		return fuse.Status(syscall.ENOTEMPTY)
	}
	n.attr.Nlink--
	fs.do(dir.directory.bind(name, 0))
	return fuse.OK
}

func (fs filesystem) Unlink(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.remove(in.NodeId, name)
}

func (fs filesystem) Rmdir(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.remove(in.NodeId, name)
}

func (fs filesystem) Rename(_ <-chan struct{}, in *fuse.RenameIn, name, to string) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	dir, status := fs.touch(in.NodeId)
	if !status.Ok() {
		return status
	}
	target, status := fs.see(in.Newdir)
	if !status.Ok() {
		return status
	}
	n, status := fs.child(dir, name)
	if !status.Ok() {
		return status
	}
	if in.Flags != 0 { // nobody here exchanges two names, or asks whether one is free
		return fuse.EINVAL
	}
	if old, status := fs.child(target, to); status.Ok() {
		if old.directory != nil && len(old.directory.now) > 0 {
			return fuse.Status(syscall.ENOTEMPTY)
		}
		old.attr.Nlink--
	}
	fs.do(dir.directory.bind(name, 0), target.directory.bind(to, n.attr.Ino))
	return fuse.OK
}
