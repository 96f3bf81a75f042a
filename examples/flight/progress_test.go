package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		p := &progress{w: &b}
		p.clear()
		assert.Empty(t, b.String(), "there is nothing to clear yet")
		p.show(1, 3)
		p.show(2, 6) // too soon
		<-time.After(progressInterval)
		p.show(3, 9)
		p.clear()
		p.show(4, 12) // what was cleared comes back at once
		p.clear()
		p.clear()
		assert.Equal(t, "\rreplaying: 1 rows, 3 events"+
			"\rreplaying: 3 rows, 9 events\r\x1b[K"+
			"\rreplaying: 4 rows, 12 events\r\x1b[K", b.String())
	})
}

func TestNoProgressWithoutTerminal(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer file.Close()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	assert.False(t, isTerminal(&bytes.Buffer{}))
	assert.False(t, isTerminal(file))
	assert.False(t, isTerminal(w))

	p := newProgress(file)
	p.show(1, 3)
	p.clear()
	info, err := file.Stat()
	require.NoError(t, err)
	assert.Zero(t, info.Size())
}
