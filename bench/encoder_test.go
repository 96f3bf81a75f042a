package bench

import (
	"testing"

	"github.com/bytedance/sonic"
	"github.com/fxamacker/cbor/v2"

	"github.com/evsourcing/evsourcing"
)

// cborEncoder is CBOR as an [evsourcing.Encoder].
type cborEncoder struct{}

func (cborEncoder) ContentType() string                { return "application/cbor" }
func (cborEncoder) Marshal(v any) ([]byte, error)      { return cbor.Marshal(v) }
func (cborEncoder) Unmarshal(data []byte, v any) error { return cbor.Unmarshal(data, v) }

// sonicEncoder is Sonic as an [evsourcing.Encoder]. It must copy strings, because
// the data is the store's.
type sonicEncoder struct{}

var sonicAPI = sonic.Config{CopyString: true}.Froze()

func (sonicEncoder) ContentType() string                { return "application/json" }
func (sonicEncoder) Marshal(v any) ([]byte, error)      { return sonicAPI.Marshal(v) }
func (sonicEncoder) Unmarshal(data []byte, v any) error { return sonicAPI.Unmarshal(data, v) }

// BenchmarkEncoder saves an event in memory, and loads an aggregate of 1,000, with
// different encoders. The floor is the same as of [BenchmarkSave] and
// [BenchmarkLoad], with that encoder.
func BenchmarkEncoder(b *testing.B) {
	const length = 1000
	for _, c := range []struct {
		name string
		enc  evsourcing.Encoder
	}{{"json", evsourcing.JSON{}}, {"cbor", cborEncoder{}}, {"sonic", sonicEncoder{}}} {
		repository := func() *evsourcing.Repository[flight] {
			return evsourcing.NewRepository[flight]("flight", evsourcing.NewMemoryStore(), newRegistry().WithEncoder(c.enc), nil)
		}
		b.Run("encoder="+c.name, func(b *testing.B) {
			if c.name == "sonic" && sonic.APIKind != sonic.UseSonicJSON {
				b.Skip("Sonic falls back to encoding/json: it does not support this version of Go, or this processor")
			}
			b.Run("op=save", func(b *testing.B) {
				compare(b, func(b *testing.B) { bareSaves(b, c.enc, landing) }, func(b *testing.B) { saves(b, repository(), landing) })
			})
			b.Run("op=load", func(b *testing.B) {
				data, err := c.enc.Marshal(landing)
				if err != nil {
					b.Fatal(err)
				}
				repo := repository()
				fill(b, repo, "one", length, landing)
				compare(b, func(b *testing.B) { unmarshals[landed](b, c.enc, data, length) }, func(b *testing.B) { loads(b, repo, "one", length) })
			})
		})
	}
}
