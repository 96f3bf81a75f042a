package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// label says in words what a row is, within its table.
func (r *row) label() string {
	var parts []string
	for _, p := range r.params {
		n, err := strconv.Atoi(p.value)
		switch {
		case p.key == "every":
			parts = append(parts, "every "+p.value)
		case p.key == "bytes" && err == nil && n >= 1<<10:
			parts = append(parts, fmt.Sprintf("%d KiB", n>>10))
		case err == nil && n == 1:
			parts = append(parts, "1 "+strings.TrimSuffix(p.key, "s"))
		case err == nil:
			parts = append(parts, thousands(n)+" "+p.key)
		case p.key == "snapshots" || p.key == "stream" || p.key == "log":
			parts = append(parts, p.key+" "+p.value)
		default:
			parts = append(parts, strings.ReplaceAll(p.value, "-", " "))
		}
	}
	return strings.Join(parts, ", ")
}

// peer names a side that is neither the floor nor ours.
func peer(side string) string {
	name := strings.ReplaceAll(side, "-", " ")
	return strings.ToUpper(name[:1]) + name[1:]
}

// thousands writes an integer with separators.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// number writes a few significant digits.
func number(v float64) string {
	switch {
	case v >= 100:
		return thousands(int(math.Round(v)))
	case v >= 10:
		return trim(strconv.FormatFloat(v, 'f', 1, 64))
	case v > 0 && v < 0.1:
		return trim(strconv.FormatFloat(v, 'f', 4, 64))
	default:
		return trim(strconv.FormatFloat(v, 'f', 2, 64))
	}
}

func trim(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// duration writes nanoseconds.
func duration(ns float64) string {
	switch {
	case ns >= 0.9995e9:
		return digits(ns/1e9) + " s"
	case ns >= 0.9995e6:
		return digits(ns/1e6) + " ms"
	case ns >= 999.5:
		return digits(ns/1e3) + " µs"
	}
	return digits(ns) + " ns"
}

// count writes a rate.
func count(v float64) string {
	switch {
	case v >= 999.5e3:
		return digits(v/1e6) + "M"
	case v >= 9995:
		return digits(v/1e3) + "k"
	}
	return thousands(int(math.Round(v)))
}

// digits writes three significant ones.
func digits(v float64) string {
	switch {
	case v >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func percent(v float64) string { return strconv.FormatFloat(100*v, 'f', 0, 64) + " %" }

// spread is half of the interval, as it stands behind a median; nothing behind a
// single value.
func (s summary) spread() string {
	if s.low == s.high {
		return ""
	}
	return " ± " + percent((s.high-s.low)/2/s.median)
}
