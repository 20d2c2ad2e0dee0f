// Package manifest reads YAML and JSON files into objects that remember their file, line and column. It writes
// repairs back into the files and keeps all other text as it was.
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
	// maxExpanded bounds the number of values that aliases add to one document. It is far more than any manifest
	// needs, and little enough memory that a "billion laughs" file, which is made to exhaust it, does no harm.
	maxExpanded = 1_000_000
	// maxDepth bounds how deep values are nested. It is also the limit of the API server's JSON decoder. It also keeps
	// aliases from combining deep values into one that overflows the stack.
	maxDepth = 10_000
)

// Position is a place in a file. Line and Column count from 1; columns count characters. Column is 0 if it is not
// known. The zero Position stands for the file as a whole.
type Position struct{ Line, Column int }

// Error is one problem at one place in a file.
type Error struct {
	// File is the name that was passed to Parse.
	File string
	Position
	// Message is one line that says what is wrong and how to fix it.
	Message string
}

// Error returns "file:line:column: message". It omits the parts that are not known.
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
	// File is the name that was passed to Parse.
	File string
	// Index is the number of the document in its file, counted from 0, as in Patch. Empty documents count.
	Index int
	// Content is the document as the API server would read it, in values of the types string, bool, int64, float64,
	// nil, []any and map[string]any. It is nil if the document is not a mapping.
	Content map[string]any

	chunk chunk
	last  *lastAsked
}

// lastAsked caches the outline of the document whose Position was called last. Callers look up many positions of one
// document in a row, such as those of the objects of a List. Keeping the nodes of all documents would take more memory
// than the documents themselves.
type lastAsked struct{ atomic.Pointer[outline] }

// Parse reads all documents of a YAML or JSON file as kubectl would. file is only the name for messages. For a document
// that cannot be read it returns one Error, and reads the others. For a document that holds only comments it returns
// nothing. The documents refer to data, which must not change while they are in use.
func Parse(file string, data []byte) ([]*Document, []*Error) {
	documents, failures := parse(file, data, new(lastAsked))
	var errs []*Error
	for _, failed := range failures {
		errs = append(errs, failed.Error)
	}
	return documents, errs
}

// failure is a document that cannot be read.
type failure struct {
	*Error
	text []byte
}

func parse(file string, data []byte, last *lastAsked) ([]*Document, []failure) {
	var documents []*Document
	var failures []failure
	for i, chunk := range split(data) {
		document, err := chunk.document()
		switch {
		case err != nil:
			err.File = file
			failures = append(failures, failure{err, chunk.text})
		case document != nil:
			document.File, document.Index, document.last = file, i, last
			documents = append(documents, document)
		}
	}
	return documents, failures
}

// Position returns the place of the value at a JSON Pointer (RFC 6901): that of its key in a mapping, or of the element
// in a list. For a value that comes from an alias or a merge key, it returns the place where the value is written out.
// For a path that does not exist, it returns the place of the nearest ancestor that does. For "" it returns the start
// of the document, which is its first key.
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

// outline returns the outline of the document. It parses the document again, unless its outline is the cached one. It
// returns nil for a Document that Parse did not create.
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

// An outline holds the places of the values of one document.
type outline struct {
	document *Document
	root     *yaml.Node
	lines    []Position
}

// line returns the text of a line of the file, or "" if that line is not part of the document.
func (d *Document) line(number int) string {
	number -= d.chunk.line
	for line := range bytes.Lines(d.chunk.text) {
		if number--; number == 0 {
			return strings.TrimRight(string(line), "\r\n")
		}
	}
	return ""
}

// A chunk is the text of one document, with the comments, directives and marker before it.
type chunk struct {
	text  []byte
	start int // number of bytes of the file before the text
	line  int // number of lines of the file before the text
}

var byteOrderMark = []byte("\ufeff")

// split splits a stream into its documents before it parses any, so that a broken document does not affect the others.
// It splits at the markers, and before each JSON object except the first.
func split(data []byte) []chunk {
	var chunks []chunk
	for _, c := range splitAtMarkers(data) {
		chunks = append(chunks, c.objects()...)
	}
	return chunks
}

// splitAtMarkers splits a stream at its markers. It goes line by line, as kubectl does. A byte order mark at the start
// of the stream, or right after a marker, is not part of the document.
func splitAtMarkers(data []byte) []chunk {
	var chunks []chunk
	var start, end, line, lines int
	begun := false // the chunk has a marker or content; comments and directives alone do not begin a document
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
		case opens && bytes.HasPrefix(data[end:], byteOrderMark):
			start, line, begun = end+len(byteOrderMark), lines, true
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

// objects splits a chunk that holds only JSON objects, each of which begins on its own line. It returns any other chunk
// whole.
func (c chunk) objects() []chunk {
	starts := []int{0}
	end := 0 // where the last object ends
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

// A lineReader returns at most one line per read. It therefore knows how far a parser has read.
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

// line returns the number, counted from 1, of the line that was read last.
func (r *lineReader) line() int {
	return bytes.Count(r.text[:max(r.at-1, 0)], []byte("\n")) + 1
}

// parse returns the root node of the chunk, or nil if the chunk is empty.
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

// yamlString rewrites the escapes of a JSON string that YAML lacks: \/ and surrogates. It pads the string with spaces
// at its end, so that all other text keeps its place.
func yamlString(text []byte) []byte {
	replaced := jsonEscape.ReplaceAllFunc(text, func(escape []byte) []byte {
		switch {
		case escape[1] == '/':
			return []byte("/")
		case len(escape) == len(`\u0000`): // half of a surrogate pair, which JSON decodes as U+FFFD
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
			Message:  "text after the end of the document; put a line with --- between documents",
		}
	}
	return document.Content[0], nil
}

// syntaxError turns an error of the parser into an Error. line is the line of the chunk that the parser read last.
func (c chunk) syntaxError(err error, line int) *Error {
	number, message := parserMessage(err)
	// If a token is missing, the parser reports the line before the one on which the enclosing block begins. The line
	// that it read last is the wrong one or the one after it.
	if number > 0 && !strings.HasPrefix(message, "did not find expected") {
		line = min(line, number)
	}
	return &Error{Position: Position{Line: c.line + line}, Message: message + "; fix the YAML on or just above this line"}
}

var parserError = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// parserMessage returns the line of a parser error, 0 if it has none, and its message without that line.
func parserMessage(err error) (line int, message string) {
	message = err.Error()
	if match := parserError.FindStringSubmatch(message); match != nil {
		line, _ = strconv.Atoi(match[1])
		message = message[len(match[0]):]
	}
	return line, strings.ReplaceAll(message, "\n", " ") // it may quote a value of several lines
}

// lineStarts returns the places in the file where the lines of the chunk begin, as the parser counts lines.
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

// position returns the place of a node in a file. lines comes from lineStarts.
func position(lines []Position, n *yaml.Node) Position {
	start := lines[max(min(n.Line, len(lines)), 1)-1]
	return Position{Line: start.Line, Column: start.Column + max(n.Column, 1) - 1}
}

var lineBreak = regexp.MustCompile("\r\n|[\r\n\u0085\u2028\u2029]")

// lineOffsets returns the offsets of the lines as the parser counts lines: it accepts more characters as line breaks
// than editors do.
func lineOffsets(text []byte) []int {
	offsets := []int{0}
	for _, match := range lineBreak.FindAllIndex(text, -1) {
		offsets = append(offsets, match[1])
	}
	return offsets
}

// offset returns the offset at which a node begins in a text. lines comes from lineOffsets.
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

// document parses and reads the chunk. If the chunk is empty, it returns neither a document nor an error.
func (c chunk) document() (*Document, *Error) {
	root, err := c.parse()
	if err != nil {
		return nil, err
	}
	return c.read(root)
}

// read returns the document with that root, or nil if it is empty.
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
	open     map[*yaml.Node]bool // anchored nodes whose expansion is in progress
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
			return nil, c.errorf(key, "key %q is set twice, first on line %d; remove one",
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

// merge adds the keys of a merge key that m does not set itself. As the YAML specification demands, a mapping's own
// keys win wherever they stand. kubectl differs: there, a merge key wins over the keys before it.
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
	// The API server receives the value as JSON.
	switch v := v.(type) {
	case int:
		return int64(v), nil
	case uint64:
		return float64(v), nil
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil, c.errorf(n, "%s is not a JSON number; write a finite number, or quote it", n.Value)
		}
		if i, err := strconv.ParseInt(strconv.FormatFloat(v, 'f', -1, 64), 10, 64); err == nil {
			return i, nil // JSON encodes 1.0 as 1
		}
	case string:
		return validUTF8(v), nil
	}
	return v, nil
}

// resolve returns the value of a scalar: nil, bool, int, int64, uint64, float64 or string.
func resolve(n *yaml.Node) (any, error) {
	switch tag := n.ShortTag(); tag {
	case "!!bool", "!!str":
		// The parser follows YAML 1.2, kubectl YAML 1.1.
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
	default: // timestamps and custom tags
		return n.Value, nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		_, message := parserMessage(err)
		return nil, errors.New(message)
	}
	return v, nil
}

// validUTF8 replaces each byte that is not valid in JSON. Only !!binary can produce such bytes.
func validUTF8(s string) string { return string([]rune(s)) }

// keyName returns a key as a string, which is what JSON needs.
func keyName(n *yaml.Node) (string, error) {
	n = written(n)
	if n.Kind != yaml.ScalarNode {
		return "", errors.New("a key must be a string, not a list or a mapping; quote it")
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

// written returns the node that an alias refers to. It returns any other node itself.
func written(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// member returns the index, in the Content of a mapping, of the value of one of its own keys, or -1 if there is none.
func member(mapping *yaml.Node, name string) int {
	for i := 0; i < len(mapping.Content); i += 2 {
		if key, err := keyName(mapping.Content[i]); err == nil && key == name {
			return i + 1
		}
	}
	return -1
}

// element returns the index of an element of a list, or -1 if the token is not a valid index.
func element(list *yaml.Node, token string) int {
	i, err := strconv.Atoi(token)
	if err != nil || i < 0 || i >= len(list.Content) || strconv.Itoa(i) != token {
		return -1
	}
	return i
}

// child returns the value that one token of a JSON Pointer selects, and the node that marks its place. The value may
// also come from an alias or a merge key. Both are nil if there is no such value.
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

// tokens returns the unescaped parts of a JSON Pointer.
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
