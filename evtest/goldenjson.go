package evtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// lost returns what of the reading is gone or changed in another one, as a diff,
// or "". Members that objects have besides are no loss.
func (r *reading) lost(now *reading) string {
	var diff []string
	if r.Topic != now.Topic {
		diff = append(diff, string(wanted)+"topic "+r.Topic, string(got)+"topic "+now.Topic)
	}
	before, after := leavesOf(r.Event), leavesOf(now.Event)
	for _, path := range slices.Sorted(maps.Keys(before)) {
		is, ok := after[path]
		if ok && is == before[path] {
			continue
		}
		diff = append(diff, string(wanted)+showPath(path)+" = "+before[path])
		if ok {
			diff = append(diff, string(got)+showPath(path)+" = "+is)
		}
	}
	if len(diff) == 0 {
		return ""
	}
	return "\n    " + strings.Join(diff, "\n    ")
}

// missing says what of the new entry none of the entries has, as the end of "no
// entry for topic X"; ok is true if nothing is.
func (e *entry) missing(entries []entry) (what string, ok bool) {
	known := map[string]bool{}
	same := 0
	for i := range entries {
		o := &entries[i]
		if o.Topic != e.Topic {
			continue
		}
		what = fmt.Sprintf(" with content type %q", e.ContentType)
		if o.ContentType == e.ContentType {
			same++
			for path := range leavesOf(o.content()) {
				known[anyElement(path)] = true
			}
		}
	}
	if same == 0 {
		return what, false
	}
	fields := map[string]bool{}
	common := map[string]bool{} // objects and arrays of which both have a member
	for path := range leavesOf(e.content()) {
		if path = anyElement(path); known[path] {
			common[parent(path)] = true
		} else {
			fields[path] = true
		}
	}
	others := map[string]bool{} // those of which an entry has a member
	for path := range known {
		others[parent(path)] = true
	}
	var names []string
	for path := range fields {
		if !inMap(path, fields, common, others) {
			names = append(names, showPath(path))
		}
	}
	if len(names) == 0 {
		return "", true
	}
	slices.Sort(names)
	return " with " + strings.Join(names, ", "), false
}

// inMap reports whether the new path is, or is below, a member of an object
// that has members in the file, but not one of them now: that is what a map's
// keys look like, and the keys of a map are no fields.
func inMap(path string, fields, common, others map[string]bool) bool {
	for fields[parent(path)] && path != "" {
		path = parent(path)
	}
	return others[parent(path)] && !common[parent(path)]
}

// parent returns the path of the object or array of which path is a member.
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// content returns the JSON that tells which fields the entry covers.
func (e *entry) content() json.RawMessage {
	switch {
	case e.Data != nil:
		return e.Data
	case e.ReadAs != nil:
		return e.ReadAs.Event
	}
	return nil
}

// leavesOf returns the leaves of a JSON text by their path, and what objects and
// arrays there are.
func leavesOf(data json.RawMessage) map[string]string {
	leaves := map[string]string{}
	var v any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if dec.Decode(&v) == nil {
		addLeaves(leaves, "", v)
	}
	return leaves
}

func addLeaves(leaves map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		leaves[path] = "an object"
		for key, member := range v {
			addLeaves(leaves, path+"."+key, member)
		}
	case []any:
		leaves[path] = fmt.Sprintf("an array of %d", len(v))
		for i, element := range v {
			addLeaves(leaves, fmt.Sprintf("%s[%d]", path, i), element)
		}
	default:
		text, _ := marshal(v)
		leaves[path] = string(text)
	}
}

// anyElement returns the path of all elements of the same arrays.
func anyElement(path string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(path, "[")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		b.WriteString("[]")
		_, path, _ = strings.Cut(rest, "]")
	}
}

func showPath(path string) string {
	if path == "" {
		return "the event"
	}
	return strings.TrimPrefix(path, ".")
}
