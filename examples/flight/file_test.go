package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	row1 = "2001/01/01 00:47,DTW,LAS,1750,66"
	row2 = "2001/01/01 01:10,HNL,SFO,2399,95"
)

// readAll returns what readRows has for a file: its rows as text, each with its
// line, and its errors.
func readAll(t *testing.T, file io.Reader) (lines []string, err error) {
	t.Helper()
	rows, err := readRows(file)
	if err != nil {
		return nil, err
	}
	var errs []error
	for r, err := range rows {
		if err != nil {
			errs = append(errs, err)
		} else {
			lines = append(lines, fmt.Sprintf("%d: %s", r.line, r.text()))
		}
	}
	return lines, errors.Join(errs...)
}

func TestReadRows(t *testing.T) {
	both := []string{"2: " + row1, "3: " + row2}
	long := strings.Repeat("x", 3*maxLine)
	for _, tt := range []struct {
		name, file string
		want       []string
		err        string
	}{
		{"plain", header + "\n" + row1 + "\n" + row2 + "\n", both, ""},
		{"no end of line at the end", header + "\n" + row1 + "\n" + row2, both, ""},
		{"carriage returns", header + "\r\n" + row1 + "\r\n" + row2 + "\r\n", both, ""},
		{"byte order mark", "\ufeff" + header + "\n" + row1 + "\n" + row2 + "\n", both, ""},
		{"empty lines", header + "\n" + row1 + "\n" + row2 + "\n\n\r\n", both, ""},
		{"quoted header", strings.Replace(header, "date", `"date"`, 1) + "\n" + row1 + "\n" + row2, both, ""},
		{"header only", header, nil, ""},
		{"a bad row", header + "\n" + row1 + "\nbad\n" + row2, []string{"2: " + row1, "4: " + row2}, "line 3: 1 fields instead of 5"},
		{"an unpaired quote", header + "\n" + row1 + "\n\"2001" + "\n" + row2, []string{"2: " + row1, "4: " + row2}, `line 3: column 6: extraneous or missing "`},
		{"a long line", header + "\n" + row1 + "\n" + long + "\n" + row2, []string{"2: " + row1, "4: " + row2}, "line 3: longer than 4096 bytes"},
		{"a long line at the end", header + "\n" + row1 + "\n" + row2 + "\n" + long, both, "line 4: longer than 4096 bytes"},
		{"empty", "", nil, "the file is empty; its first line should be the header " + header},
		{"no header", row1 + "\n" + row2, nil, `line 1: the header ` + header + ` is missing; the line is "` + row1},
		{"other header", "origin,date\n" + row1, nil, `line 1: the header ` + header + ` is missing; the line is "origin,date"`},
		{"header with a quote", `date,or"igin` + "\n" + row1, nil, `line 1: the header ` + header + ` is missing`},
		{"binary", "\x00\x01\x02" + long, nil, `line 1: the header ` + header + ` is missing; the line is "\x00\x01\x02xxx`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lines, err := readAll(t, strings.NewReader(tt.file))
			assert.Equal(t, tt.want, lines)
			if tt.err == "" {
				assert.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.err)
				assert.Less(t, len(err.Error()), 250)
			}
		})
		t.Run(tt.name+", byte by byte", func(t *testing.T) {
			lines, _ := readAll(t, iotest.OneByteReader(strings.NewReader(tt.file)))
			assert.Equal(t, tt.want, lines)
		})
	}
}

func TestReadRowsLongestLine(t *testing.T) {
	fits := header + "\n" + strings.Repeat("x", maxLine-1) + "\n" + row1 + "\n"
	lines, err := readAll(t, strings.NewReader(fits))
	assert.Equal(t, []string{"3: " + row1}, lines)
	assert.ErrorContains(t, err, "fields instead of 5")

	tooLong := header + "\n" + strings.Repeat("x", maxLine) + "\n" + row1 + "\n"
	lines, err = readAll(t, strings.NewReader(tooLong))
	assert.Equal(t, []string{"3: " + row1}, lines)
	assert.ErrorContains(t, err, "line 2: longer than")
}

// A file that can't be read on is not one that ends: the line it broke off in
// may be incomplete.
func TestReadRowsFailingFile(t *testing.T) {
	broken := errors.New("the disk is on fire")
	for _, tt := range []struct {
		file string
		want []string
	}{
		{"date,ori", nil},
		{header + "\n" + row1 + "\n" + row2[:len(row2)-1], []string{"2: " + row1}},
		{header + "\n" + row1 + "\n" + strings.Repeat("x", 2*maxLine), []string{"2: " + row1}},
	} {
		lines, err := readAll(t, io.MultiReader(strings.NewReader(tt.file), iotest.ErrReader(broken)))
		assert.Equal(t, tt.want, lines)
		assert.ErrorIs(t, err, broken)
	}
}

func TestOpenFile(t *testing.T) {
	file, err := openFile("")
	require.NoError(t, err)
	lines, err := readAll(t, file)
	require.NoError(t, err)
	assert.Len(t, lines, 2000)
	require.NoError(t, file.Close())
}
