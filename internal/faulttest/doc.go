// Package faulttest has what tests need to break the world around an engine: a
// PostgreSQL server of their own, and a network that is cut. It is for tests only.
package faulttest
