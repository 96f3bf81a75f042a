package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// text returns the row as a line of a file.
func (r row) text() string {
	return fmt.Sprintf("%s,%s,%s,%d,%d", r.departure.Format(dateLayout), r.origin, r.destination, r.distance, r.delay)
}

func TestParseRow(t *testing.T) {
	want := row{departure: time.Date(2001, 1, 1, 0, 47, 0, 0, time.UTC), origin: "DTW", destination: "LAS", distance: 1750, delay: 66}
	for _, line := range []string{
		`2001/01/01 00:47,DTW,LAS,1750,66`,
		`"2001/01/01 00:47",DTW,"LAS",1750,"66"`,
	} {
		got, err := parseRow(line)
		require.NoError(t, err, line)
		assert.Equal(t, want, got, line)
	}
	early, err := parseRow(`2001/03/31 22:27,CLT,GSO,83,-9`)
	require.NoError(t, err)
	assert.Equal(t, -9, early.delay)
}

func TestParseRowMalformed(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{``, `1 fields instead of 5 (date,origin,destination,distance_mi,delay_min)`},
		{`2001/01/01 00:47,DTW,LAS,1750`, `4 fields instead of 5`},
		{`2001/01/01 00:47,DTW,LAS,1750,66,`, `6 fields instead of 5`},
		{`2001/01/01 00:47;DTW;LAS;1750;66`, `1 fields instead of 5`},
		{`2001-01-01 00:47,DTW,LAS,1750,66`, `date "2001-01-01 00:47" is not a date like 2006/01/02 15:04`},
		{`2001/02/29 00:47,DTW,LAS,1750,66`, `date "2001/02/29 00:47"`},
		{`2001/01/01 0:47,DTW,LAS,1750,66`, `date "2001/01/01 0:47"`},
		{`2001/01/01 24:00,DTW,LAS,1750,66`, `date "2001/01/01 24:00"`},
		{`2001/01/01 00:47:00,DTW,LAS,1750,66`, `date "2001/01/01 00:47:00"`},
		{`,DTW,LAS,1750,66`, `date ""`},
		{`2001/01/01 00:47,dtw,LAS,1750,66`, `origin "dtw" is not an airport's three capital letters`},
		{`2001/01/01 00:47, DTW,LAS,1750,66`, `origin " DTW"`},
		{`2001/01/01 00:47,DTW,LASX,1750,66`, `destination "LASX"`},
		{`2001/01/01 00:47,DTW,LÄ,1750,66`, `destination "LÄ"`},
		{`2001/01/01 00:47,DTW,,1750,66`, `destination ""`},
		{`2001/01/01 00:47,DTW,LAS,far,66`, `distance_mi "far" is not a whole number`},
		{`2001/01/01 00:47,DTW,LAS,0,66`, `distance_mi 0 is not between 1 and 12500`},
		{`2001/01/01 00:47,DTW,LAS,12501,66`, `distance_mi 12501 is not between`},
		{`2001/01/01 00:47,DTW,LAS,99999999999999999999,66`, `distance_mi 99999999999999999999 is not between`},
		{`2001/01/01 00:47,DTW,LAS,1750,`, `delay_min "" is not a whole number`},
		{`2001/01/01 00:47,DTW,LAS,1750,6.5`, `delay_min "6.5" is not a whole number`},
		{`2001/01/01 00:47,DTW,LAS,1750,+6`, `delay_min "+6" is not a whole number`},
		{`2001/01/01 00:47,DTW,LAS,1750,06`, `delay_min "06" is not a whole number`},
		{`2001/01/01 00:47,DTW,LAS,1750,-0`, `delay_min "-0" is not a whole number`},
		{`2001/01/01 00:47,DTW,LAS,1750,-1441`, `delay_min -1441 is not between -1440 and 10080`},
		{`2001/01/01 00:47,DTW,LAS,1750,10081`, `delay_min 10081 is not between`},
		{`2001/01/01 00:47,D"TW,LAS,1750,66`, `column 19: bare "`},
		{`"2001/01/01 00:47,DTW,LAS,1750,66`, `column 34: extraneous or missing "`},
	} {
		_, err := parseRow(tt.line)
		assert.ErrorContains(t, err, tt.want, tt.line)
	}
}

func TestParseRowKeepsItsMessagesShort(t *testing.T) {
	long := strings.Repeat("9", maxLine)
	for _, line := range []string{
		long + ",DTW,LAS,1750,66",
		"2001/01/01 00:47," + long + ",LAS,1750,66",
		"2001/01/01 00:47,DTW,LAS," + long + ",66",
		"2001/01/01 00:47,DTW,LAS,x" + long + ",66",
	} {
		_, err := parseRow(line)
		require.Error(t, err)
		assert.Less(t, len(err.Error()), 200)
	}
}

func TestRowID(t *testing.T) {
	r, err := parseRow(`2001/01/01 00:47,DTW,LAS,1750,66`)
	require.NoError(t, err)
	r.line = 2
	assert.Equal(t, "20010101-DTW-LAS-0002", r.id())
	r.line = 20001
	assert.Equal(t, "20010101-DTW-LAS-20001", r.id())
}

// A line either has one meaning, and writing the row gives that line again, or
// is refused for a reason.
func FuzzParseRow(f *testing.F) {
	for _, line := range []string{
		`2001/01/01 00:47,DTW,LAS,1750,66`,
		`"2001/01/01 00:47","DTW",LAS,1750,-9`,
		`"2001/01/01 00:47,DTW,LAS,1750,66`,
		`2001/02/30 7:05,dtw,,12501,+6`,
		"\ufeff\x00,\"\r\n\",,,",
		``,
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r, err := parseRow(line)
		if err != nil {
			if err.Error() == "" || len(err.Error()) > 400 {
				t.Fatalf("%q: the message is %q", line, err)
			}
			return
		}
		if r.distance < 1 || r.distance > maxDistance || r.delay < minDelay || r.delay > maxDelay {
			t.Fatalf("%q: out of range: %+v", line, r)
		}
		again, err := parseRow(r.text())
		if err != nil || again != r {
			t.Fatalf("%q: %+v reads back as %+v, %v", line, r, again, err)
		}
		if !strings.Contains(line, `"`) && r.text() != line {
			t.Fatalf("%q is taken for %q", line, r.text())
		}
	})
}
