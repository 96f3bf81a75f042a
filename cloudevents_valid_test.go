package evsourcing_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the specification says of an event in JSON, written down a second time:
// the rules of its JSON schema (cloudevents/formats/cloudevents.json), and those
// of its prose on names, types and data.

const (
	cePchar  = `(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})`
	ceTokens = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
)

var (
	ceName      = regexp.MustCompile(`^[a-z0-9]{1,20}$`)
	ceScheme    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)
	ceReference = regexp.MustCompile(`^(?:[A-Za-z][A-Za-z0-9+.-]*:)?` +
		`(?://(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@)?(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?)?` +
		`(?:` + cePchar + `|/)*(?:\?(?:` + cePchar + `|[/?])*)?(?:#(?:` + cePchar + `|[/?])*)?$`)
	ceDateTime = regexp.MustCompile(`^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)
	ceMedia    = regexp.MustCompile(`^` + ceTokens + `/` + ceTokens + `(\s*;\s*` + ceTokens + `=(` + ceTokens + `|"([^"\\]|\\.)*"))*$`)
)

// requireValidCloudEvent checks an event in JSON.
func requireValidCloudEvent(t *testing.T, data []byte) {
	t.Helper()
	if err := validateCloudEvent(data); err != nil {
		require.NoError(t, err, "%s", data)
	}
}

func validateCloudEvent(data []byte) error {
	if !utf8.Valid(data) {
		return fmt.Errorf("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return fmt.Errorf("not an object: %v %v", token, err)
	}
	event := map[string]any{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		if _, twice := event[name.(string)]; twice {
			return fmt.Errorf("%s occurs twice", name)
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return err
		}
		event[name.(string)] = value
	}
	if token, err := d.Token(); err != nil || token != json.Delim('}') || d.More() {
		return fmt.Errorf("not one object: %v %v", token, err)
	}

	for _, name := range []string{"specversion", "id", "source", "type"} {
		if s, ok := event[name].(string); !ok || s == "" {
			return fmt.Errorf("required: %s is %v", name, event[name])
		}
	}
	if event["specversion"] != "1.0" {
		return fmt.Errorf("specversion %v", event["specversion"])
	}
	for name, format := range map[string]*regexp.Regexp{
		"source": ceReference, "dataschema": ceReference, "time": ceDateTime, "datacontenttype": ceMedia, "subject": nil,
		"correlationid": nil, "causationid": nil, "traceparent": nil, "tracestate": nil,
	} {
		value, ok := event[name]
		if !ok {
			continue
		}
		if s, ok := value.(string); !ok || s == "" || format != nil && !format.MatchString(s) {
			return fmt.Errorf("%s is %q", name, value)
		}
	}
	if s, ok := event["dataschema"].(string); ok && !ceScheme.MatchString(s) {
		return fmt.Errorf("dataschema is %q", s)
	}
	contentType, _ := event["datacontenttype"].(string)
	payload, plain := event["data"]
	encoded, binary := event["data_base64"]
	if plain && binary {
		return fmt.Errorf("data and data_base64")
	}
	if binary {
		s, ok := encoded.(string)
		if _, err := base64.StdEncoding.Strict().DecodeString(s); !ok || err != nil {
			return fmt.Errorf("data_base64 is %v", encoded)
		}
	}
	mediaType, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	mediaType = strings.TrimSpace(mediaType)
	if _, ok := payload.(string); plain && !ok && contentType != "" && !strings.HasSuffix(mediaType, "/json") && !strings.HasSuffix(mediaType, "+json") {
		return fmt.Errorf("data of type %s is %v", contentType, payload)
	}
	delete(event, "data")
	delete(event, "data_base64")
	for name, value := range event {
		if !ceName.MatchString(name) {
			return fmt.Errorf("the name %q", name)
		}
		if err := validateCloudEventValue(value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func validateCloudEventValue(value any) error {
	switch value := value.(type) {
	case bool:
	case json.Number:
		if _, err := strconv.ParseInt(value.String(), 10, 32); err != nil {
			return err
		}
	case string:
		for _, r := range value {
			if unicode.IsControl(r) || unicode.Is(unicode.Noncharacter_Code_Point, r) || unicode.Is(unicode.Cs, r) {
				return fmt.Errorf("%q has %U", value, r)
			}
		}
	default:
		return fmt.Errorf("a value of type %T", value)
	}
	return nil
}

// The validator itself: it must not pass everything.
func TestCloudEventValidator(t *testing.T) {
	t.Parallel()
	const good = `{"specversion":"1.0","id":"1","source":"/a","type":"t","time":"2018-04-05T17:31:00Z","subject":"s",` +
		`"dataschema":"a:b","datacontenttype":"text/xml","ext":5,"flag":true,"data":"<a/>"}`
	require.NoError(t, validateCloudEvent([]byte(good)))
	for _, change := range []string{
		`"1.0"|"1.1"`, `"id":"1",|`, `"id":"1"|"id":""`, `"id":"1"|"id":1`, `"/a"|"a b"`, `"/a"|"a[b"`, `"t",|null,`, `17:31:00Z|17:31Z`, `"s"|""`,
		`"a:b"|"/b"`, `text/xml|xml`, `"<a/>"|{}`, `"ext"|"Ext"`, `"ext"|"e_t"`, `"ext"|"extensionsofsuchlength"`, `5|5.5`, `5|5000000000`, `5|"\n"`,
		`5|"\uffff"`, `5|{}`, `5|[]`, `"flag"|"ext"`, `"<a/>"|"<a/>","data_base64":""`, `"data":"<a/>"|"data_base64":"?"`, `"}|"} {}`,
	} {
		old, text, _ := strings.Cut(change, "|")
		broken := strings.Replace(good, old, text, 1)
		require.NotEqual(t, good, broken)
		assert.Error(t, validateCloudEvent([]byte(broken)), broken)
	}
}
