package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A result is what came of a row.
type result struct {
	ID      string
	Full    bool   // the long form
	Date    string // a day, UTC
	Test    outcome
	Control outcome
}

// An outcome is what came of a test.
type outcome struct {
	Outcome string   // pass, fail or skip
	Reason  string   `json:",omitempty"` // why something was skipped
	Figures []string // what it reported
	Seconds int

	last string // line of the log
}

func (r result) failed() bool { return r.Test.Outcome == "fail" || r.Control.Outcome == "fail" }

// save writes the result to its file. A short form that passes leaves that of a long one.
func (r result) save(dir string) error {
	path := filepath.Join(dir, r.ID+".json")
	if have, err := readResult(path); err == nil && have.Full && !r.Full && !r.failed() {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func readResult(path string) (r result, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return result{}, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return result{}, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// readResults returns the results of all rows that have one, by ID.
func readResults(dir string) (map[string]result, error) {
	results := map[string]result{}
	for _, r := range rows {
		res, err := readResult(filepath.Join(dir, r.ID+".json"))
		switch {
		case err == nil:
			results[r.ID] = res
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return results, nil
}
