package manifest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"go.yaml.in/yaml/v3"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/sourceward/sourceward/policies"
)

// A Change holds the operations for one object in a YAML stream or JSON file.
type Change struct {
	// Index is the Index of the Document. At is the JSON Pointer to the object in that document: "" or, for an item of
	// a List, a path such as /items/2. The paths of the operations are relative to it.
	Index int
	At    string
	// Operations have the op add or remove. They add, replace and remove members of mappings, append elements to lists
	// (/-) and remove elements of lists.
	Operations []policies.PatchOperation
	// Err is set by PatchAll if it did not make the change: there is no such document, an operation is not supported,
	// its path does not exist, the value is shared through an anchor, or the text is so unusual that the edit would
	// change other values too.
	Err error
}

// Patch makes one change and returns the whole new text. The error is the Err of the change. See PatchAll.
func Patch(data []byte, index int, at string, operations []policies.PatchOperation) ([]byte, error) {
	change := &Change{Index: index, At: at, Operations: operations}
	text := PatchAll(data, []*Change{change})
	if change.Err != nil {
		return nil, change.Err
	}
	return text, nil
}

// Patch makes the change that the function Patch makes in a file in the text of Source. at is the JSON Pointer to an
// object in the document. The error is that of the function Patch.
func (d *Document) Patch(at string, operations []policies.PatchOperation) ([]byte, error) {
	return d.chunk.together([]*Change{{At: at, Operations: operations}})
}

// PatchAll makes changes in order and returns the whole new text. If a change fails, PatchAll sets its Err, leaves no
// trace of it and makes the others. All text that the changes do not name stays the same, byte for byte: comments,
// order, quotes, line endings. PatchAll verifies every edit: it reads the result and compares the values.
func PatchAll(data []byte, changes []*Change) []byte {
	chunks := split(data)
	of := map[int][]*Change{}
	for _, change := range changes {
		if change.Index < 0 || change.Index >= len(chunks) {
			change.Err = fmt.Errorf("the file has no document %d (counted from 0): it has %d; read the file again",
				change.Index, len(chunks))
			continue
		}
		of[change.Index] = append(of[change.Index], change)
	}
	var parts [][]byte
	end := 0
	for i, c := range chunks {
		parts = append(parts, data[end:c.start], c.change(of[i]))
		end = c.start + len(c.text)
	}
	return bytes.Join(append(parts, data[end:]), nil)
}

// change returns the text of the chunk after the changes. It makes all of them at once. If that fails, it makes each
// half separately, until only the changes that fail remain.
func (c chunk) change(changes []*Change) []byte {
	text, err := c.together(changes)
	switch half := len(changes) / 2; {
	case err == nil:
		return text
	case half == 0:
		changes[0].Err = err
		return c.text
	default:
		c.text = c.change(changes[:half])
		return c.change(changes[half:])
	}
}

// together returns the text of the chunk after all changes. It needs only as many rounds as there are operations on one
// object: an operation depends on the earlier operations on the same object, not on those on other objects.
func (c chunk) together(changes []*Change) ([]byte, error) {
	var rounds [][]policies.PatchOperation
	on := map[string]int{} // the number of operations, by object
	for _, change := range changes {
		for _, operation := range change.Operations {
			operation.Path = change.At + operation.Path
			round := on[change.At]
			on[change.At]++
			if round == len(rounds) {
				rounds = append(rounds, nil)
			}
			rounds[round] = append(rounds[round], operation)
		}
	}
	for _, operations := range rounds {
		var err error
		if c.text, err = c.patch(operations); err != nil {
			return nil, err
		}
	}
	return c.text, nil
}

// patch returns the text of the chunk after operations that do not depend on one another. Their paths are relative to
// the root of the document.
func (c chunk) patch(operations []policies.PatchOperation) ([]byte, error) {
	for _, operation := range operations {
		if operation.Op != "add" && operation.Op != "remove" {
			return nil, unsupportedError(operation)
		}
	}
	root, problem := c.parse()
	if problem != nil {
		return nil, problem
	}
	room := roomForAliases(c.size)
	document, problem := c.read(root, &room)
	if problem != nil {
		return nil, problem
	}
	if document == nil || document.Content == nil {
		return nil, errors.New("the document is not an object; choose another")
	}
	first := operations[0]
	want, err := apply(document.Content, operations)
	if err != nil {
		return nil, fmt.Errorf("%s %s cannot be applied to the document: %w; edit it by hand", first.Op, first.Path, err)
	}
	e := newEditor(c.text, root)
	for _, operation := range operations {
		if err := e.edit(operation); err != nil {
			return nil, err
		}
	}
	text := e.result()
	if !c.becomes(text, want) {
		if e.anchored {
			return nil, sharedError(first.Path)
		}
		return nil, fmt.Errorf("%s is written in a way that cannot be edited safely; edit it by hand", first.Path)
	}
	return text, nil
}

// becomes reports whether a text may replace the text of the chunk: it must be one document, from its first byte to its
// last, that reads as the wanted content.
func (c chunk) becomes(text []byte, want map[string]any) bool {
	lineBreak := []byte("\n")
	chunks := split(text)
	if len(chunks) != 1 || len(chunks[0].text) != len(text) {
		return false
	}
	if bytes.HasSuffix(c.text, lineBreak) && !bytes.HasSuffix(text, lineBreak) {
		return false // else the next document would begin on the last line of this one
	}
	c.text = text
	room := roomForAliases(c.size)
	document, err := c.document(&room, nil)
	return err == nil && document != nil && reflect.DeepEqual(document.Content, want)
}

func sharedError(path string) error {
	return fmt.Errorf("%s is shared through a YAML anchor; write the value out to edit it", path)
}

func unsupportedError(operation policies.PatchOperation) error {
	return fmt.Errorf("%s %s is not supported in files; edit the file by hand", operation.Op, operation.Path)
}

// apply returns the content after the operations. It shares no code with the editing of the text, because that text is
// verified against its result.
func apply(content map[string]any, operations []policies.PatchOperation) (map[string]any, error) {
	var patches []any
	for _, operation := range operations {
		// Marshal a map, not the operation itself, which omits a null value.
		members := map[string]any{"op": operation.Op, "path": operation.Path}
		if operation.Op == "add" {
			members["value"] = operation.Value
		}
		patches = append(patches, members)
	}
	patchJSON, err := json.Marshal(patches)
	if err != nil {
		return nil, err
	}
	oldJSON, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.DecodePatch(patchJSON)
	if err != nil {
		return nil, err
	}
	newJSON, err := patch.Apply(oldJSON)
	if err != nil {
		return nil, err
	}
	var result map[string]any
	return result, utiljson.Unmarshal(newJSON, &result)
}

// An editor collects changes of the text of one document. The parser reports where values begin, but not where they
// end. The editor finds the ends itself, for the common ways to write YAML. For other ways it may be wrong, and
// only promises not to panic: its result is verified.
type editor struct {
	text     []byte
	splices  []splice
	root     *yaml.Node
	lines    []int // offsets, as the parser counts lines
	newline  string
	compact  bool // dashes stand below the first letter of their key
	anchored bool // a value on the path of an operation has an anchor

	// near and nearAt are the place and the offset that offset was last called for. What one operation asks for is near
	// that, but may be far from the start of its line: one line may be the whole file.
	near   Position
	nearAt int
}

func newEditor(text []byte, root *yaml.Node) *editor {
	e := &editor{text: text, root: root, lines: lineOffsets(text), newline: "\n", compact: isCompact(root)}
	if crlf := []byte("\r\n"); 2*bytes.Count(text, crlf) > bytes.Count(text, crlf[1:]) {
		e.newline = "\r\n"
	}
	return e
}

// isCompact reports whether n contains a list whose dashes stand below the first letter of its key.
func isCompact(n *yaml.Node) bool {
	return slices.ContainsFunc(entries(n), func(s slot) bool { return isCompactIn(s) || isCompact(s.value()) })
}

func isCompactIn(s slot) bool {
	n := s.value()
	return s.container.Kind == yaml.MappingNode && n.Kind == yaml.SequenceNode && !isFlow(n) &&
		n.Column == s.container.Content[s.i-1].Column
}

// entries returns the places of the values of a collection.
func entries(collection *yaml.Node) []slot {
	var slots []slot
	first, step := 0, 1
	if collection.Kind == yaml.MappingNode {
		first, step = 1, 2
	}
	for i := first; i < len(collection.Content); i += step {
		slots = append(slots, slot{collection, i})
	}
	return slots
}

// edit adds the splices for one operation. The error is non-nil if it cannot.
func (e *editor) edit(operation policies.PatchOperation) error {
	path := tokens(operation.Path)
	if len(path) == 0 {
		return errors.New("an operation applies to the whole document; name one of its members")
	}
	unsupported := unsupportedError(operation)
	parent, target := slot{}, slot{&yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{e.root}}, 0}
	for _, token := range path {
		if target.container == nil {
			return unsupported
		}
		parent = target
		var err error
		if target, err = e.find(parent.value(), token, operation.Path); err != nil {
			return err
		}
	}

	exists, last := target.container != nil, path[len(path)-1]
	kind := parent.value().Kind
	switch {
	case operation.Op == "add" && kind == yaml.MappingNode && exists:
		e.replace(target, operation.Value)
	case operation.Op == "add" && kind == yaml.MappingNode:
		e.insert(parent, map[string]any{last: operation.Value})
	case operation.Op == "add" && kind == yaml.SequenceNode && last == "-":
		e.insert(parent, []any{operation.Value})
	case operation.Op == "remove" && exists:
		e.remove(parent, target)
	default:
		return unsupported
	}
	return nil
}

// find returns the slot that a token of a path selects in a container, or the zero slot if there is none. The error is
// non-nil if the value comes from an alias or a merge key.
func (e *editor) find(container *yaml.Node, token, path string) (slot, error) {
	s := child(container, token)
	if s.container == nil {
		return slot{}, nil
	}
	if s.container != container || s.value().Kind == yaml.AliasNode {
		return slot{}, sharedError(path)
	}
	e.anchored = e.anchored || s.value().Anchor != ""
	return s, nil
}

// replace replaces the value in a slot.
func (e *editor) replace(s slot, value any) {
	old := s.value()
	start, end := e.offset(old), e.end(s)
	if s.container.Kind != yaml.MappingNode {
		e.splice(start, end, flow(value))
		return
	}
	key := s.container.Content[s.i-1]
	text, fits := inline(value)
	if isFlow(s.container) {
		text, fits = flow(value), true
	}
	lines, isText := value.(string)
	switch {
	case isText && strings.HasSuffix(lines, "\n") && !isFlow(s.container):
		e.replaceByLines(s, lines)
	case fits && isEmpty(old) && e.byte(end-1) != ':': // {a}
		e.splice(end, end, ": "+text)
	case fits && (isEmpty(old) || old.Line > key.Line):
		e.splice(e.colon(s), end, " "+text)
	case fits:
		e.splice(start, end, text)
	default:
		// The value goes onto lines of its own, and a comment stays next to the key.
		column := key.Column - 1
		if _, list := value.([]any); !list || !e.compact {
			column += 2
		}
		colon, lineEnd := e.colon(s), e.lineEnd(end)
		comment := e.text[colon:e.lineEnd(colon)]
		if isInline(old) {
			comment = e.text[end:lineEnd]
		}
		text = e.block(value, column)
		if comment = bytes.TrimSpace(comment); bytes.HasPrefix(comment, []byte("#")) {
			text = " " + string(comment) + text
		}
		e.splice(colon, lineEnd, text)
	}
}

// replaceByLines replaces the value in a slot with a text of whole lines, written as a literal block scalar. If the old
// value is a literal block scalar too, its indentation and the comment in its header stay.
func (e *editor) replaceByLines(s slot, text string) {
	old, key := s.value(), s.container.Content[s.i-1]
	end, colon := e.end(s), e.colon(s)
	indent, comment := strings.Repeat(" ", key.Column+1), ""
	start := colon
	if old.Style&yaml.LiteralStyle != 0 {
		start = e.body(old)
		header := e.text[start:e.lineEnd(start)]
		if at := bytes.Index(header, []byte(" #")); at >= 0 {
			comment = string(header[at:])
		}
		if first := e.text[e.nextLine(start):max(end, e.nextLine(start))]; len(first) > 0 {
			first = bytes.TrimLeft(first, "\r\n")
			indent = string(first[:len(first)-len(bytes.TrimLeft(first, " "))])
		}
	} else if rest := bytes.TrimSpace(e.text[end:e.lineEnd(end)]); isInline(old) && bytes.HasPrefix(rest, []byte("#")) {
		comment, end = " "+string(rest), e.lineEnd(end)
	}
	header := "|"
	if strings.HasSuffix(text, "\n\n") {
		header += "+"
	}
	if start == colon {
		header = " " + header
	}
	var b strings.Builder
	b.WriteString(header + comment)
	for line := range strings.Lines(text) {
		b.WriteString(e.newline)
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			b.WriteString(indent + line)
		}
	}
	if end == len(e.text) {
		b.WriteString(e.newline)
	}
	e.splice(start, end, b.String())
}

// insert adds an entry at the end of the collection in a slot. The entry is passed as a collection of one.
func (e *editor) insert(s slot, entry any) {
	collection, end := s.value(), e.end(s)
	slots := entries(collection)
	switch {
	case !isFlow(collection):
		at := e.commentsEnd(end, e.column(collection), isCompactIn(s))
		e.splice(at, at, e.block(entry, e.column(collection)))
	case len(slots) > 0:
		at := e.end(slots[len(slots)-1])
		e.splice(at, at, ","+e.flowEntry(slots, entry))
	case s.container.Kind == yaml.MappingNode && !isFlow(s.container):
		e.replace(s, entry) // so that a collection that was empty gets the style of the file
	default:
		text := flow(entry)
		e.splice(end-1, end-1, text[1:len(text)-1])
	}
}

// flowEntry returns the text of an entry that follows others in a collection in flow style. If the last of these begins
// on an indented line of its own, as in JSON for people, so do the entry and what is in it.
func (e *editor) flowEntry(slots []slot, entry any) string {
	start := e.entry(slots, len(slots)-1)
	indent := e.text[e.lineStart(start):start]
	if len(indent) == 0 || len(bytes.Trim(indent, " \t")) > 0 {
		text := flow(entry)
		return " " + text[1:len(text)-1]
	}
	line := e.lineStart(e.offset(slots[0].container))
	outer := e.text[line:e.lineEnd(line)]
	outer = outer[:len(outer)-len(bytes.TrimLeft(outer, " \t"))]
	unit, isDeeper := bytes.CutPrefix(indent, outer)
	if !isDeeper || len(unit) == 0 {
		outer, unit = indent[:0], indent
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent(string(outer), string(unit))
	if err := encoder.Encode(entry); err != nil {
		return "" // fails the verification
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	return e.newline + strings.Join(lines[1:len(lines)-1], e.newline) // without the braces around the entry
}

// remove removes an entry from a collection. If it is the last one, {} or [] remains.
func (e *editor) remove(s, target slot) {
	collection := s.value()
	slots := entries(collection)
	i := slices.Index(slots, target)
	end := e.end(target)
	switch {
	case len(slots) == 1 && collection.Kind == yaml.MappingNode:
		e.replace(s, map[string]any{})
		return
	case len(slots) == 1:
		e.replace(s, []any{})
		return
	case isFlow(collection) && i < len(slots)-1:
		e.splice(e.entry(slots, i), e.entry(slots, i+1), "")
		return
	case isFlow(collection):
		e.splice(e.end(slots[i-1]), end, "")
		return
	}
	start := e.entry(slots, i)
	line := e.lineStart(start)
	switch {
	case len(bytes.TrimSpace(e.text[line:start])) > 0:
		// The entry follows a dash on the same line. The next entry moves up to it, unless a comment is between them.
		if i < len(slots)-1 {
			if next := e.entry(slots, i+1); end <= next && len(bytes.TrimSpace(e.text[end:next])) == 0 {
				end = next
			}
		}
		e.splice(start, end, "")
	case line == 0:
		e.splice(0, e.nextLine(end), "")
	default:
		e.splice(e.lineEnd(e.lineStart(line-1)), e.lineEnd(end), "")
	}
}

// A splice replaces a range of the text.
type splice struct {
	start, end int
	text       string
}

func (e *editor) splice(start, end int, text string) {
	e.splices = append(e.splices, splice{start, end, text})
}

// result returns the text with all edits, or nil if they overlap.
func (e *editor) result() []byte {
	slices.SortStableFunc(e.splices, func(a, b splice) int { return cmp.Compare(a.start, b.start) })
	var text []byte
	end := 0
	for _, s := range e.splices {
		if s.start < end || s.end < s.start {
			return nil
		}
		text = append(append(text, e.text[end:s.start]...), s.text...)
		end = s.end
	}
	return append(text, e.text[end:]...)
}

// block renders a collection in block style. A line break comes before each line, and each line is indented.
func (e *editor) block(collection any, column int) string {
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if e.compact {
		encoder.CompactSeqIndent()
	}
	if err := encoder.Encode(collection); err != nil {
		return "" // fails the verification
	}
	var text strings.Builder
	for line := range strings.Lines(b.String()) {
		text.WriteString(e.newline)
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			text.WriteString(strings.Repeat(" ", column) + line)
		}
	}
	return text.String()
}

// inline renders a value so that it can follow its key on the same line. fits is false for collections with entries.
func inline(value any) (text string, fits bool) {
	switch value := value.(type) {
	case map[string]any:
		return "{}", len(value) == 0
	case []any:
		return "[]", len(value) == 0
	}
	b, err := yaml.Marshal(value)
	if err != nil || bytes.Count(b, []byte("\n")) > 1 {
		return flow(value), true
	}
	return strings.TrimSpace(string(b)), true
}

// flow renders a value as JSON, which is YAML in flow style too.
func flow(value any) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "[]" // fails the verification
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// isEmpty reports whether a node is a null without any text.
func isEmpty(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Style == 0 && n.Value == "" && n.Anchor == ""
}

func isFlow(n *yaml.Node) bool { return n.Style&yaml.FlowStyle != 0 }

func isInline(n *yaml.Node) bool {
	return isFlow(n) || n.Kind == yaml.ScalarNode && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

// byte returns the byte at an offset, or 0 after the end of the text.
func (e *editor) byte(at int) byte {
	if at < len(e.text) {
		return e.text[at]
	}
	return 0
}

func (e *editor) lineStart(at int) int { return bytes.LastIndexByte(e.text[:at], '\n') + 1 }

func (e *editor) nextLine(at int) int {
	if n := bytes.IndexByte(e.text[at:], '\n'); n >= 0 {
		return at + n + 1
	}
	return len(e.text)
}

// lineEnd returns the offset of the end of a line, before its line break.
func (e *editor) lineEnd(at int) int {
	end := e.nextLine(at)
	for end > at && (e.text[end-1] == '\n' || e.text[end-1] == '\r') {
		end--
	}
	return end
}

// skip returns the offset after white space and comments.
func (e *editor) skip(at int) int {
	for {
		switch e.byte(at) {
		case ' ', '\t', '\r', '\n':
			at++
		case '#':
			at = e.lineEnd(at)
		default:
			return at
		}
	}
}

// offset returns the offset of a node, including its tag and anchor.
func (e *editor) offset(n *yaml.Node) int {
	if n.Line < 1 || n.Line > len(e.lines) {
		return len(e.text)
	}
	if n.Line != e.near.Line {
		e.near, e.nearAt = Position{n.Line, 1}, e.lines[n.Line-1]
	}
	for ; e.near.Column < n.Column; e.near.Column++ {
		_, size := utf8.DecodeRune(e.text[e.nearAt:])
		e.nearAt += size
	}
	for ; e.near.Column > n.Column; e.near.Column-- {
		_, size := utf8.DecodeLastRune(e.text[:e.nearAt])
		e.nearAt -= size
	}
	return e.nearAt
}

// body returns the offset of a node after its tag and anchor.
func (e *editor) body(n *yaml.Node) int {
	at := e.offset(n)
	for e.byte(at) == '&' || e.byte(at) == '!' {
		if n := bytes.IndexAny(e.text[at:], " \t\r\n"); n >= 0 {
			at = e.skip(at + n)
		} else {
			at = len(e.text)
		}
	}
	return at
}

// column returns the indentation of the entries of a block collection.
func (e *editor) column(collection *yaml.Node) int {
	if collection.Kind == yaml.MappingNode {
		return collection.Content[0].Column - 1
	}
	dash := e.body(collection)
	return dash - e.lineStart(dash)
}

// entry returns the offset of the key or dash of an entry.
func (e *editor) entry(slots []slot, i int) int {
	s := slots[i]
	switch {
	case s.container.Kind == yaml.MappingNode:
		return e.offset(s.container.Content[s.i-1])
	case isFlow(s.container):
		return e.offset(s.value())
	case i == 0:
		return e.body(s.container)
	}
	return e.skip(e.end(slots[i-1]))
}

// colon returns the offset after the colon of a key, or after the key if it has no colon.
func (e *editor) colon(s slot) int {
	end := e.end(slot{s.container, s.i - 1})
	if at := e.skip(end); e.byte(at) == ':' {
		return at + 1
	}
	return end
}

// end returns the offset at which the text of a value ends, before any comment that follows it.
func (e *editor) end(s slot) int {
	n := s.value()
	slots := entries(n)
	switch {
	case isEmpty(n) && s.container.Kind == yaml.MappingNode && s.i%2 == 1:
		return e.colon(s)
	case isEmpty(n):
		return e.offset(n)
	case n.Kind == yaml.AliasNode:
		return min(e.offset(n)+len("*")+len(n.Value), len(e.text))
	case n.Kind == yaml.ScalarNode:
		return e.scalarEnd(n, e.body(n), s.container)
	case !isFlow(n):
		return e.end(slots[len(slots)-1])
	}
	at := e.body(n) + len("{")
	if len(slots) > 0 {
		at = e.end(slots[len(slots)-1])
	}
	if at = e.skip(at); e.byte(at) == ',' {
		at = e.skip(at + 1)
	}
	return min(at+len("}"), len(e.text))
}

// scalarEnd returns the end of a scalar whose body begins at an offset.
func (e *editor) scalarEnd(n *yaml.Node, at int, container *yaml.Node) int {
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return e.blockScalarEnd(at, e.column(container))
	case n.Style&yaml.DoubleQuotedStyle != 0:
		for at++; at < len(e.text) && e.text[at] != '"'; at++ {
			if e.text[at] == '\\' {
				at++
			}
		}
		return min(at+1, len(e.text))
	case n.Style&yaml.SingleQuotedStyle != 0:
		for at++; at < len(e.text) && (e.text[at] != '\'' || e.byte(at+1) == '\''); at++ {
			if e.text[at] == '\'' {
				at++
			}
		}
		return min(at+1, len(e.text))
	}
	// The text of a plain scalar is its value, except for white space, where lines may be folded.
	for _, c := range []byte(n.Value) {
		if isSpace(c) {
			continue
		}
		for isSpace(e.byte(at)) {
			at++
		}
		at = min(at+1, len(e.text))
	}
	return at
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// blockScalarEnd returns the end of the block scalar whose header, such as |-, is at an offset. A line in it that looks
// like a comment is text, unless it is indented less than the scalar.
func (e *editor) blockScalarEnd(at, parent int) int {
	end := e.lineEnd(at)
	indent, keep := 0, false // indent is 0 until it is known
	for _, c := range e.text[at:end] {
		switch {
		case c == '+':
			keep = true
		case '1' <= c && c <= '9':
			indent = parent + int(c-'0')
		}
		if isSpace(c) {
			break
		}
	}
	for line := e.nextLine(at); line < len(e.text); line = e.nextLine(line) {
		text := e.text[line:e.lineEnd(line)]
		spaces := len(text) - len(bytes.TrimLeft(text, " "))
		switch blank := len(bytes.TrimSpace(text)) == 0; {
		case blank && (indent == 0 || spaces <= indent):
			if !keep {
				continue
			}
		case indent == 0 && spaces > parent:
			indent = spaces
		case spaces < indent || indent == 0:
			return end
		}
		end = e.lineEnd(line)
	}
	return end
}

// commentsEnd returns the end of the last line that belongs to a collection: the line on which its text ends, or a
// comment below it with at least the indentation of its entries. In a compact list, a comment that is indented like
// the dashes belongs to the key that follows.
func (e *editor) commentsEnd(at, column int, compact bool) int {
	if compact {
		column++
	}
	end := e.lineEnd(at)
	for line := e.nextLine(at); line < len(e.text); line = e.nextLine(line) {
		text := e.text[line:e.lineEnd(line)]
		rest := bytes.TrimLeft(text, " ")
		switch {
		case len(bytes.TrimSpace(rest)) == 0:
		case rest[0] == '#' && len(text)-len(rest) >= column:
			end = e.lineEnd(line)
		default:
			return end
		}
	}
	return end
}
