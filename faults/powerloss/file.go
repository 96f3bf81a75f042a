//go:build linux

package powerloss

import "maps"

const (
	pageSize   = 4096 // what a kernel writes back as one, unless power is lost meanwhile
	sectorSize = 512  // what a disk writes as one
)

// content is the bytes of a file. Pages that are not there are zero.
type content struct {
	size  int64
	pages map[int64][]byte
}

// A file is what programs see, and beside it what is on the disk for sure.
type file struct {
	now, kept content
	fresh     map[int64]bool // the pages of now that kept doesn't share, and that may be written to
	cut       int64          // the least size since the last sync, or -1 if it was not cut
}

func newFile(c content) *file {
	return &file{now: c, kept: content{c.size, maps.Clone(c.pages)}, fresh: map[int64]bool{}, cut: -1}
}

// page returns a page of the file to write to.
func (f *file) page(i int64) []byte {
	p := f.now.pages[i]
	if !f.fresh[i] {
		p = append(make([]byte, 0, pageSize), p...)[:pageSize]
		f.now.pages[i], f.fresh[i] = p, true
	}
	return p
}

func (f *file) write(b []byte, at int64) {
	f.now.size = max(f.now.size, at+int64(len(b)))
	for len(b) > 0 {
		n := copy(f.page(at / pageSize)[at%pageSize:], b)
		b, at = b[n:], at+int64(n)
	}
}

// writeBack puts a page on the disk, as a kernel does whenever it likes.
func (f *file) writeBack(i int64) {
	if f.fresh[i] {
		f.kept.pages[i] = f.now.pages[i]
		delete(f.fresh, i)
	}
}

// read fills b, and returns how much of it there is.
func (f *file) read(b []byte, at int64) int {
	b = b[:max(0, min(int64(len(b)), f.now.size-at))]
	for n := 0; n < len(b); {
		i, from := (at+int64(n))/pageSize, (at+int64(n))%pageSize
		part := b[n:min(len(b), n+int(pageSize-from))]
		if p := f.now.pages[i]; p != nil {
			copy(part, p[from:])
		} else {
			clear(part)
		}
		n += len(part)
	}
	return len(b)
}

func (f *file) truncate(size int64) {
	if size < f.now.size {
		if f.cut < 0 || size < f.cut {
			f.cut = size
		}
		f.now.drop(size)
		maps.DeleteFunc(f.fresh, func(i int64, _ bool) bool { return f.now.pages[i] == nil })
		if rest := size % pageSize; rest > 0 && f.now.pages[size/pageSize] != nil {
			clear(f.page(size / pageSize)[rest:])
		}
	}
	f.now.size = size
}

// drop forgets the pages that begin at the size or beyond.
func (c *content) drop(size int64) {
	maps.DeleteFunc(c.pages, func(i int64, _ []byte) bool { return i*pageSize >= size })
}

// sync puts all there is on the disk.
func (f *file) sync() {
	if f.cut >= 0 {
		f.kept.pages = maps.Clone(f.now.pages)
	}
	for i := range f.fresh {
		f.kept.pages[i] = f.now.pages[i]
	}
	f.kept.size, f.cut = f.now.size, -1
	clear(f.fresh)
}

// after returns what the disk has of the file when power was lost: what was synced, and
// of what was done since then whatever fate has chosen.
func (f *file) after(fate *fate) content {
	c := content{f.kept.size, maps.Clone(f.kept.pages)}
	if f.cut >= 0 && fate.survives() {
		c.drop(f.cut)
		c.size = min(c.size, f.cut)
		c.endAt(c.size)
	}
	if grown := f.now.size - c.size; grown > 0 {
		if fate.survives() {
			c.size += grown
		} else if fate.survives() {
			c.size += fate.Int64N(grown)
		}
	}
	for _, i := range sorted(f.fresh) {
		switch {
		case fate.IntN(4) == 0:
			torn := append(make([]byte, 0, pageSize), c.pages[i]...)[:pageSize]
			for s := 0; s < pageSize; s += sectorSize {
				if fate.survives() {
					copy(torn[s:s+sectorSize], f.now.pages[i][s:])
				}
			}
			c.pages[i] = torn
		case fate.survives():
			c.pages[i] = f.now.pages[i]
		}
	}
	c.endAt(c.size)
	return c
}

// endAt makes what is beyond the size zero.
func (c *content) endAt(size int64) {
	c.drop(size)
	if p, rest := c.pages[size/pageSize], size%pageSize; p != nil && rest > 0 {
		p = append(make([]byte, 0, pageSize), p...)
		clear(p[rest:])
		c.pages[size/pageSize] = p
	}
}
