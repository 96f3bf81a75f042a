package evsourcing_test

import (
	"archive/zip"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// The README's quick start, as somebody meets it who has nothing but the README:
// go get, paste, go run. The module comes from a proxy made of the working tree,
// so what is tested is what a release would contain.
func TestConsumer(t *testing.T) {
	t.Parallel()
	program, want, err := quickStart(string(readFile(t, "README.md")))
	if err != nil {
		t.Fatalf("README.md has no Quick start: %v", err)
	}
	if lines := strings.Count(program, "\n"); lines > 40 {
		t.Errorf("the quick start has %d lines, more than 40", lines)
	}

	const version = "v0.1.0"
	proxy, dir, modules := t.TempDir(), t.TempDir(), t.TempDir()
	publish(t, proxy, version)
	downloaded := path.Join(filepath.ToSlash(strings.TrimSpace(runCommand(t, "go", "env", "GOMODCACHE"))), "cache/download")
	env := append(os.Environ(),
		"GOENV=off", "GOWORK=off", "GOFLAGS=-mod=mod -modcacherw", "GOTOOLCHAIN=local",
		"GOCACHE="+strings.TrimSpace(runCommand(t, "go", "env", "GOCACHE")),
		"GOMODCACHE="+modules, // where no other build sees this version
		"GOPROXY="+fileURL(proxy)+","+fileURL(downloaded),
		"GOSUMDB=off", "GOPRIVATE=", "GONOPROXY=", "GONOSUMDB=", "GOINSECURE=", "PWD="+dir)
	consumer := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Env = dir, env
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, stderr.String())
		}
		return string(out)
	}

	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	consumer("go", "mod", "init", "example.com/consumer")
	consumer("go", "get", modulePath+"@"+version)
	if got := consumer("go", "list", "-m", "-f", "{{.Version}}", modulePath); strings.TrimSpace(got) != version {
		t.Errorf("go get chose %s, want %s", got, version)
	}
	if mod := string(readFile(t, filepath.Join(dir, "go.mod"))); strings.Contains(mod, "testify") {
		t.Errorf("the tests' requirements reach the consumer:\n%s", mod)
	}
	consumer("go", "vet", ".")
	if got := consumer("go", "run", "."); got != want {
		t.Errorf("the quick start prints\n%s\nbut README.md says\n%s", got, want)
	}
}

func TestQuickStart(t *testing.T) {
	t.Parallel()
	const readme = "# Title\n```go\nno\n```\n## Quick start\n\nText.\n\n```sh\ngo get\n```\n\n```go\npackage main\n\nfunc main() {}\n```\n\nIt prints\n\n```text\none\ntwo\n```\n## Next\n"
	program, output, err := quickStart(readme)
	if err != nil || program != "package main\n\nfunc main() {}\n" || output != "one\ntwo\n" {
		t.Errorf("got %q, %q, %v", program, output, err)
	}
	for _, broken := range []string{
		"", "# Quick start\n",
		strings.Replace(readme, "## Quick start", "### Quick start", 1),
		strings.Replace(readme, "```text", "```sh", 1),
		strings.Replace(readme, "two\n```", "two\n", 1),
		strings.Replace(readme, "It prints", "## Section", 1),
	} {
		if program, output, err := quickStart(broken); err == nil {
			t.Errorf("got %q, %q from %q", program, output, broken)
		}
	}
}

// quickStart returns the program and the output in the section "Quick start" of
// a Markdown text: the first block of go, and the block of text after it.
func quickStart(markdown string) (program, output string, err error) {
	_, section, ok := strings.Cut("\n"+markdown, "\n## Quick start\n")
	if !ok {
		return "", "", errors.New("no heading ## Quick start")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	section += "\n"
	program, section, ok = fenced(section, "go")
	if !ok {
		return "", "", errors.New("no block of ```go below the heading")
	}
	output, _, ok = fenced(section, "text")
	if !ok {
		return "", "", errors.New("no block of ```text below the program")
	}
	return program, output, nil
}

// fenced returns the first fenced block of the language, and what follows it.
func fenced(markdown, language string) (block, rest string, ok bool) {
	_, markdown, ok = strings.Cut("\n"+markdown, "\n```"+language+"\n")
	if !ok {
		return "", "", false
	}
	block, rest, ok = strings.Cut(markdown, "\n```\n")
	return block + "\n", rest, ok
}

// publish makes dir a module proxy that has the root module, as the working
// tree has it, in the version: https://go.dev/ref/mod#goproxy-protocol.
func publish(t *testing.T, dir, version string) {
	t.Helper()
	at := filepath.Join(dir, filepath.FromSlash(modulePath), "@v")
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"list":            []byte(version + "\n"),
		version + ".info": fmt.Appendf(nil, `{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, version),
		version + ".mod":  readFile(t, "go.mod"),
	} {
		if err := os.WriteFile(filepath.Join(at, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.Create(filepath.Join(at, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	archive := zip.NewWriter(file)
	for _, name := range moduleFiles(t) {
		w, err := archive.Create(modulePath + "@" + version + "/" + name)
		if err == nil {
			_, err = w.Write(readFile(t, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
}

// moduleFiles returns the repository's files less those of nested modules.
func moduleFiles(t *testing.T) (names []string) {
	t.Helper()
	all := repositoryFiles(t)
	nested := map[string]bool{} // directories
	for _, name := range all {
		if dir := path.Dir(name); path.Base(name) == "go.mod" && dir != "." {
			nested[dir] = true
		}
	}
	if len(nested) == 0 {
		t.Error("there are no nested modules to leave out")
	}
next:
	for _, name := range all {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if nested[dir] {
				continue next
			}
		}
		names = append(names, name)
	}
	return names
}

// fileURL returns the URL of an absolute path.
func fileURL(name string) string {
	return "file:///" + strings.TrimPrefix(filepath.ToSlash(name), "/")
}
