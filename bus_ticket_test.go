package evsourcing

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// tickets are nothing that can be seen from outside.

var ticketStream = StreamID{Type: "a", ID: "1"}

func mustTake(t *testing.T, tickets *tickets, id StreamID) {
	t.Helper()
	if err := tickets.take(context.Background(), id); err != nil {
		t.Errorf("take: %v", err)
	}
}

func TestTicketsAreGivenInTheOrderOfAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tickets tickets
		mustTake(t, &tickets, ticketStream)
		var order []int
		for i := range 20 {
			go func() {
				mustTake(t, &tickets, ticketStream)
				order = append(order, i) // without a lock: the ticket is one
				<-time.After(time.Second)
				tickets.give(ticketStream)
			}()
			synctest.Wait()
		}
		mustTake(t, &tickets, StreamID{Type: "a", ID: "2"})
		mustTake(t, &tickets, StreamID{Type: "b", ID: "1"})
		if len(order) != 0 {
			t.Fatalf("%v have the ticket that is taken", order)
		}
		start := time.Now()
		tickets.give(ticketStream)
		mustTake(t, &tickets, ticketStream) // the last in line
		if d := time.Since(start); d != 20*time.Second {
			t.Errorf("the line took %v", d)
		}
		for i, n := range order {
			if i != n {
				t.Fatalf("order %v", order)
			}
		}
	})
}

func TestTicketOfACancelledWaiterGoesToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tickets tickets
		mustTake(t, &tickets, ticketStream)
		var cancels []context.CancelFunc
		got := make([]error, 5)
		for i := range got {
			ctx, cancel := context.WithCancel(context.Background())
			cancels = append(cancels, cancel)
			go func() {
				if got[i] = tickets.take(ctx, ticketStream); got[i] == nil {
					tickets.give(ticketStream)
				}
			}()
			synctest.Wait()
		}
		for _, i := range []int{0, 2, 4} {
			cancels[i]()
		}
		synctest.Wait()
		for i, err := range got {
			if cancelled := i%2 == 0; cancelled != errors.Is(err, context.Canceled) {
				t.Errorf("waiter %d: %v", i, err)
			}
		}
		tickets.give(ticketStream)
		synctest.Wait()
		noTickets(t, &tickets)
		cancels[1]()
		cancels[3]()
	})
}

// The turn and the end of the context come together: whichever the waiter sees,
// the ticket is not lost.
func TestTicketIsNotLostWhenTurnAndCancellationMeet(t *testing.T) {
	for round := range 100 {
		synctest.Test(t, func(t *testing.T) {
			var tickets tickets
			mustTake(t, &tickets, ticketStream)
			ctx, cancel := context.WithCancel(context.Background())
			first := make(chan error, 1)
			go func() { first <- tickets.take(ctx, ticketStream) }()
			synctest.Wait()
			second := make(chan error, 1)
			go func() { second <- tickets.take(context.Background(), ticketStream) }()
			synctest.Wait()
			if round%2 == 0 {
				cancel() // and the waiter is told so, but its turn comes before it has left
			}
			tickets.give(ticketStream)
			cancel()
			if err := <-first; err == nil {
				synctest.Wait()
				if len(second) > 0 {
					t.Fatal("two have the ticket")
				}
				tickets.give(ticketStream)
			}
			if err := <-second; err != nil {
				t.Fatal(err)
			}
			tickets.give(ticketStream)
			noTickets(t, &tickets)
		})
	}
}

// Under load, with contexts that end at any time: one holder a stream, and
// nothing is left in the end.
func TestTicketsUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tickets tickets
		streams := []StreamID{{"a", "1"}, {"a", "2"}, {"b", "1"}}
		holders := make([]atomic.Int64, len(streams))
		var taken, refused atomic.Int64
		var workers sync.WaitGroup
		for range 32 {
			workers.Go(func() {
				for range 100 {
					i := rand.IntN(len(streams))
					ctx, cancel := context.WithTimeout(context.Background(), rand.N(30*time.Millisecond))
					if tickets.take(ctx, streams[i]) == nil {
						taken.Add(1)
						if holders[i].Add(1) != 1 {
							t.Errorf("two hold the ticket of %v", streams[i])
						}
						<-time.After(rand.N(2 * time.Millisecond))
						holders[i].Add(-1)
						tickets.give(streams[i])
					} else {
						refused.Add(1)
					}
					cancel()
				}
			})
		}
		workers.Wait()
		noTickets(t, &tickets)
		if taken.Load() == 0 || refused.Load() == 0 {
			t.Errorf("taken %d times, refused %d times: the test tests nothing", taken.Load(), refused.Load())
		}
	})
}

func noTickets(t *testing.T, tickets *tickets) {
	t.Helper()
	tickets.mu.Lock()
	defer tickets.mu.Unlock()
	if len(tickets.lines) != 0 {
		t.Errorf("left over: %v", tickets.lines)
	}
}
