//go:build linux

package powerloss

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func (fs filesystem) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status {
	return fuse.ENOSYS
}

func (fs filesystem) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, status := fs.see(in.NodeId)
	if !status.Ok() {
		return nil, status
	}
	return fuse.ReadResultData(buf[:n.file.read(buf, int64(in.Offset))]), fuse.OK
}

func (fs filesystem) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, status := fs.touch(in.NodeId)
	if !status.Ok() {
		return 0, status
	}
	at := int64(in.Offset)
	if fs.random.IntN(8) == 0 {
		n.file.writeBack(at / pageSize) // what it has been so far
	}
	n.file.write(data, at)
	now := time.Now()
	n.attr.SetTimes(nil, &now, &now)
	return uint32(len(data)), fuse.OK
}

func (fs filesystem) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, status := fs.touch(in.NodeId)
	if status.Ok() {
		fs.syncFile(n)
	}
	return status
}

func (fs filesystem) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, status := fs.touch(in.NodeId)
	if status.Ok() {
		fs.syncDirectory(n.directory)
	}
	return status
}

// OpenDir makes the list that ReadDir reads from, which others' changes don't disturb.
func (fs filesystem) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, status := fs.see(in.NodeId)
	if !status.Ok() {
		return status
	}
	var list []fuse.DirEntry
	for i, name := range sorted(n.directory.now) {
		id := n.directory.now[name]
		list = append(list, fuse.DirEntry{Name: name, Ino: id, Mode: fs.nodes[id].attr.Mode, Off: uint64(i + 1)})
	}
	fs.last++
	out.Fh = fs.last
	fs.lists[out.Fh] = list
	return fuse.OK
}

func (fs filesystem) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if _, status := fs.see(in.NodeId); !status.Ok() {
		return status
	}
	list := fs.lists[in.Fh]
	for _, e := range list[min(in.Offset, uint64(len(list))):] {
		if !out.AddDirEntry(e) {
			break
		}
	}
	return fuse.OK
}

func (fs filesystem) ReleaseDir(in *fuse.ReleaseIn) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.lists, in.Fh)
}

func (fs filesystem) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	const blocks = 1 << 24 // 64 GiB: there is always room
	*out = fuse.StatfsOut{Blocks: blocks, Bfree: blocks, Bavail: blocks, Bsize: pageSize, Frsize: pageSize, NameLen: 255}
	return fuse.OK
}
