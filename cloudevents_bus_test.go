package evsourcing_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evsourcing/evsourcing"
)

// touchdown is what landed was called in the program of years ago.
type touchdown Landed

func (touchdown) Topic() string       { return "touchdown" }
func (touchdown) ApplyTo(a *Aircraft) { a.Flying = false }

// envelopes keeps what is sent over a transport.
type envelopes struct {
	evsourcing.Transport
	mu   sync.Mutex // guards sent
	sent []evsourcing.Envelope
}

func (e *envelopes) Send(ctx context.Context, list ...evsourcing.Envelope) error {
	e.mu.Lock()
	e.sent = append(e.sent, list...)
	e.mu.Unlock()
	return e.Transport.Send(ctx, list...)
}

// Two programs, with stores of their own: aircraft land in one, the other sweeps
// hangars, and the first hears of that. A third is of years ago.
func TestBusWithCloudEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &envelopes{Transport: evsourcing.NewChannelTransport()}
		open := func(source string, codec *evsourcing.Registry) *evsourcing.EventBus {
			return quietBus(evsourcing.EventBusOptions{
				Transport: transport, Codec: codec, MessageEncoder: evsourcing.NewCloudEvents(source, codec),
			})
		}
		flightCodec, hangarCodec := newCodec(), newCodec()
		hangarCodec.Alias("touchdown", Landed{})
		flights, hangars := open("https://example.com/flights", flightCodec), open("/hangars", hangarCodec)
		old := open("/old", evsourcing.NewRegistry(touchdown{}))

		hangarStore := evsourcing.NewMemoryStore()
		swept := evsourcing.NewRepository[Hangar]("hangar", hangarStore, hangarCodec, &evsourcing.RepositoryOptions{Bus: hangars})
		var landings recorder
		require.NoError(t, hangars.Subscribe("sweeper", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			_ = landings.Publish(ctx, m)
			_, err := swept.CreateOrUpdate(ctx, m.Event.(Landed).Airport, func(h *Hangar) error {
				evsourcing.Record(h, Swept{})
				return nil
			})
			return err
		}), "aircraft.landed"))
		var heard recorder
		require.NoError(t, flights.Subscribe("office", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			return heard.Publish(ctx, m)
		}), "hangar.swept"))
		for _, bus := range []*evsourcing.EventBus{flights, hangars, old} {
			require.NoError(t, bus.Listen())
		}

		store := evsourcing.NewMemoryStore()
		aircraft := newAircraft(store, &evsourcing.RepositoryOptions{Bus: flights})
		ctx := evsourcing.ContextWithMetadata(t.Context(), evsourcing.Metadata{
			"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b9c7c989f97918e1-01", "Reply-To": "tower",
		})
		_, err := aircraft.Create(ctx, "DM/2018", record(Landed{Airport: "CDG"}))
		require.NoError(t, err)
		oldStore := evsourcing.NewMemoryStore()
		_, err = evsourcing.NewRepository[Aircraft]("aircraft", oldStore, evsourcing.NewRegistry(touchdown{}), &evsourcing.RepositoryOptions{Bus: old}).
			Create(t.Context(), "X1", func(a *Aircraft) error { evsourcing.Record(a, touchdown{Airport: "ORY"}); return nil })
		require.NoError(t, err)
		synctest.Wait()
		for _, bus := range []*evsourcing.EventBus{flights, old, hangars} {
			closeBus(t, bus)
		}

		sent := history(t, store, "DM/2018")[0]
		require.Len(t, landings.messages, 2)
		byAirport := map[string]evsourcing.Message{}
		for _, m := range landings.messages {
			byAirport[m.Event.(Landed).Airport] = m
		}
		want := sent
		want.Metadata = sent.Metadata.With(evsourcing.MetaCloudEventSource, "https://example.com/flights")
		assert.Equal(t, want, byAirport["CDG"].StoredEvent, "it arrives as it was stored")
		assert.Equal(t, "aircraft.landed", byAirport["ORY"].Topic, "by its current name")
		assert.Equal(t, "/old", byAirport["ORY"].Metadata[evsourcing.MetaCloudEventSource])

		require.Len(t, heard.messages, 2)
		for _, m := range heard.messages {
			cause := byAirport[m.Stream.ID]
			assert.Equal(t, Swept{}, m.Event)
			assert.Equal(t, evsourcing.StreamID{Type: "hangar", ID: m.Stream.ID}, m.Stream)
			assert.Equal(t, cause.ID.String(), m.Metadata[evsourcing.MetaCausationID])
			assert.Equal(t, cause.ID.String(), m.CorrelationID(), "the cause was a root")
			assert.Equal(t, "/hangars", m.Metadata[evsourcing.MetaCloudEventSource], "not the source of the cause")
			assert.Equal(t, cause.Metadata["traceparent"], m.Metadata["traceparent"])
			assert.Equal(t, cause.Metadata["Reply-To"], m.Metadata["Reply-To"])
		}

		assert.Len(t, transport.sent, 4)
		for _, e := range transport.sent {
			requireValidCloudEvent(t, e.Data)
			attributes := ceAttributes(t, e.Data)
			assert.Equal(t, e.ID, attributes["id"])
			assert.Equal(t, e.Topic, attributes["type"])
			assert.Equal(t, e.Key, attributes["subject"])
		}
	})
}

// What is no CloudEvent goes to DeadLetter, and holds nothing up.
func TestBusWithCloudEventsGivesUpWhatIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := evsourcing.NewChannelTransport()
		var letters busLetters
		bus := quietBus(evsourcing.EventBusOptions{
			Transport: transport, Codec: newCodec(), MessageEncoder: evsourcing.NewCloudEvents("/a", newCodec()), DeadLetter: letters.take,
		})
		var got recorder
		require.NoError(t, bus.Subscribe("sub", evsourcing.ReactorFunc(func(ctx context.Context, m evsourcing.Message) error {
			return got.Publish(ctx, m)
		}), "aircraft.landed"))
		require.NoError(t, bus.Listen())
		for id, data := range map[string]string{
			"bad":  `{"id":"bad"}`,
			"good": `{"specversion":"1.0","id":"good","source":"/elsewhere","type":"aircraft.landed","data":{"airport":"CDG"}}`,
		} {
			require.NoError(t, transport.Send(t.Context(), evsourcing.Envelope{ID: id, Key: "k", Topic: "aircraft.landed", Data: []byte(data)}))
		}
		synctest.Wait()
		closeBus(t, bus)
		require.Len(t, letters.all(), 1)
		require.ErrorContains(t, letters.all()[0].Err, `attribute "specversion": it is missing`)
		require.Len(t, got.messages, 1)
		assert.Equal(t, Landed{Airport: "CDG"}, got.messages[0].Event)
		assert.Equal(t, "good", got.messages[0].Metadata[evsourcing.MetaCloudEventID])
	})
}
