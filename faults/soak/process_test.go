package soak

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
)

// processGauges returns what the process itself uses. Two of them need /proc.
func processGauges() []*series {
	list := []*series{
		{name: "goroutines", gauge: func() (float64, error) { return float64(runtime.NumGoroutine()), nil }},
		{name: "heap bytes", gauge: heap, least: 32 << 20},
	}
	if _, err := os.Stat("/proc/self/statm"); err == nil {
		list = append(list, &series{name: "descriptors", gauge: descriptors}, &series{name: "resident bytes", gauge: resident})
	}
	return list
}

func heap() (float64, error) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc), nil
}

func descriptors() (float64, error) {
	list, err := os.ReadDir("/proc/self/fd")
	return float64(len(list)), err
}

func resident() (float64, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0, fmt.Errorf("statm is %q", text)
	}
	pages, err := strconv.Atoi(string(fields[1]))
	return float64(pages * os.Getpagesize()), err
}
