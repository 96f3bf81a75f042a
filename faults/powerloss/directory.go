//go:build linux

package powerloss

import (
	"maps"
	"slices"
)

// A directory is what programs see, and beside it what is on the disk for sure.
type directory struct{ now, kept map[string]uint64 }

// A binding gives a name in a directory to a node, and takes it from one; 0 is none.
type binding struct {
	in      *directory
	name    string
	was, is uint64
}

// A change is what one call does to directories: all of it survives, or nothing.
type change []binding

// bind returns what gives a name in the directory to a node.
func (dir *directory) bind(name string, node uint64) binding {
	return binding{dir, name, dir.now[name], node}
}

// do makes the change visible, and remembers that it is not on the disk.
func (d *Disk) do(c ...binding) {
	for _, b := range c {
		set(b.in.now, b)
	}
	d.journal = append(d.journal, c)
}

// keep puts the change on the disk, if what it is about is there.
func (c change) keep() {
	for _, b := range c {
		if b.in.kept[b.name] != b.was {
			return
		}
	}
	for _, b := range c {
		set(b.in.kept, b)
	}
}

func set(names map[string]uint64, b binding) {
	if b.is == 0 {
		delete(names, b.name)
	} else {
		names[b.name] = b.is
	}
}

// commit puts changes on the disk: those that any of their bindings is one of, and what
// was done before to the directories that they are about.
func (d *Disk) commit(one func(binding) bool) {
	with := map[*directory]bool{}
	var kept, left []change
	for _, c := range slices.Backward(d.journal) {
		if slices.ContainsFunc(c, func(b binding) bool { return with[b.in] || one(b) }) {
			kept = append(kept, c)
			for _, b := range c {
				with[b.in] = true
			}
		} else {
			left = append(left, c)
		}
	}
	for _, c := range slices.Backward(kept) {
		c.keep()
	}
	slices.Reverse(left)
	d.journal = left
}

// syncDirectory puts all that was done to the directory on the disk.
func (d *Disk) syncDirectory(dir *directory) { d.commit(func(b binding) bool { return b.in == dir }) }

// syncFile puts a file on the disk.
func (d *Disk) syncFile(n *node) {
	n.file.sync()
	if d.Journaled {
		d.commit(func(b binding) bool { return b.is == n.attr.Ino })
	}
}

// sorted returns the keys of a map in order, so that fate repeats itself.
func sorted[K int64 | string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
