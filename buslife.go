package evsourcing

import "context"

// Listen starts dispatch, first of the messages published before it. It returns
// [ErrListening] if it was called before and [ErrBusClosed] after Close; with a
// Transport, also the transport's error when a group can't be joined or a
// message not be sent, and then the bus does not listen and Listen may be
// called again.
func (b *EventBus) Listen() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.phase {
	case joining, listening:
		return ErrListening
	case closing:
		return ErrBusClosed
	case subscribing:
	}
	if b.link != nil {
		if err := b.join(); err != nil {
			return err
		}
	}
	b.phase = listening
	b.unwatch = context.AfterFunc(b.opts.BaseContext, func() { b.shut(context.Cause(b.opts.BaseContext)) })
	for i := range b.kept {
		b.dispatch(&b.kept[i], nil)
	}
	b.kept = nil
	return nil
}

// join joins the transport's groups and sends what was kept. It lets go of mu
// while it talks to the transport.
func (b *EventBus) join() error {
	b.phase = joining
	b.active++ // Close waits
	defer b.idle()
	b.mu.Unlock()
	err := b.link.join()
	b.mu.Lock()
	for err == nil && b.phase == joining && len(b.kept) > 0 {
		err = b.sendKept()
	}
	if err == nil && b.phase == closing {
		err = ErrBusClosed
	}
	if err == nil {
		b.link.start()
		return nil
	}
	b.mu.Unlock()
	b.link.unjoin()
	b.mu.Lock()
	if b.phase == joining {
		b.phase = subscribing
	}
	return err
}

// sendKept sends what was published so far; more may come meanwhile.
func (b *EventBus) sendKept() error {
	batch := b.kept // what is appended meanwhile does not change these
	b.mu.Unlock()
	err := b.link.send(b.ctx, batch)
	b.mu.Lock()
	if err == nil {
		b.kept = b.kept[len(batch):]
	}
	return err
}

// Close ends the bus: it takes nothing more from outside, and waits until what
// is queued, and what reactors publish meanwhile, has been handled or given up.
//
// It returns nil if nothing is left; then no goroutine of the bus is left
// either. If ctx ends first, Close cancels the contexts of the reactors with
// cause [ErrBusClosed] and returns at once an [*UndeliveredError] with the number
// of messages that remain, those of running reactors and of reactors waiting
// for another attempt included. A reactor that ignores its context keeps its
// goroutine until it returns. Messages that were kept, because the bus never
// listened or was closed already, are undelivered too.
//
// Close may be called several times, also concurrently: every call waits, for
// as long as its own context lasts. Inside a reactor, it waits for that reactor
// too, so give it a context that ends.
func (b *EventBus) Close(ctx context.Context) error {
	b.shut(nil)
	select {
	case <-b.drained:
	default:
		select {
		case <-b.drained:
		case <-ctx.Done():
			b.cut(ctx.Err())
		}
	}
	n := b.Pending()
	if n == 0 && b.link == nil {
		<-b.drained // lanes that have settled everything are about to stop
	}
	left := b.link == nil || b.link.leave(ctx)
	if !left {
		b.cut(ctx.Err()) // the reason, if there is none yet
	}
	b.cancel(ErrBusClosed) // if nobody is left to notice, it lets BaseContext forget the bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if n == 0 && left && b.active == 0 { // else a transport does not come back
		return nil
	}
	err := b.cutBy
	if err == nil {
		err = context.Cause(b.ctx)
	}
	return &UndeliveredError{Count: n, Err: err}
}

// shut stops dispatch from outside. If cause is not nil, it also stops lanes,
// whose context has ended.
func (b *EventBus) shut(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cause != nil && b.cutBy == nil {
		b.cutBy = cause
	}
	if b.phase == closing {
		return
	}
	if b.phase == subscribing && len(b.kept) > 0 {
		b.cutBy = ErrNotListening
	}
	if b.unwatch != nil {
		b.unwatch()
	}
	b.phase = closing
	b.active++ // hold back drained until everybody has been told
	for _, sub := range b.subs {
		b.serve(sub) // those who wait find the bus closing
	}
	if b.link != nil {
		b.link.stop()
	}
	b.idle()
}

// cut ends dispatch before everything is handled.
func (b *EventBus) cut(cause error) {
	b.mu.Lock()
	if b.cutBy == nil {
		b.cutBy = cause
	}
	b.mu.Unlock()
	b.cancel(ErrBusClosed)
}

// idle says that a lane or receiver has stopped. b.mu is held.
func (b *EventBus) idle() {
	b.active--
	if b.phase == closing && b.active == 0 {
		close(b.drained) // once: nothing is dispatched from now on
	}
}
