//go:build linux

package powerloss

import (
	"math/rand/v2"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A Disk is a file system in memory, to be mounted once, that knows what the loss of
// power would leave of it. All methods may be called concurrently.
type Disk struct {
	// Journaled makes the sync of a file keep its names too, as the usual file systems
	// of Linux do. Set it before the disk is mounted.
	Journaled bool

	server *fuse.Server // once mounted

	mu      sync.Mutex // guards what follows, and all nodes
	random  *rand.Rand
	nodes   map[uint64]*node
	journal []change      // of directories, in order, which are not on the disk
	left    int64         // calls that change something until power is lost, if above 0
	dark    chan struct{} // closed when power is lost
	lists   map[uint64][]fuse.DirEntry
	last    uint64 // number of a node or a list
}

// A node is a file or a directory. It is never freed, which a crash does anyway.
type node struct {
	attr fuse.Attr // without the size; it survives whatever happens
	*file
	*directory
}

// NewDisk returns an empty disk, whose kernel writes back pages as the seed says.
func NewDisk(seed uint64) *Disk {
	d := &Disk{
		random: rand.New(rand.NewPCG(seed, 0)), nodes: map[uint64]*node{}, dark: make(chan struct{}),
		lists: map[uint64][]fuse.DirEntry{}, last: fuse.FUSE_ROOT_ID,
	}
	d.nodes[d.last] = &node{
		attr:      fuse.Attr{Ino: d.last, Mode: syscall.S_IFDIR | 0o755, Nlink: 2, Blksize: pageSize},
		directory: newDirectory(),
	}
	return d
}

func newDirectory() *directory {
	return &directory{now: map[string]uint64{}, kept: map[string]uint64{}}
}

// add returns a new node, which has no name yet.
func (d *Disk) add(mode uint32, owner fuse.Owner) *node {
	d.last++
	n := &node{attr: fuse.Attr{Ino: d.last, Mode: mode, Owner: owner, Nlink: 1, Blksize: pageSize}}
	if mode&syscall.S_IFMT == syscall.S_IFDIR {
		n.directory, n.attr.Nlink = newDirectory(), 2
	} else {
		n.file = newFile(content{pages: map[int64][]byte{}})
	}
	d.nodes[d.last] = n
	return n
}

// LoseAfter loses power at the given number of calls from now that change something, the
// last of which does not happen. Every call fails from then on.
func (d *Disk) LoseAfter(calls int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = int64(max(1, calls))
}

func (d *Disk) lose() {
	if !d.isDark() {
		close(d.dark)
	}
}

// Dark returns a channel that is closed when power is lost.
func (d *Disk) Dark() <-chan struct{} { return d.dark }

func (d *Disk) isDark() bool {
	select {
	case <-d.dark:
		return true
	default:
		return false
	}
}

// fate says what survives of that which did not have to.
type fate struct {
	*rand.Rand
	share float64
}

func newFate(seed uint64) *fate {
	random := rand.New(rand.NewPCG(seed, 1))
	share := []float64{0, 0.5, random.Float64()}[random.IntN(3)]
	return &fate{random, share}
}

func (f *fate) survives() bool { return f.Float64() < f.share }

// After returns the disk as it is found when power is back, which it loses now if it has
// not before. Everything is there that was synced: the content and size of a file when
// fsync or fdatasync of the file, or a synchronous write, had succeeded after it; a name
// that was made, changed or removed when fsync of its directory had, or of the file if
// the disk is Journaled. Of the rest, the seed decides: nothing survives, or a random
// part, in no order. A file may be longer and hold zeros where it has grown, or not be cut
// where it was; of a page, some sectors may be new and others old. A name that was moved
// is at its old place or its new one.
func (d *Disk) After(seed uint64) *Disk { return d.after(seed, newFate(seed)) }

func (d *Disk) after(seed uint64, f *fate) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lose()
	for _, c := range d.journal {
		if f.survives() {
			c.keep()
		}
	}
	found := NewDisk(seed)
	found.last, found.Journaled = d.last, d.Journaled
	clear(found.nodes)
	d.find(found, fuse.FUSE_ROOT_ID, f)
	return found
}

// find adds to the disk what is found at the node.
func (d *Disk) find(found *Disk, id uint64, f *fate) {
	n, links := d.nodes[id], uint32(1)
	if before := found.nodes[id]; before != nil { // another name of the file
		before.attr.Nlink++
		return
	}
	after := &node{attr: n.attr}
	found.nodes[id] = after
	if n.file != nil {
		after.file = newFile(n.file.after(f))
	} else {
		links = 2
		after.directory = newDirectory()
		for _, name := range sorted(n.directory.kept) {
			child := n.directory.kept[name]
			after.directory.now[name], after.directory.kept[name] = child, child
			d.find(found, child, f)
		}
	}
	after.attr.Nlink = links
}
