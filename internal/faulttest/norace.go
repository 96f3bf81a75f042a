//go:build !race

package faulttest

// Raced says whether this is under the race detector, where all takes longer.
const Raced = false
