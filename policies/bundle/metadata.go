package bundle

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"go.yaml.in/yaml/v3"

	"github.com/sourceward/sourceward/policies"
)

// The keys that METADATA may have, and those of its custom part. The rest of what OPA knows is refused, because it
// gives text of a module to parsers that are not made for text by strangers: a schema that refers to itself overflows
// the stack, which ends the process, and one that refers to a file is read from there.
var (
	metadataKeys = []string{"title", "description", "related_resources", "scope", "custom"}
	customKeys   = []string{"kinds", "severity", "why", "remedy", "exempt", "since"}
)

// refusedKeys says why METADATA must not have a key that OPA knows.
var refusedKeys = map[string]string{
	"schemas":    "input always has the schema of Sourceward",
	"entrypoint": "Sourceward asks for " + strings.Join(contract, ", ") + ", whatever is an entrypoint",
	"compile":    "Sourceward evaluates modules as a whole",
}

// checkMetadata checks the METADATA of a module that was parsed without it. It returns one Error for each problem.
func checkMetadata(name string, m *ast.Module) []*Error {
	var problems []*Error
	for i := 0; i < len(m.Comments); i++ {
		if !ast.IsMetadataComment(m.Comments[i]) {
			continue
		}
		// A block goes on in the lines below, as in OPA's parser (v1.22.0, v1/ast/parser.go).
		begin := i + 1
		for i+1 < len(m.Comments) && continues(m.Comments[i+1], m.Comments[i]) {
			i++
		}
		problems = append(problems, checkBlock(name, m.Comments[begin-1].Location, m.Comments[begin:i+1])...)
	}
	return problems
}

func continues(comment, former *ast.Comment) bool {
	return comment.Location.Col == 1 && comment.Location.Row == former.Location.Row+1 && !ast.IsMetadataComment(comment)
}

// checkBlock checks the lines of one block of METADATA, which begins at start.
func checkBlock(name string, start *ast.Location, lines []*ast.Comment) []*Error {
	var text bytes.Buffer
	for _, line := range lines {
		text.Write(bytes.TrimPrefix(line.Text, []byte(" ")))
		text.WriteByte('\n')
	}
	var problems []*Error
	problem := func(at *yaml.Node, format string, args ...any) {
		problems = append(problems, &Error{
			Module: name, Row: start.Row + at.Line, Column: at.Column + len("# "), Message: fmt.Sprintf(format, args...),
		})
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text.Bytes(), &document); err != nil {
		at, text := yaml.Node{Line: 1, Column: 1}, strings.TrimPrefix(err.Error(), "yaml: ")
		if _, err := fmt.Sscanf(text, "line %d:", &at.Line); err == nil {
			_, text, _ = strings.Cut(text, ": ")
		}
		problem(&at, "METADATA must be valid YAML: %s", oneLine(text))
		return problems
	}
	if len(document.Content) == 0 {
		problem(&yaml.Node{}, "METADATA is empty; write title and description below it")
		return problems
	}
	if alias := anchored(&document); alias != nil {
		problem(alias, "METADATA must not use anchors, aliases or tags; write the value where it is needed")
		return problems
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		problem(root, "METADATA must be keys with values, such as title: ...")
		return problems
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		switch reason, isRefused := refusedKeys[key.Value]; {
		case isRefused:
			problem(key, "METADATA must not have %s; remove it: %s", key.Value, reason)
		case !slices.Contains(metadataKeys, key.Value):
			problem(key, "METADATA must not have %s; want one of %s", quoted(key), strings.Join(metadataKeys, ", "))
		case key.Value == "custom" && value.Kind == yaml.MappingNode:
			for j := 0; j < len(value.Content); j += 2 {
				if own := value.Content[j]; !slices.Contains(customKeys, own.Value) {
					problem(own, "METADATA custom must not have %s; want one of %s",
						quoted(own), strings.Join(customKeys, ", "))
				}
			}
		}
	}
	return problems
}

// anchored returns the first node with an anchor, an alias, a merge key or a tag of its own; nil if there is none.
func anchored(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode || node.Anchor != "" || node.Style&yaml.TaggedStyle != 0 || node.Tag == "!!merge" {
		return node
	}
	for _, child := range node.Content {
		if found := anchored(child); found != nil {
			return found
		}
	}
	return nil
}

// quoted returns a key for a message.
func quoted(key *yaml.Node) string {
	const longest = 40
	return fmt.Sprintf("%q", policies.Shorten(key.Value, longest))
}
