package evsourcing_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The rules of the house, as far as a test can check them: see CONTRIBUTING.md.

const modulePath = "github.com/evsourcing/evsourcing"

// What a service that embeds the library compiles: the standard library, uuid,
// and the library.
func TestHouseDependencies(t *testing.T) {
	t.Parallel()
	deps := func(pattern string) []string {
		return strings.Fields(runCommand(t, "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", pattern))
	}
	root := []string{"github.com/google/uuid", modulePath}
	if got := deps("."); !slices.Equal(got, root) {
		t.Errorf("the root package depends on %q, want exactly %q", got, root)
	}
	for _, dep := range deps("./...") {
		if dep != root[0] && dep != modulePath && !strings.HasPrefix(dep, modulePath+"/") {
			t.Errorf("a package of the root module depends on %s outside of tests", dep)
		}
	}
}

// What the root module's go.mod asks for by name.
func TestHouseRequirements(t *testing.T) {
	t.Parallel()
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace []any
	}
	if err := json.Unmarshal([]byte(runCommand(t, "go", "mod", "edit", "-json", "go.mod")), &mod); err != nil {
		t.Fatal(err)
	}
	for _, r := range mod.Require {
		if !r.Indirect && r.Path != "github.com/google/uuid" && r.Path != "github.com/stretchr/testify" {
			t.Errorf("go.mod requires %s: put what needs it into a nested module", r.Path)
		}
	}
	if len(mod.Replace) > 0 {
		t.Error("go.mod has a replace directive, which consumers ignore")
	}
}

// Everything exported has a doc comment, in every package that can be imported.
func TestHouseDocComments(t *testing.T) {
	t.Parallel()
	list := runCommand(t, "go", "list", "-f", `{{if ne .Name "main"}}{{range .GoFiles}}{{$.ImportPath}} {{$.Dir}}/{{.}}{{"\n"}}{{end}}{{end}}`, "./...")
	files := token.NewFileSet()
	documented := map[string]bool{} // packages, by import path
	for line := range strings.Lines(list) {
		pkg, file, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		f, err := parser.ParseFile(files, file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		documented[pkg] = documented[pkg] || f.Doc.Text() != ""
		for _, node := range undocumented(f) {
			p := files.Position(node.Pos())
			t.Errorf("%s:%d: %s: a doc comment is missing", relative(t, p.Filename), p.Line, node.Name)
		}
		for _, node := range undefaulted(f) {
			p := files.Position(node.Pos())
			t.Errorf(`%s:%d: %s: the comment of an option says "If zero, ..." or "If nil, ..."`, relative(t, p.Filename), p.Line, node.Name)
		}
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
	if len(documented) == 0 {
		t.Error("go list found no packages")
	}
}

// undocumented returns the names of exported things in f without a comment:
// functions, methods of exported types, types, constants, variables (for the
// latter two, their group's comment will do), fields of option structs, methods
// of interfaces (here it will do that the interface's comment speaks of them).
func undocumented(f *ast.File) (names []*ast.Ident) {
	missing := func(name *ast.Ident, comments ...*ast.CommentGroup) {
		if name.IsExported() && !slices.ContainsFunc(comments, func(c *ast.CommentGroup) bool { return c.Text() != "" }) {
			names = append(names, name)
		}
	}
	for _, decl := range f.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Recv == nil || ast.IsExported(receiver(decl)) {
				missing(decl.Name, decl.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						missing(name, decl.Doc, spec.Doc, spec.Comment)
					}
				case *ast.TypeSpec:
					doc := spec.Doc
					if !decl.Lparen.IsValid() {
						doc = decl.Doc
					}
					missing(spec.Name, doc)
					if spec.Name.IsExported() {
						for name, field := range members(spec) {
							if !mentions(doc, name.Name) {
								missing(name, field.Doc, field.Comment)
							}
						}
					}
				}
			}
		}
	}
	return names
}

// undefaulted returns the names of the fields of exported option structs in f
// whose comment does not say what their zero value means.
func undefaulted(f *ast.File) (names []*ast.Ident) {
	says := regexp.MustCompile(`(?i)\b(if (zero|nil|empty|false)|zero fields)\b`)
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || !spec.Name.IsExported() {
			return true
		}
		if _, ok := spec.Type.(*ast.StructType); !ok {
			return false
		}
		for name, field := range members(spec) {
			if name.IsExported() && !says.MatchString(strings.Join(strings.Fields(field.Doc.Text()+" "+field.Comment.Text()), " ")) {
				names = append(names, name)
			}
		}
		return false
	})
	return names
}

// members ranges over the fields of an option struct, or the methods of an
// interface, that have names.
func members(spec *ast.TypeSpec) func(yield func(*ast.Ident, *ast.Field) bool) {
	var list *ast.FieldList
	switch typ := spec.Type.(type) {
	case *ast.StructType:
		if strings.HasSuffix(spec.Name.Name, "Options") {
			list = typ.Fields
		}
	case *ast.InterfaceType:
		list = typ.Methods
	}
	return func(yield func(*ast.Ident, *ast.Field) bool) {
		if list == nil {
			return
		}
		for _, field := range list.List {
			for _, name := range field.Names {
				if !yield(name, field) {
					return
				}
			}
		}
	}
}

// mentions reports whether the comment has the word.
func mentions(doc *ast.CommentGroup, word string) bool {
	return regexp.MustCompile(`\b` + regexp.QuoteMeta(word) + `\b`).MatchString(doc.Text())
}

// receiver returns the name of a method's type.
func receiver(decl *ast.FuncDecl) string {
	typ := decl.Recv.List[0].Type
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		case *ast.IndexListExpr:
			typ = t.X
		case *ast.Ident:
			return t.Name
		default:
			panic(fmt.Sprintf("receiver of type %T", t))
		}
	}
}

// sleepers are the test files that may call time.Sleep, and why.
var sleepers = map[string]string{}

// Tests wait for what they want to see, or in a testing/synctest bubble, for a
// timer; a sleep is too short on a busy machine and too long on every other.
func TestHouseSleep(t *testing.T) {
	t.Parallel()
	files := token.NewFileSet()
	for _, name := range repositoryFiles(t) {
		if !strings.HasSuffix(name, "_test.go") || sleepers[name] != "" {
			continue
		}
		f, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" {
					t.Errorf("%v: time.Sleep in a test", files.Position(sel.Pos()))
				}
			}
			return true
		})
	}
}

// One noun a file. Tests may be longer.
func TestHouseFileSize(t *testing.T) {
	t.Parallel()
	const most = 330
	for _, name := range repositoryFiles(t) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		if lines := bytes.Count(readFile(t, name), []byte("\n")); lines > most {
			t.Errorf("%s has %d lines, more than %d: a second noun is hiding in it", name, lines, most)
		}
	}
}

// No text names a place on somebody's machine.
func TestHousePaths(t *testing.T) {
	t.Parallel()
	place := regexp.MustCompile(`(^|[^A-Za-z0-9._/-])/(work|farm|root|home|Users)/`)
	checked := 0
	for _, name := range repositoryFiles(t) {
		text := readFile(t, name)
		if path.Ext(name) == ".sum" || bytes.IndexByte(text, 0) >= 0 {
			continue
		}
		checked++
		number := 0
		for line := range bytes.Lines(text) {
			number++
			if place.Match(line) {
				t.Errorf("%s:%d: a path of one machine: %s", name, number, bytes.TrimSpace(line))
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d files were looked at", checked)
	}
}

// repositoryFiles returns the files of the repository, slash-separated and
// sorted: those that git tracks or would, and where this is not a git
// repository, all.
func repositoryFiles(t *testing.T) (names []string) {
	t.Helper()
	var all []string
	if _, err := os.Stat(".git"); err == nil {
		all = strings.Split(runCommand(t, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"), "\x00")
	} else {
		err := fs.WalkDir(os.DirFS("."), ".", func(name string, _ fs.DirEntry, err error) error {
			all = append(all, name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range all {
		// git lists a file that was removed, and not yet in the index.
		if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// readFile returns what is in the file.
func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// runCommand returns what the command prints.
func runCommand(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return string(out)
}

// relative returns a file's name as seen from the module's root.
func relative(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if rel, err := filepath.Rel(dir, name); err == nil {
		return rel
	}
	return name
}
