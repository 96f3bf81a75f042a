package evsourcing_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/evsourcing/evsourcing"
)

// A harbour office hears of vessels through a transport that other systems read
// and write, too. One of them has never heard of this library.
func ExampleCloudEvents() {
	ctx := context.Background()
	codec := vesselCodec()
	transport := evsourcing.NewChannelTransport()
	bus := evsourcing.NewEventBus(&evsourcing.EventBusOptions{
		Transport:      transport,
		Codec:          codec,
		MessageEncoder: evsourcing.NewCloudEvents("https://example.com/harbour", codec),
	})
	done := make(chan struct{})
	err := bus.Subscribe("office", evsourcing.ReactorFunc(func(_ context.Context, m evsourcing.Message) error {
		defer close(done)
		fmt.Println(m.Stream, m.Event, "says", m.Metadata[evsourcing.MetaCloudEventSource])
		return nil
	}), "vessel.moored")
	if err != nil {
		panic(err)
	}
	if err := bus.Listen(); err != nil {
		panic(err)
	}

	const report = `{
		"specversion": "1.0", "id": "42", "source": "https://example.org/tugs",
		"type": "vessel.moored", "subject": "vessel/Rickmer", "data": {"port": "Hamburg"}
	}`
	err = transport.Send(ctx, evsourcing.Envelope{ID: "42", Key: "vessel/Rickmer", Topic: "vessel.moored", Data: []byte(report)})
	if err != nil {
		panic(err)
	}
	<-done
	fmt.Println("closed:", bus.Close(ctx))
	// Output:
	// vessel/Rickmer {Hamburg} says https://example.org/tugs
	// closed: <nil>
}

func ExampleCloudEvents_EncodeMessage() {
	m := evsourcing.Message{StoredEvent: evsourcing.StoredEvent{
		ID:          uuid.MustParse("019a1b2c-3d4e-7f60-8123-456789abcdef"),
		Stream:      evsourcing.StreamID{Type: "vessel", ID: "Rickmer"},
		Version:     2,
		Topic:       "vessel.moored",
		ContentType: "application/json",
		Data:        []byte(`{"port":"Hamburg"}`),
		Metadata:    evsourcing.Metadata{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b9c7c989f97918e1-01"},
		Time:        time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC),
	}}
	data, err := evsourcing.NewCloudEvents("https://example.com/harbour", vesselCodec()).EncodeMessage(m)
	if err != nil {
		panic(err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, data, "", "  "); err != nil {
		panic(err)
	}
	fmt.Println(indented.String())
	// Output:
	// {
	//   "specversion": "1.0",
	//   "id": "019a1b2c-3d4e-7f60-8123-456789abcdef",
	//   "source": "https://example.com/harbour",
	//   "type": "vessel.moored",
	//   "subject": "vessel/Rickmer",
	//   "time": "2026-03-01T12:30:00Z",
	//   "datacontenttype": "application/json",
	//   "correlationid": "019a1b2c-3d4e-7f60-8123-456789abcdef",
	//   "esversion": "2",
	//   "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b9c7c989f97918e1-01",
	//   "data": {
	//     "port": "Hamburg"
	//   }
	// }
}
