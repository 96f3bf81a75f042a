package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// header is the first line of a file of flights; its names are those of a row's
// fields.
const header = "date,origin,destination,distance_mi,delay_min"

// What a row may hold. The bounds are generous: they catch columns in the wrong
// order and digits too many, not unusual flights.
const (
	dateLayout  = "2006/01/02 15:04"
	maxDistance = 12_500      // miles; half way around the earth
	minDelay    = -24 * 60    // minutes
	maxDelay    = 7 * 24 * 60 // minutes
)

// A row is one flight of a file.
type row struct {
	line                int // in the file, from 1; the header counts
	departure           time.Time
	origin, destination string
	distance            int // miles
	delay               int // minutes; negative is early
}

// id returns the ID of the aircraft that flies the row, such as
// 20010101-DTW-LAS-0002. The file has neither flight nor tail numbers, so each
// row gets an aircraft of its own, named by what the row says and the line it
// stands on. The same file always leads to the same IDs.
func (r row) id() string {
	return fmt.Sprintf("%s-%s-%s-%04d", r.departure.Format("20060102"), r.origin, r.destination, r.line)
}

// parseRow reads one line of a file, which it gets without the line's end. It
// accepts one way to write a value only, so that nothing is guessed.
func parseRow(line string) (row, error) {
	fields, err := splitLine(line)
	if err != nil {
		return row{}, err
	}
	if want := strings.Count(header, ",") + 1; len(fields) != want {
		return row{}, fmt.Errorf("%d fields instead of %d (%s)", len(fields), want, header)
	}
	var r row
	if r.departure, err = parseDate(fields[0]); err != nil {
		return row{}, fmt.Errorf("date %w", err)
	}
	if r.origin, err = parseAirport(fields[1]); err != nil {
		return row{}, fmt.Errorf("origin %w", err)
	}
	if r.destination, err = parseAirport(fields[2]); err != nil {
		return row{}, fmt.Errorf("destination %w", err)
	}
	if r.distance, err = parseInt(fields[3], 1, maxDistance); err != nil {
		return row{}, fmt.Errorf("distance_mi %w", err)
	}
	if r.delay, err = parseInt(fields[4], minDelay, maxDelay); err != nil {
		return row{}, fmt.Errorf("delay_min %w", err)
	}
	return r, nil
}

// splitLine returns the fields of a line. A quoted field can't go on in the next
// line: no field of a flight has reason to, and so an unpaired quote costs one
// row instead of all that follow.
func splitLine(line string) ([]string, error) {
	if !strings.Contains(line, `"`) {
		return strings.Split(line, ","), nil // as a csv.Reader would, without the cost of making one
	}
	r := csv.NewReader(strings.NewReader(line))
	fields, err := r.Read()
	if pe, ok := errors.AsType[*csv.ParseError](err); ok {
		return nil, fmt.Errorf("column %d: %w", pe.Column, pe.Err) // its own line number is always 1
	}
	return fields, err
}

func parseDate(s string) (time.Time, error) {
	t, err := time.Parse(dateLayout, s)
	if err != nil || t.Format(dateLayout) != s { // Parse takes 7:05 for 07:05
		return time.Time{}, fmt.Errorf("%.40q is not a date like %s", s, dateLayout)
	}
	return t, nil
}

func parseAirport(s string) (string, error) {
	if len(s) != 3 || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return "", fmt.Errorf("%.40q is not an airport's three capital letters", s)
	}
	return s, nil
}

func parseInt(s string, low, high int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil && !errors.Is(err, strconv.ErrRange) || err == nil && strconv.Itoa(n) != s {
		return 0, fmt.Errorf("%.40q is not a whole number", s)
	}
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%.40s is not between %d and %d", s, low, high)
	}
	return n, nil
}
