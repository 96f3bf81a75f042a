package soak

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
)

// processGauges returns what the process itself uses. Two of them need /proc.
func processGauges() []*series {
	list := []*series{
		{name: "goroutines", gauge: func() (float64, error) { return float64(runtime.NumGoroutine()), nil }},
		{name: "heap bytes", gauge: heap, least: 32 << 20},
	}
	if _, err := os.Stat("/proc/self/status"); err == nil {
		list = append(list, &series{name: "descriptors", gauge: descriptors}, &series{name: "resident bytes", gauge: resident})
	}
	return list
}

func heap() (float64, error) {
	debug.FreeOSMemory() // collects, and makes what is resident what is used
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc), nil
}

func descriptors() (float64, error) {
	list, err := os.ReadDir("/proc/self/fd")
	return float64(len(list)), err
}

// resident returns what is in memory, but for files that are mapped, of whose code more
// and more is used.
func resident() (float64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, text, _ = bytes.Cut(text, []byte("\nRssAnon:"))
	fields := bytes.Fields(text)
	if len(fields) < 2 || string(fields[1]) != "kB" {
		return 0, errors.New("no RssAnon in /proc/self/status")
	}
	kilobytes, err := strconv.Atoi(string(fields[0]))
	return float64(kilobytes) * 1024, err
}
