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
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"

	"github.com/sourceward/sourceward/policies"
)

const (
	// minAliased is how many bytes of values aliases may always add to a file. It is far more than any manifest needs,
	// and little enough that a "billion laughs" file, which is made to exhaust the memory, does no harm.
	minAliased = 64 << 20
	// maxAliasedRatio is how many times its own size aliases may add to a large file.
	maxAliasedRatio = 10
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
	// origin knows where a rendered document comes from; nil for one that a file holds. renderedBy is what renders it.
	origin     origin
	renderedBy string
}

// lastAsked caches the outline of the document whose Position was called last. Callers look up many positions of one
// document in a row, such as those of the objects of a List. Keeping the nodes of all documents would take more memory
// than the documents themselves.
type lastAsked struct{ atomic.Pointer[outline] }

// Parse reads all documents of a YAML or JSON file as kubectl would. file is only the name for messages. For a document
// that cannot be read it returns one Error, and reads the others. For a document that holds only comments it returns
// nothing. The documents refer to data, which must not change while they are in use.
func Parse(file string, data []byte) ([]*Document, []*Error) {
	chunks, failed := chunksOf(file, data)
	if failed != nil {
		return nil, []*Error{failed}
	}
	var documents []*Document
	var errs []*Error
	last := new(lastAsked)
	room := roomForAliases(len(data)) // for all documents together
	for i, chunk := range chunks {
		document, err := chunk.document(&room, nil)
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

// chunksOf splits the content of a file. It returns an error if the file is not in UTF-8.
func chunksOf(file string, data []byte) ([]chunk, *Error) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, &Error{File: file, Message: "this file is not in UTF-8; save it in UTF-8"}
	}
	return split(data), nil
}

// isObject reports whether the chunk can be parsed, and is an object with an apiVersion or a merge key, which may hold
// one.
func (c chunk) isObject() bool {
	root, err := c.parse()
	if err != nil || root == nil || root.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i < len(root.Content); i += 2 {
		if name, err := keyName(root.Content[i]); err == nil && name == "apiVersion" || isMerge(root.Content[i]) {
			return true
		}
	}
	return false
}

// Position returns the place of the value at a JSON Pointer (RFC 6901): that of its key in a mapping, or of the element
// in a list. For a value that comes from an alias or a merge key, it returns the place where the value is written out.
// For a path that does not exist, it returns the place of the nearest ancestor that does. For "" it returns the start
// of the document, which is its first key.
func (d *Document) Position(pointer string) Position {
	if d.isShort() {
		if place, ok := d.chunk.plainPlace(tokens(pointer)); ok {
			return place
		}
	}
	outline := d.outline()
	if outline == nil {
		return d.chunk.begin()
	}
	return outline.place(tokens(pointer))
}

// place returns the place of the value at a path.
func (o *outline) place(path []string) Position {
	node := o.root
	place := node
	if len(node.Content) > 0 {
		place = node.Content[0]
	}
	for _, token := range path {
		s := child(node, token)
		if s.container == nil {
			break
		}
		place, node = s.place(), s.value()
	}
	return position(o.lines, place)
}

// Source returns the text of the document in its file, and the number of lines of the file above it. The text begins
// with the comments, directives and marker before the document. It must not be changed.
func (d *Document) Source() (text []byte, above int) { return d.chunk.text, d.chunk.line }

// isShort reports whether it is cheap to read the document again for one of its values. A long one may be a list of
// thousands of objects.
func (d *Document) isShort() bool { return len(d.chunk.text) <= 4<<10 }

// outline returns the outline of the document. It parses the document again, unless its outline is the cached one. It
// returns nil for a Document that Parse did not create, and for JSON that is no YAML.
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

// objectAt returns the object at a JSON Pointer into a document that was not read as JSON, as Content had it. It reads
// the text again, unless the outline is the cached one.
func (d *Document) objectAt(pointer string) map[string]any {
	if d.isShort() {
		if content := d.chunk.plain(); content != nil {
			object, _ := valueAt(content, pointer).(map[string]any)
			return object
		}
	}
	outline := d.outline()
	if outline == nil {
		return map[string]any{} // never: it was read before
	}
	node := outline.root
	for _, token := range tokens(pointer) {
		s := child(node, token)
		if s.container == nil {
			return map[string]any{} // never, likewise
		}
		node = s.value()
	}
	room := roomForAliases(d.chunk.size)
	reader := converter{chunk: d.chunk, open: map[*yaml.Node]bool{}, room: &room}
	content, err := reader.mapping(written(node), 0)
	if err != nil {
		return map[string]any{} // never, likewise
	}
	return content
}

// An outline holds the places of the values of one document.
type outline struct {
	document *Document
	root     *yaml.Node
	lines    []Position
}

// text returns the text of the document without the marker before it.
func (d *Document) text() []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(d.chunk.text, []byte("---")))
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
	size  int // number of bytes of the file
	// isJSON reports whether kubectl reads the text as JSON if it can. It does so only at the start of a file.
	isJSON bool
}

// begin returns the place of the first text in the chunk. It returns the zero Position if there is none.
func (c chunk) begin() Position {
	before := len(c.text) - len(bytes.TrimLeftFunc(c.text, unicode.IsSpace))
	if before == len(c.text) {
		return Position{}
	}
	return Position{Line: c.line + bytes.Count(c.text[:before], []byte("\n")) + 1}
}

// roomForAliases returns how many bytes of values aliases may add to those that a file of that size writes out.
func roomForAliases(size int) int { return max(maxAliasedRatio*size, minAliased) }

var byteOrderMark = []byte("\ufeff")

// split splits a stream into its documents before it parses any, so that a broken document does not affect the others.
// It splits at the markers, and before each JSON object except the first.
func split(data []byte) []chunk {
	var chunks []chunk
	start := bytes.TrimLeftFunc(bytes.TrimPrefix(data, byteOrderMark), unicode.IsSpace)
	for i, c := range splitAtMarkers(data) {
		c.isJSON = i == 0 && bytes.HasPrefix(start, []byte("{"))
		chunks = append(chunks, c.objects()...)
	}
	return chunks
}

// splitAtMarkers splits a stream at its markers. It goes line by line, as kubectl does. A byte order mark at the start
// of the stream, or right after a marker, is not part of the document.
func splitAtMarkers(data []byte) []chunk {
	var chunks []chunk
	var start, end, line, lines int
	begun := false    // the chunk has a marker or content; comments and directives alone do not begin a document
	separated := true // for kubectl, no line of the next document was read yet
	if bytes.HasPrefix(data, byteOrderMark) {
		start, end = len(byteOrderMark), len(byteOrderMark)
	}
	for text := range bytes.Lines(data[end:]) {
		opens, closes := isMarker(text, "---"), isMarker(text, "...") && isBlank(text[len("..."):])
		if separated = !separated && isSeparator(text); separated && !opens {
			closes = true
		}
		if begun && (opens || closes) {
			chunks = append(chunks, chunk{text: data[start:end], start: start, line: line, size: len(data)})
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
			begun = opens || !isBlank(text)
		}
	}
	if begun {
		chunks = append(chunks, chunk{text: data[start:], start: start, line: line, size: len(data)})
	}
	return chunks
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// isSeparator reports whether a line separates documents for kubectl. Not all such lines are markers for the parser. Of
// two in a row, the second is part of a document for kubectl.
func isSeparator(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	return ok && isBlank(bytes.TrimSpace(rest))
}

// isBlank reports whether a text has only white space, comments and directives. What ends at a line feed may be several
// lines for the parser.
func isBlank(text []byte) bool {
	for _, line := range lineBreak.Split(string(text), -1) {
		if line = strings.Trim(line, " \t"); line != "" && line[0] != '#' && line[0] != '%' {
			return false
		}
	}
	return true
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
	ends := append(starts[1:], len(c.text))
	line := c.line
	for i, start := range starts {
		object := c
		object.text, object.start, object.line = c.text[start:ends[i]], c.start+start, line
		objects = append(objects, object)
		line += bytes.Count(object.text, []byte("\n"))
	}
	return objects
}

// A lineReader returns at most one line per read. It therefore knows how far a parser has read.
type lineReader struct {
	text []byte
	at   int
}

func (r *lineReader) Read(p []byte) (int, error) {
	// Look no further than p reaches: one line may be the whole file, and is read in many parts.
	line := r.text[r.at:min(r.at+len(p), len(r.text))]
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
	text := c.text
	// As for kubectl, one carriage return before a line feed does not count, and the last line has a line feed.
	if bytes.Contains(text, []byte("\r\r\n")) {
		text = bytes.ReplaceAll(text, []byte("\r\r\n"), []byte("\r\n"))
	}
	if !bytes.HasSuffix(text, []byte("\n")) {
		text = append(slices.Clip(text), '\n')
	}
	root, err := c.parseFrom(bytes.NewReader(text), func() int { return 0 })
	if err != nil { // few texts are read again, line by line, to find out where
		lines := &lineReader{text: text}
		root, err = c.parseFrom(lines, lines.line)
	}
	if root != nil {
		c.tagTexts(root)
	}
	return root, err
}

// parseFrom parses the text that a reader returns. line returns the number of the line that was read last.
func (c chunk) parseFrom(reader io.Reader, line func() int) (*yaml.Node, *Error) {
	decoder := yaml.NewDecoder(reader)
	var document, more yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, c.syntaxError(err, line())
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &Error{
			Position: Position{Line: c.line + line()},
			Message:  "text after the end of the document; put a line with --- between documents",
		}
	}
	return document.Content[0], nil
}

// textTag matches the tag !, and an anchor before it. The parser drops that tag. For kubectl, it makes a scalar a text.
var textTag = regexp.MustCompile(`(?:&\S+\s+)?(!)(?:[\s,\[\]{}]|$)`)

// tagTexts gives the scalars with the tag ! below a node the tag of a text.
func (c chunk) tagTexts(root *yaml.Node) {
	if bytes.IndexByte(c.text, '!') < 0 {
		return
	}
	matches := textTag.FindAllSubmatchIndex(c.text, -1)
	if len(matches) == 0 {
		return
	}
	// The tagged value is the last one at its place: an empty value is where the next one begins.
	last := make(map[Position]*yaml.Node, len(matches))
	lines := lineOffsets(c.text)
	line, column, at := 0, 1, 0
	mark := func(offset int) {
		for line+1 < len(lines) && lines[line+1] <= offset {
			line++
			column, at = 1, lines[line]
		}
		column += utf8.RuneCount(c.text[at:offset])
		at = offset
		last[Position{line + 1, column}] = nil
	}
	for _, match := range matches {
		mark(match[0]) // what looks like an anchor may be the end of a text
		mark(match[2])
	}
	visit(root, func(n *yaml.Node) {
		if _, tagged := last[Position{n.Line, n.Column}]; tagged {
			last[Position{n.Line, n.Column}] = n
		}
	})
	for _, n := range last {
		if n != nil && n.Kind == yaml.ScalarNode && !isMerge(n) {
			n.Tag, n.Style = "!!str", n.Style|yaml.TaggedStyle
		}
	}
}

// visit calls do for a node and all nodes below it, in the order of the text.
func visit(n *yaml.Node, do func(*yaml.Node)) {
	do(n)
	for _, below := range n.Content {
		visit(below, do)
	}
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

var lineBreak = regexp.MustCompile("\r?\r\n|[\r\n\u0085\u2028\u2029]")

// lineOffsets returns the offsets of the lines as the parser counts lines: it accepts more characters as line breaks
// than editors do.
func lineOffsets(text []byte) []int {
	offsets := make([]int, 1, 1+bytes.Count(text, []byte("\n")))
	if !bytes.ContainsRune(text, '\r') && !hasOtherBreaks(text) { // nearly all texts, and faster
		for i, c := range text {
			if c == '\n' {
				offsets = append(offsets, i+1)
			}
		}
		return offsets
	}
	for _, match := range lineBreak.FindAllIndex(text, -1) {
		offsets = append(offsets, match[1])
	}
	return offsets
}

// document parses and reads the chunk. If the chunk is empty, it returns neither a document nor an error. room is how
// many bytes aliases may still add to the values of the file; document reduces it by what they add. document does not
// parse a chunk of which nothing but the apiVersion and the kind matters, by isUnread; nil stands for none.
func (c chunk) document(room *int, isUnread func(apiVersion, kind string) bool) (*Document, *Error) {
	if isUnread != nil {
		if content := c.skim(isUnread); content != nil {
			return &Document{chunk: c, Content: content}, nil
		}
	}
	if content := c.json(); content != nil {
		return &Document{chunk: c, Content: content}, nil
	}
	if content := c.plain(); content != nil {
		return &Document{chunk: c, Content: content}, nil
	}
	root, err := c.parse()
	if err != nil {
		return nil, err
	}
	return c.read(root, room)
}

// read returns the document with that root, or nil if it is empty.
func (c chunk) read(root *yaml.Node, room *int) (d *Document, err *Error) {
	if root == nil || root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind == yaml.ScalarNode && isCommented(root) && looksLikeKubernetes(c.text) {
		reader := converter{chunk: c}
		return nil, reader.errorf(root, "%v", errComment)
	}
	if root.Kind == yaml.SequenceNode && slices.ContainsFunc(root.Content, isJudgedObject) {
		reader := converter{chunk: c}
		return nil, reader.errorf(root, "kubectl reads no list of objects; write kind: List, and the objects under items")
	}
	d = &Document{chunk: c, Content: c.json()}
	if d.Content == nil && root.Kind == yaml.MappingNode {
		reader := converter{chunk: c, open: map[*yaml.Node]bool{}, room: room}
		d.Content, err = reader.mapping(root, 0)
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// isJudgedObject reports whether a value has the apiVersion and the kind of a judged object.
func isJudgedObject(n *yaml.Node) bool {
	var apiVersion, kind string
	if n = written(n); n.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i < len(n.Content); i += 2 {
		switch n.Content[i].Value {
		case "apiVersion":
			apiVersion = written(n.Content[i+1]).Value
		case "kind":
			kind = written(n.Content[i+1]).Value
		}
	}
	return policies.Judged(apiVersion, kind)
}

// json returns the content of the chunk if it is a JSON object, with nothing but comments after it, and without a key
// that is set twice. Otherwise it returns nil. It takes a fraction of the memory that nodes take.
func (c chunk) json() map[string]any {
	if !c.isJSON {
		return nil
	}
	var object json.RawMessage
	decoder := json.NewDecoder(bytes.NewReader(c.text))
	if err := decoder.Decode(&object); err != nil || object[0] != '{' {
		return nil
	}
	if !isBlank(c.text[decoder.InputOffset():]) {
		return nil
	}
	var content map[string]any
	if twice, err := kjson.UnmarshalStrict(object, &content); err != nil || len(twice) > 0 {
		return nil
	}
	return wholeNumbers(content).(map[string]any)
}

// wholeNumbers replaces the numbers in a value that JSON encodes without a fraction or an exponent, such as 1.0, by
// integers. It changes the value.
func wholeNumbers(value any) any {
	switch value := value.(type) {
	case float64:
		if i, err := strconv.ParseInt(strconv.FormatFloat(value, 'f', -1, 64), 10, 64); err == nil {
			return i
		}
	case []any:
		for i := range value {
			value[i] = wholeNumbers(value[i])
		}
	case map[string]any:
		for key := range value {
			value[key] = wholeNumbers(value[key])
		}
	}
	return value
}

// A converter turns the nodes of one document into values.
type converter struct {
	chunk  chunk
	open   map[*yaml.Node]bool // anchored nodes whose expansion is in progress
	within *yaml.Node          // the outermost alias whose expansion is in progress, or nil
	room   *int                // bytes that aliases may still add to the values of the file
}

func (c *converter) errorf(n *yaml.Node, format string, args ...any) *Error {
	return &Error{Position: position(c.chunk.lineStarts(), n), Message: fmt.Sprintf(format, args...)}
}

func (c *converter) value(n *yaml.Node, depth int) (value any, err *Error) {
	if err := c.enter(n, depth); err != nil {
		return nil, err
	}
	switch n.Kind {
	case yaml.AliasNode:
		err = c.expand(n, func(anchored *yaml.Node) (err *Error) {
			value, err = c.value(anchored, depth+1)
			return err
		})
		return value, err
	case yaml.MappingNode:
		return c.mapping(n, depth)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			if list[i], err = c.value(item, depth+1); err != nil {
				return nil, err
			}
		}
		return list, nil
	default:
		return c.scalar(n)
	}
}

// enter checks that a value may be read: that it is not nested too deep and that aliases do not expand to too much.
func (c *converter) enter(n *yaml.Node, depth int) *Error {
	if depth > maxDepth {
		return c.errorf(n, "values are nested deeper than %d levels; flatten them", maxDepth)
	}
	if c.within == nil {
		return nil
	}
	return c.spend(c.within, size(n))
}

// spend counts the bytes that an alias adds.
func (c *converter) spend(alias *yaml.Node, size int) *Error {
	if *c.room -= size; *c.room < 0 {
		return c.errorf(alias, "the aliases of this file expand to more than %d MiB; write the values out",
			roomForAliases(c.chunk.size)>>20)
	}
	return nil
}

// size returns about how many bytes of memory a value takes without the values in it. Texts and keys count although
// each copy of a value refers to the same ones: as soon as the copies are encoded, each has its own.
func size(n *yaml.Node) int {
	const slot, text, list, mapping, group, groupSize = 16, 16, 24, 48, 288, 8 // as Go lays out values
	switch n.Kind {
	case yaml.ScalarNode:
		return slot + text + len(n.Value)
	case yaml.SequenceNode:
		return slot + list
	case yaml.MappingNode:
		total := slot + mapping + (len(n.Content)/2+groupSize-1)/groupSize*group
		for i := 0; i < len(n.Content); i += 2 {
			total += len(written(n.Content[i]).Value)
		}
		return total
	default:
		return slot
	}
}

// expand calls read with the node that an alias refers to. It returns an error if the node contains the alias.
func (c *converter) expand(alias *yaml.Node, read func(anchored *yaml.Node) *Error) *Error {
	if c.open[alias.Alias] {
		return c.errorf(alias, "anchor %q contains itself; write the value out", alias.Value)
	}
	c.open[alias.Alias] = true
	defer delete(c.open, alias.Alias)
	if c.within == nil {
		c.within = alias
		defer func() { c.within = nil }()
	}
	return read(alias.Alias)
}

func (c *converter) mapping(n *yaml.Node, depth int) (map[string]any, *Error) {
	m := make(map[string]any, len(n.Content)/2)
	if err := c.set(m, n, depth); err != nil {
		return nil, err
	}
	return m, nil
}

// set sets the entries of a mapping in m. As for kubectl, a merge key wins over the keys before it, and the keys after
// it win over the merge key. In the YAML specification all keys win.
func (c *converter) set(m map[string]any, n *yaml.Node, depth int) *Error {
	own := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if isMerge(key) {
			if err := c.merge(m, value, depth+1); err != nil {
				return err
			}
			continue
		}
		name, err := keyName(key)
		if err != nil {
			return c.errorf(key, "%v", err)
		}
		if key.Kind == yaml.AliasNode && c.within == nil {
			if err := c.spend(key, len(name)); err != nil {
				return err
			}
		}
		if first := own[name]; first != nil {
			return c.errorf(key, "key %q is set twice, first on line %d; remove one",
				name, position(c.chunk.lineStarts(), first).Line)
		}
		own[name] = key
		var problem *Error
		if m[name], problem = c.value(value, depth+1); problem != nil {
			return problem
		}
	}
	return nil
}

// merge sets the entries that the value of a merge key brings in m. Of a list of mappings, the first ones win.
func (c *converter) merge(m map[string]any, n *yaml.Node, depth int) *Error {
	if err := c.enter(n, depth); err != nil {
		return err
	}
	switch n.Kind {
	case yaml.AliasNode:
		return c.expand(n, func(anchored *yaml.Node) *Error { return c.merge(m, anchored, depth+1) })
	case yaml.MappingNode:
		return c.set(m, n, depth)
	case yaml.SequenceNode:
		for _, source := range slices.Backward(n.Content) {
			if written(source).Kind == yaml.SequenceNode {
				return c.errorf(source, notMergeable)
			}
			if err := c.merge(m, source, depth+1); err != nil {
				return err
			}
		}
		return nil
	default:
		return c.errorf(n, notMergeable)
	}
}

const notMergeable = "a merge key takes a mapping or a list of mappings; correct its value"

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
		return wholeNumbers(v), nil
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
	case "!!int":
		if signedOctal.MatchString(n.Value) {
			return n.Value, nil // kubectl reads -0o7 as a number, but not 0o-7
		}
	case "!!null", "!!float", "!!binary":
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

var signedOctal = regexp.MustCompile(`^0_*o_*[-+]`)

// validUTF8 replaces each byte that is not valid in JSON. Only !!binary can produce such bytes.
func validUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}

// keyName returns a key as a string, which is what JSON needs.
func keyName(n *yaml.Node) (string, error) {
	n = written(n)
	if n.Kind != yaml.ScalarNode {
		return "", errors.New("a key must be a string, not a list or a mapping; quote it")
	}
	if isCommented(n) {
		return "", errComment
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

var errComment = errors.New("JSON has no comments, and for YAML this is text; remove it")

// isCommented reports whether a text begins with a comment of JavaScript, which some readers of JSON allow. For YAML it
// is a part of the key, or of the document, that follows it.
func isCommented(n *yaml.Node) bool {
	isPlain := n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	begins := strings.HasPrefix(n.Value, "//") || strings.HasPrefix(n.Value, "/*")
	return isPlain && begins && strings.ContainsAny(n.Value, "\"{")
}

func isMerge(key *yaml.Node) bool { return key.Tag == "!!merge" && key.Value == "<<" }

// written returns the node that an alias refers to. It returns any other node itself.
func written(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// element returns the index of an element of a list, or -1 if the token is not a valid index.
func element(list *yaml.Node, token string) int {
	i, err := strconv.Atoi(token)
	if err != nil || i < 0 || i >= len(list.Content) || strconv.Itoa(i) != token {
		return -1
	}
	return i
}

// A slot is the place of a value: container.Content[i].
type slot struct {
	container *yaml.Node
	i         int
}

func (s slot) value() *yaml.Node { return s.container.Content[s.i] }

// place returns the node that marks the place of the value: its key in a mapping, or the value itself in a list.
func (s slot) place() *yaml.Node {
	if s.container.Kind == yaml.MappingNode {
		return s.container.Content[s.i-1]
	}
	return s.value()
}

// child returns the slot that one token of a JSON Pointer selects in a value, or the zero slot if there is none. The
// slot is in another container if the value comes from an alias or a merge key.
func child(n *yaml.Node, token string) slot {
	n = written(n)
	switch n.Kind {
	case yaml.SequenceNode:
		if i := element(n, token); i >= 0 {
			return slot{n, i}
		}
	case yaml.MappingNode:
		// The last entry that sets the key wins. See converter.set.
		for i := len(n.Content) - 2; i >= 0; i -= 2 {
			if key := n.Content[i]; isMerge(key) {
				if s := inherited(n.Content[i+1], token); s.container != nil {
					return s
				}
			} else if name, err := keyName(key); err == nil && name == token {
				return slot{n, i + 1}
			}
		}
	}
	return slot{}
}

// inherited returns what child returns for the mappings that the value of a merge key brings. See converter.merge.
func inherited(merge *yaml.Node, token string) slot {
	merge = written(merge)
	if merge.Kind != yaml.SequenceNode {
		return child(merge, token)
	}
	for _, source := range merge.Content {
		if s := child(source, token); s.container != nil {
			return s
		}
	}
	return slot{}
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
