// Package engine has what the stores on disk share: the queue of appends that
// are committed in groups, the judgement of an append that finds its events
// stored, the text form of tags and metadata, and walking a range by pages.
package engine
