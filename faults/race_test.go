//go:build race

package faults

// raced says whether this is under the race detector, where all takes longer.
const raced = true
