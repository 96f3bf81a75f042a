package faulttest

import "fmt"

// Thousands formats a number that is not negative as figures show it, with separators.
func Thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
