// Package manifest turns YAML and JSON files into objects that remember file, line and column, and
// writes repairs back into the files with all the rest of their text kept.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// maxExpanded bounds the values that aliases add to one document: far beyond any manifest, and
	// little enough memory that a file made to explode (the "billion laughs") does no harm.
	maxExpanded = 1_000_000
	// maxDepth is where the JSON decoder of the API server gives up too. It also keeps aliases from
	// chaining deep documents into one that overflows the stack.
	maxDepth = 10_000
)

// Position is a place in a file. Line and Column count from 1, columns in characters; where a column
// is not known it is 0, and the zero Position is the file as a whole.
type Position struct{ Line, Column int }

// Error is what is wrong at one place of a file.
type Error struct {
	// File is the name that Parse was given.
	File string
	Position
	// Message is one line: what is wrong and what to do about it.
	Message string
}

// Error is "file:line:column: message", without the parts that are not known.
func (e *Error) Error() string {
	var place string
	if e.File != "" {
		place = e.File + ":"
	}
	for _, n := range []int{e.Line, e.Column} {
		if n > 0 {
			place += strconv.Itoa(n) + ":"
		}
	}
	if place == "" {
		return e.Message
	}
	return place + " " + e.Message
}

// Document is one document of a YAML stream, or one object of a JSON file.
type Document struct {
	// File is the name that Parse was given.
	File string
	// Index is the number of the document in its file, from 0, as Patch counts them. Empty documents
	// count.
	Index int
	// Content is what the API server would read, in the types string, bool, int64, float64, nil,
	// []any and map[string]any. It is nil if the document is not a mapping.
	Content map[string]any

	chunk chunk
	last  *lastAsked
}

// lastAsked is the outline of the document that was asked for a Position last. The objects of a List
// are asked for many, one after the other, and keeping the nodes of all documents would take more
// memory than the documents.
type lastAsked struct{ atomic.Pointer[outline] }

// Parse reads all documents of a file, YAML or JSON, with the meaning that kubectl gives them; file
// only names it. A document that cannot be read is one Error and does not keep the others from being
// read. A document of nothing but comments is neither. The documents refer to data, which must not
// be changed as long as they are used.
func Parse(file string, data []byte) ([]*Document, []*Error) {
	return parse(file, data, new(lastAsked))
}

func parse(file string, data []byte, last *lastAsked) ([]*Document, []*Error) {
	var documents []*Document
	var errs []*Error
	for i, chunk := range split(data) {
		document, err := chunk.document()
		switch {
		case err != nil:
			err.File = file
			errs = append(errs, err)
		case document != nil:
			document.File, document.Index, document.last = file, i, last
			documents = append(documents, document)
		}
	}
	return documents, errs
}

// Position is where the value that a JSON Pointer (RFC 6901) names was written: the key of a member,
// the element of a list. What came by an alias or a merge key is found where it is written out. For
// a path that does not exist it is the place of the nearest ancestor that does; for "" it is the
// start of the document, the first key.
func (d *Document) Position(pointer string) Position {
	outline := d.outline()
	if outline == nil {
		return Position{}
	}
	node := outline.root
	place := node
	if len(node.Content) > 0 {
		place = node.Content[0]
	}
	for _, token := range tokens(pointer) {
		key, value := child(node, token)
		if value == nil {
			break
		}
		place, node = key, value
	}
	return position(outline.lines, place)
}

// outline parses the document again, unless it is the one that was asked last. It is nil for a
// Document that Parse did not make.
func (d *Document) outline() *outline {
	if d.last == nil {
		return nil
	}
	if last := d.last.Load(); last != nil && last.document == d {
		return last
	}
	root, err := d.chunk.parse()
	if err != nil || root == nil {
		return nil
	}
	o := &outline{document: d, root: root, lines: d.chunk.lineStarts()}
	d.last.Store(o)
	return o
}

// An outline tells where the values of a document were written.
type outline struct {
	document *Document
	root     *yaml.Node
	lines    []Position
}

// line is the text of a line of the file, "" where the document has none.
func (d *Document) line(number int) string {
	number -= d.chunk.line
	for line := range bytes.Lines(d.chunk.text) {
		if number--; number == 0 {
			return strings.TrimRight(string(line), "\r\n")
		}
	}
	return ""
}

// A chunk is the text of one document, with the comments, directives and marker that lead it in.
type chunk struct {
	text  []byte
	start int // bytes of the file before the text
	line  int // lines of the file before the text
}

var byteOrderMark = []byte("\ufeff")

// split cuts a stream into its documents before any is parsed, so that a broken one leaves the others
// whole: at the markers, and before each JSON object but the first.
func split(data []byte) []chunk {
	var chunks []chunk
	for _, c := range splitAtMarkers(data) {
		chunks = append(chunks, c.objects()...)
	}
	return chunks
}

// splitAtMarkers goes line by line, as kubectl does.
func splitAtMarkers(data []byte) []chunk {
	var chunks []chunk
	var start, end, line, lines int
	begun := false // there is a marker or some content; what comes before only leads it in
	if bytes.HasPrefix(data, byteOrderMark) {
		start, end = len(byteOrderMark), len(byteOrderMark)
	}
	for text := range bytes.Lines(data[end:]) {
		opens, closes := isMarker(text, "---"), isMarker(text, "...")
		if begun && (opens || closes) {
			chunks = append(chunks, chunk{data[start:end], start, line})
			start, line, begun = end, lines, false
		}
		end += len(text)
		lines++
		switch {
		case closes:
			start, line = end, lines
		case !begun:
			text = bytes.TrimSpace(text)
			begun = opens || len(text) > 0 && text[0] != '#' && text[0] != '%'
		}
	}
	if begun {
		chunks = append(chunks, chunk{data[start:], start, line})
	}
	return chunks
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// objects cuts a chunk of nothing but JSON objects, each of which begins on a line of its own. Any other
// chunk stays whole.
func (c chunk) objects() []chunk {
	starts := []int{0}
	end := 0 // of the last object
	for decoder := json.NewDecoder(bytes.NewReader(c.text)); ; {
		var value json.RawMessage
		err := decoder.Decode(&value)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || value[0] != '{' {
			return []chunk{c}
		}
		before := c.text[:int(decoder.InputOffset())-len(value)]
		start := bytes.LastIndexByte(before, '\n') + 1
		if start < end {
			return []chunk{c}
		}
		if end > 0 {
			starts = append(starts, start)
		}
		end = int(decoder.InputOffset())
	}
	var objects []chunk
	line := c.line
	ends := append(starts[1:], len(c.text))
	for i, start := range starts {
		text := c.text[start:ends[i]]
		objects = append(objects, chunk{text, c.start + start, line})
		line += bytes.Count(text, []byte("\n"))
	}
	return objects
}

// A lineReader hands out no more than one line at a time and thereby knows how far a parser has come.
type lineReader struct {
	text []byte
	at   int
}

func (r *lineReader) Read(p []byte) (int, error) {
	line := r.text[r.at:]
	if n := bytes.IndexByte(line, '\n'); n >= 0 {
		line = line[:n+1]
	}
	if len(line) == 0 {
		return 0, io.EOF
	}
	n := copy(p, line)
	r.at += n
	return n, nil
}

// line is the number of the line, from 1, that was read last.
func (r *lineReader) line() int {
	return bytes.Count(r.text[:max(r.at-1, 0)], []byte("\n")) + 1
}

// parse is the root node of the chunk, nil if there is none.
func (c chunk) parse() (*yaml.Node, *Error) {
	root, err := c.parseYAML()
	if err != nil && json.Valid(bytes.TrimPrefix(c.text, []byte("---"))) {
		c.text = jsonString.ReplaceAllFunc(c.text, yamlString)
		return c.parseYAML()
	}
	return root, err
}

var (
	jsonString = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	jsonEscape = regexp.MustCompile(`\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u[dD][89a-fA-F]..|\\.`)
)

// yamlString is a JSON string without the escapes that YAML lacks: \/ and the halves of a surrogate
// pair. Spaces behind it take the room that is left, so that all else keeps its place.
func yamlString(text []byte) []byte {
	replaced := jsonEscape.ReplaceAllFunc(text, func(escape []byte) []byte {
		switch {
		case escape[1] == '/':
			return []byte("/")
		case len(escape) == len(`\u0000`): // half a pair, which JSON reads as no character
			return []byte(`\ufffd`)
		case len(escape) == len(`\u0000\u0000`):
			high, _ := strconv.ParseUint(string(escape[2:6]), 16, 16)
			low, _ := strconv.ParseUint(string(escape[8:]), 16, 16)
			return fmt.Appendf(nil, `\U%08X`, utf16.DecodeRune(rune(high), rune(low)))
		}
		return escape
	})
	return append(replaced, bytes.Repeat([]byte(" "), len(text)-len(replaced))...)
}

func (c chunk) parseYAML() (*yaml.Node, *Error) {
	reader := &lineReader{text: c.text}
	decoder := yaml.NewDecoder(reader)
	var document, more yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, c.syntaxError(err, reader.line())
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &Error{
			Position: Position{Line: c.line + reader.line()},
			Message:  "text follows the end of the document; put a line of --- between documents",
		}
	}
	return document.Content[0], nil
}

// syntaxError words an error of the parser, which had come to a line of the chunk.
func (c chunk) syntaxError(err error, line int) *Error {
	number, message := parserMessage(err)
	// Where a token is missing the parser names the line on which the enclosing block began, less
	// one; how far it has read is the line that is wrong, or the one after.
	if number > 0 && !strings.HasPrefix(message, "did not find expected") {
		line = min(line, number)
	}
	return &Error{Position: Position{Line: c.line + line}, Message: message + "; mend the YAML there or just above"}
}

var parserError = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// parserMessage takes an error of the parser apart: its line, 0 if it has none, and its message.
func parserMessage(err error) (line int, message string) {
	message = err.Error()
	if match := parserError.FindStringSubmatch(message); match != nil {
		line, _ = strconv.Atoi(match[1])
		message = message[len(match[0]):]
	}
	return line, strings.ReplaceAll(message, "\n", " ") // it may quote a value
}

// lineStarts are the places in the file at which the lines begin as the parser counts them.
func (c chunk) lineStarts() []Position {
	var starts []Position
	before, start := 0, Position{Line: c.line + 1, Column: 1}
	for _, offset := range lineOffsets(c.text) {
		line := c.text[before:offset]
		if bytes.HasSuffix(line, []byte("\n")) {
			start = Position{Line: start.Line + 1, Column: 1}
		} else {
			start.Column += utf8.RuneCount(line)
		}
		starts = append(starts, start)
		before = offset
	}
	return starts
}

// position is the place of a node in a file whose lines begin where lineStarts says.
func position(lines []Position, n *yaml.Node) Position {
	start := lines[max(min(n.Line, len(lines)), 1)-1]
	return Position{Line: start.Line, Column: start.Column + max(n.Column, 1) - 1}
}

var lineBreak = regexp.MustCompile("\r\n|[\r\n\u0085\u2028\u2029]")

// lineOffsets are the offsets of the lines as the parser counts them, which takes more characters
// for line breaks than editors do.
func lineOffsets(text []byte) []int {
	offsets := []int{0}
	for _, match := range lineBreak.FindAllIndex(text, -1) {
		offsets = append(offsets, match[1])
	}
	return offsets
}

// offset is where a node begins in a text with the given lines.
func offset(text []byte, lines []int, n *yaml.Node) int {
	if n.Line < 1 || n.Line > len(lines) {
		return len(text)
	}
	at := lines[n.Line-1]
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(text[at:])
		at += size
	}
	return at
}

// document reads the chunk, which yields neither a document nor an error if it is empty.
func (c chunk) document() (*Document, *Error) {
	root, err := c.parse()
	if err != nil {
		return nil, err
	}
	return c.read(root)
}

// read is the document with that root, nil if it is empty.
func (c chunk) read(root *yaml.Node) (d *Document, err *Error) {
	if root == nil || root.Tag == "!!null" {
		return nil, nil
	}
	d = &Document{chunk: c}
	if root.Kind == yaml.MappingNode {
		reader := converter{chunk: c, open: map[*yaml.Node]bool{}}
		d.Content, err = reader.mapping(root, 0)
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// A converter turns the nodes of one document into values.
type converter struct {
	chunk    chunk
	open     map[*yaml.Node]bool // anchored nodes that are being expanded
	expanded int
}

func (c *converter) errorf(n *yaml.Node, format string, args ...any) *Error {
	return &Error{Position: position(c.chunk.lineStarts(), n), Message: fmt.Sprintf(format, args...)}
}

func (c *converter) value(n *yaml.Node, depth int) (any, *Error) {
	if depth > maxDepth {
		return nil, c.errorf(n, "values are nested deeper than %d levels; flatten them", maxDepth)
	}
	if len(c.open) > 0 {
		if c.expanded++; c.expanded > maxExpanded {
			return nil, c.errorf(n, "aliases expand to more than %d values; write the values out", maxExpanded)
		}
	}
	switch n.Kind {
	case yaml.AliasNode:
		if c.open[n.Alias] {
			return nil, c.errorf(n, "anchor %q contains itself; write the value out", n.Value)
		}
		c.open[n.Alias] = true
		defer delete(c.open, n.Alias)
		return c.value(n.Alias, depth+1)
	case yaml.MappingNode:
		m, err := c.mapping(n, depth)
		return m, err
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			var err *Error
			if list[i], err = c.value(item, depth+1); err != nil {
				return nil, err
			}
		}
		return list, nil
	default:
		return c.scalar(n)
	}
}

func (c *converter) mapping(n *yaml.Node, depth int) (map[string]any, *Error) {
	m := make(map[string]any, len(n.Content)/2)
	var merge *yaml.Node
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name, err := keyName(key)
		if err != nil {
			return nil, c.errorf(key, "%v", err)
		}
		_, twice := m[name]
		if isMerge(key) {
			twice = merge != nil
			merge = value
		}
		if twice {
			first := n.Content[member(n, name)-1]
			return nil, c.errorf(key, "key %q is set twice, first in line %d; remove one",
				name, position(c.chunk.lineStarts(), first).Line)
		}
		if value == merge {
			continue
		}
		var problem *Error
		if m[name], problem = c.value(value, depth+1); problem != nil {
			return nil, problem
		}
	}
	if merge == nil {
		return m, nil
	}
	return m, c.merge(m, merge, depth+1)
}

// merge adds what a merge key brings and m does not set: as YAML has it, a mapping's own keys win
// wherever they stand, although kubectl lets a merge key win over those before it.
func (c *converter) merge(m map[string]any, n *yaml.Node, depth int) *Error {
	value, err := c.value(n, depth)
	if err != nil {
		return err
	}
	sources, ok := value.([]any)
	if !ok {
		sources = []any{value}
	}
	for _, source := range sources {
		source, ok := source.(map[string]any)
		if !ok {
			return c.errorf(n, "a merge key takes a mapping or a list of mappings; correct its value")
		}
		for key, value := range source {
			if _, ok := m[key]; !ok {
				m[key] = value
			}
		}
	}
	return nil
}

func (c *converter) scalar(n *yaml.Node) (any, *Error) {
	v, err := resolve(n)
	if err != nil {
		return nil, c.errorf(n, "%v", err)
	}
	// A value travels to the API server as JSON.
	switch v := v.(type) {
	case int:
		return int64(v), nil
	case uint64:
		return float64(v), nil
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil, c.errorf(n, "JSON has no number %s; write a finite one, or quote it", n.Value)
		}
		if i, err := strconv.ParseInt(strconv.FormatFloat(v, 'f', -1, 64), 10, 64); err == nil {
			return i, nil // 1.0 is written as 1
		}
	case string:
		return validUTF8(v), nil
	}
	return v, nil
}

// resolve is the value of a scalar: nil, bool, int, int64, uint64, float64 or string.
func resolve(n *yaml.Node) (any, error) {
	switch tag := n.ShortTag(); tag {
	case "!!bool", "!!str":
		// The parser reads YAML 1.2, kubectl YAML 1.1.
		if tag == "!!bool" || n.Style == 0 {
			switch n.Value {
			case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON":
				return true, nil
			case "n", "N", "no", "No", "NO", "off", "Off", "OFF":
				return false, nil
			}
		}
		if tag == "!!str" {
			return n.Value, nil
		}
	case "!!null", "!!int", "!!float", "!!binary":
	default: // timestamps and tags of others
		return n.Value, nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		_, message := parserMessage(err)
		return nil, errors.New(message)
	}
	return v, nil
}

// validUTF8 replaces each byte that JSON cannot hold, which only !!binary can bring.
func validUTF8(s string) string { return string([]rune(s)) }

// keyName is a key as JSON has it: a string.
func keyName(n *yaml.Node) (string, error) {
	n = written(n)
	if n.Kind != yaml.ScalarNode {
		return "", errors.New("a key is a list or a mapping; quote it")
	}
	v, err := resolve(n)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case string:
		return validUTF8(v), nil
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case float64:
		if !math.IsInf(v, 0) && !math.IsNaN(v) {
			return strconv.FormatFloat(v, 'g', -1, 32), nil // with the precision that kubectl uses
		}
	}
	return "", fmt.Errorf("key %q is not a string; quote it", n.Value)
}

func isMerge(key *yaml.Node) bool { return key.Tag == "!!merge" }

// written is the node that an alias stands for, and any other node itself.
func written(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// member is the index of the value of a mapping's own key in its Content, -1 if it has no such key.
func member(mapping *yaml.Node, name string) int {
	for i := 0; i < len(mapping.Content); i += 2 {
		if key, err := keyName(mapping.Content[i]); err == nil && key == name {
			return i + 1
		}
	}
	return -1
}

// element is the index of a list's element, -1 if the token is none.
func element(list *yaml.Node, token string) int {
	i, err := strconv.Atoi(token)
	if err != nil || i < 0 || i >= len(list.Content) || strconv.Itoa(i) != token {
		return -1
	}
	return i
}

// child is the value that one token of a JSON Pointer names, with the node that is its place, be it
// written right here or come by an alias or a merge key. Both are nil if there is none.
func child(n *yaml.Node, token string) (place, value *yaml.Node) {
	n = written(n)
	switch n.Kind {
	case yaml.SequenceNode:
		if i := element(n, token); i >= 0 {
			return n.Content[i], n.Content[i]
		}
	case yaml.MappingNode:
		if i := member(n, token); i >= 0 {
			return n.Content[i-1], n.Content[i]
		}
		i := member(n, "<<")
		if i < 0 || !isMerge(n.Content[i-1]) {
			break
		}
		sources := []*yaml.Node{n.Content[i]}
		if list := written(n.Content[i]); list.Kind == yaml.SequenceNode {
			sources = list.Content
		}
		for _, source := range sources {
			if place, value = child(source, token); value != nil {
				return place, value
			}
		}
	}
	return nil, nil
}

var unescape = strings.NewReplacer("~1", "/", "~0", "~")

// tokens are the parts of a JSON Pointer.
func tokens(pointer string) []string {
	if pointer == "" {
		return nil
	}
	parts := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i, part := range parts {
		parts[i] = unescape.Replace(part)
	}
	return parts
}
