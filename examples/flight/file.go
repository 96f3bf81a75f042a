package main

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
)

// shipped is the file that is part of the program.
//
//go:embed flights-2k.csv
var shipped string

// maxLine is how long a line of a file may be, in bytes. It bounds the memory
// that a file without line ends takes.
const maxLine = 4096

// A rowError says what is wrong with one row of a file. The rows after it are
// not affected.
type rowError struct {
	line int
	err  error
}

func (e *rowError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e *rowError) Unwrap() error { return e.err }

// openFile opens a file of flights; an empty name means the one built in.
func openFile(name string) (io.ReadCloser, error) {
	if name == "" {
		return io.NopCloser(strings.NewReader(shipped)), nil
	}
	return os.Open(name)
}

// readRows reads the header of a file and returns its rows, to be ranged over
// once, in order. In place of a malformed row they have a *rowError. Any other
// error is about the file, and the last thing they have. A byte order mark,
// line ends of either kind, and empty lines are fine; a missing header is not.
func readRows(r io.Reader) (iter.Seq2[row, error], error) {
	lines := bufio.NewReaderSize(r, maxLine)
	if err := readHeader(lines); err != nil {
		return nil, err
	}
	return func(yield func(row, error) bool) {
		for n := 2; ; n++ {
			line, err := readLine(lines)
			switch {
			case err == io.EOF:
				return
			case err != nil && err != errLongLine:
				yield(row{}, fmt.Errorf("line %d: %w", n, err))
				return
			case err == nil && line == "":
				continue
			}
			var parsed row
			if err == nil {
				parsed, err = parseRow(line)
			}
			if err != nil {
				err = &rowError{n, err}
			}
			parsed.line = n
			if !yield(parsed, err) {
				return
			}
		}
	}, nil
}

// readHeader reads the first line, which must be the header.
func readHeader(lines *bufio.Reader) error {
	line, err := readLine(lines)
	if err == io.EOF {
		return fmt.Errorf("the file is empty; its first line should be the header %s", header)
	}
	if err != nil && err != errLongLine {
		return err
	}
	line = strings.TrimPrefix(line, "\ufeff")
	if fields, err := splitLine(line); err != nil || strings.Join(fields, ",") != header {
		return fmt.Errorf("line 1: the header %s is missing; the line is %.80q", header, line)
	}
	return nil
}

var errLongLine = fmt.Errorf("longer than %d bytes", maxLine)

// readLine returns the next line without its end, or io.EOF after the last one.
// A line that is too long is skipped whole: errLongLine comes with its beginning.
func readLine(lines *bufio.Reader) (string, error) {
	b, err := lines.ReadSlice('\n')
	switch err {
	case bufio.ErrBufferFull:
		start := string(b[:80])
		for err == bufio.ErrBufferFull {
			_, err = lines.ReadSlice('\n')
		}
		if err != nil && err != io.EOF {
			return "", err
		}
		return start, errLongLine
	case io.EOF:
		if len(b) == 0 {
			return "", io.EOF
		}
	case nil:
		b = b[:len(b)-1]
	default:
		return "", err
	}
	return strings.TrimSuffix(string(b), "\r"), nil
}
