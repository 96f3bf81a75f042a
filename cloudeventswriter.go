package evsourcing

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// ceWriter is the JSON of an event, being written.
type ceWriter []byte

func (w *ceWriter) member(name string) {
	if len(*w) > 1 {
		*w = append(*w, ',')
	}
	*w = append(append(append(*w, '"'), name...), `":`...)
}

// text writes an attribute, unless the value is empty. It has no characters
// that must be escaped but two.
func (w *ceWriter) text(name, value string) {
	if value == "" {
		return
	}
	w.member(name)
	*w = append(*w, '"')
	for i := range len(value) {
		if value[i] == '"' || value[i] == '\\' {
			*w = append(*w, '\\')
		}
		*w = append(*w, value[i])
	}
	*w = append(*w, '"')
}

func (w *ceWriter) number(name string, value uint64) {
	if value > 0 {
		w.text(name, strconv.FormatUint(value, 10))
	}
}

// json writes an attribute that holds JSON.
func (w *ceWriter) json(name string, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings, and slices and maps of them, can be encoded
	}
	w.text(name, escapeText(string(text)))
}

func (w *ceWriter) metadata(meta Metadata) {
	rest := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		if value := meta[key]; isExtensionName(key) && isLegalText(value) {
			w.text(key, value)
		} else {
			rest[key] = value
		}
	}
	if len(rest) > 0 {
		w.json(ceMetadata, rest)
	}
}

func (w *ceWriter) data(contentType string, data []byte) {
	switch {
	case len(data) == 0:
	case isJSON(contentType) && isBareJSON(data):
		w.member("data")
		*w = append(*w, data...)
	default:
		w.member("data_base64")
		*w = append(*w, '"')
		*w = base64.StdEncoding.AppendEncode(*w, data)
		*w = append(*w, '"')
	}
}
