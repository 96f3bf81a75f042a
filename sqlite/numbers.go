package sqlite

import (
	zsqlite "zombiezen.com/go/sqlite"

	"github.com/evsourcing/evsourcing"
)

// A name is what a number stands for: a stream, or a kind of event. A number
// that is committed never changes.
type name interface {
	comparable
	bind(stmt *zsqlite.Stmt)
	statements() (find, insert statement)
}

type streamName evsourcing.StreamID

func (n streamName) statements() (find, insert statement) { return findStream, insertStream }
func (n streamName) bind(stmt *zsqlite.Stmt) {
	stmt.BindText(1, n.Type)
	stmt.BindText(2, n.ID)
}

type kindName struct{ typ, topic, contentType string }

func (n kindName) statements() (find, insert statement) { return findKind, insertKind }
func (n kindName) bind(stmt *zsqlite.Stmt) {
	stmt.BindText(1, n.typ)
	stmt.BindText(2, n.topic)
	stmt.BindText(3, n.contentType)
}

// numbers remembers the numbers of names that one connection has written lately.
type numbers[N name] struct {
	last          N
	lastNumber    int64 // 0: none
	recent, older map[N]int64
	fresh         []N // made in the present transaction
}

// maxNumbers is how many names are remembered, twice.
const maxNumbers = 32 << 10

// number returns the number of a name, which it makes if there is none.
func (t *numbers[N]) number(c *conn, n N) (int64, error) {
	number, ok, err := t.find(c, n)
	if err != nil || ok {
		return number, err
	}
	return t.create(c, n)
}

// create makes the number of a name that has none.
func (t *numbers[N]) create(c *conn, n N) (int64, error) {
	_, insert := n.statements()
	if err := c.run(insert, n.bind); err != nil {
		return 0, err
	}
	number := c.LastInsertRowID()
	t.add(n, number)
	t.fresh = append(t.fresh, n)
	return number, nil
}

// find returns the number of a name.
func (t *numbers[N]) find(c *conn, n N) (number int64, ok bool, err error) {
	if t.lastNumber != 0 && t.last == n {
		return t.lastNumber, true, nil
	}
	if number, ok = t.recent[n]; !ok {
		if number, ok = t.older[n]; !ok {
			find, _ := n.statements()
			ok, err = c.row(find, n.bind, func(stmt *zsqlite.Stmt) { number = stmt.ColumnInt64(0) })
			if err != nil || !ok {
				return 0, false, err
			}
		}
		t.add(n, number)
	}
	t.last, t.lastNumber = n, number
	return number, true, nil
}

func (t *numbers[N]) add(n N, number int64) {
	if t.recent == nil || len(t.recent) >= maxNumbers {
		t.recent, t.older = make(map[N]int64), t.recent
	}
	t.recent[n] = number
}

// keep is called after a commit.
func (t *numbers[N]) keep() { t.fresh = t.fresh[:0] }

// forget is called when a transaction is rolled back: its numbers may go to
// others. It reports whether there were any.
func (t *numbers[N]) forget() bool {
	if len(t.fresh) == 0 {
		return false
	}
	t.lastNumber = 0
	for _, n := range t.fresh {
		delete(t.recent, n)
		delete(t.older, n)
	}
	t.keep()
	return true
}

// distrust forgets all numbers: the function of a transaction may have gone back
// to a savepoint, and what it took back may have become another's.
func (c *conn) distrust() {
	c.streams, c.kinds, c.known = numbers[streamName]{}, numbers[kindName]{}, nil
}

// kindOf returns the kind with the number, a zero one if there is none.
func (c *conn) kindOf(number int64) (n kindName, err error) {
	if n, ok := c.known[number]; ok {
		return n, nil
	}
	found, err := c.row(readKind, func(stmt *zsqlite.Stmt) { stmt.BindInt64(1, number) }, func(stmt *zsqlite.Stmt) {
		n = kindName{stmt.ColumnText(0), stmt.ColumnText(1), stmt.ColumnText(2)}
	})
	if err != nil || !found {
		return kindName{}, err
	}
	if c.known == nil || len(c.known) >= maxNumbers {
		c.known = make(map[int64]kindName)
	}
	c.known[number] = n
	return n, nil
}
