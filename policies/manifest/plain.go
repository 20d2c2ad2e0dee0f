package manifest

import (
	"bytes"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// plain reads a document in the form that most manifests have: mappings and lists in block style, with a value of one
// line at each of their leaves. It takes a small part of the time and memory that the parser takes.
//
// It returns nil for all other documents, which the parser must read: those with anything that plain does not know,
// such as an anchor, a tag, a text of several lines, or a fault. So nothing that it accepts can be ambiguous.
func (c chunk) plain() map[string]any {
	r := &plainReader{chunk: c, keeps: true}
	content, ok := r.document(nil)
	if !ok {
		return nil
	}
	return content
}

// plainPlace returns the place of the value at a path, by the rules of Document.Position. It returns false if plain
// does not read the document.
func (c chunk) plainPlace(path []string) (Position, bool) {
	r := &plainReader{chunk: c}
	_, ok := r.document(path)
	return r.place, ok
}

// isComment reports whether a text that begins with no space is empty or a comment.
func isComment(text []byte) bool { return len(text) == 0 || text[0] == '#' }

// plainReader reads one document for plain.
type plainReader struct {
	chunk chunk
	// line is the text of the current line from column on, without the space around it. It is nil at the end.
	line []byte
	// column is where the text begins, counted from 0. number is the number of the line in the file.
	column, number int
	left           []byte // what comes after the current line
	// keeps is true if the values are returned, and false if only their places matter. Then a key may be set twice.
	keeps bool
	// place is that of the deepest value on the path that was found.
	place Position
}

// document reads the document. path leads to the value whose place is searched.
func (r *plainReader) document(path []string) (map[string]any, bool) {
	for _, char := range r.chunk.text {
		if char < ' ' && char != '\n' || char > '~' || char == '!' {
			return nil, false
		}
	}
	r.left, r.number = r.chunk.text, r.chunk.line
	r.next()
	if after, isMarked := bytes.CutPrefix(r.line, []byte("---")); isMarked && r.column == 0 {
		if len(after) > 0 && after[0] != ' ' || !isComment(bytes.TrimLeft(after, " ")) {
			return nil, false
		}
		r.next()
	}
	if r.line == nil {
		return nil, false
	}
	r.place = Position{Line: r.number, Column: r.column + 1}
	content, ok := r.mapping(r.column, path)
	return content, ok && r.line == nil
}

// maxColumn is the column up to which plain reads values, so that it does not nest calls too deep.
const maxColumn = 200

// next goes to the next line that is neither empty nor a comment.
func (r *plainReader) next() {
	for len(r.left) > 0 {
		var line []byte
		line, r.left, _ = bytes.Cut(r.left, []byte("\n"))
		r.number++
		r.line = bytes.TrimLeft(line, " ")
		r.column = len(line) - len(r.line)
		if r.line = bytes.TrimRight(r.line, " "); !isComment(r.line) {
			return
		}
	}
	r.line, r.column = nil, 0
}

// mapping reads a mapping with its keys at a column. path leads from it to the value that is searched; it is empty if
// that value is not below it. mapping returns false for what plain does not know, like all methods that it calls.
func (r *plainReader) mapping(column int, path []string) (map[string]any, bool) {
	if column > maxColumn {
		return nil, false
	}
	var content map[string]any
	if r.keeps {
		content = map[string]any{}
	}
	for r.line != nil && r.column == column && !r.atElement() {
		name, text, ok := plainKey(r.line)
		if _, again := content[name]; !ok || again {
			return nil, false
		}
		var below []string
		if len(path) > 0 && path[0] == name {
			below, r.place = path[1:], Position{Line: r.number, Column: column + 1}
		}
		value, ok := r.value(text, column, below)
		if !ok {
			return nil, false
		}
		if r.keeps {
			content[name] = value
		}
	}
	return content, r.column <= column
}

// value reads the value of a key at a column. text is what the line of the key holds of it.
func (r *plainReader) value(text []byte, column int, path []string) (any, bool) {
	if text != nil {
		value, ok := r.scalar(text)
		r.next()
		return value, ok
	}
	switch r.next(); {
	case r.line != nil && r.column >= column && r.atElement():
		return r.list(r.column, path)
	case r.line != nil && r.column > column:
		return r.mapping(r.column, path)
	}
	return nil, true
}

// atElement reports whether the current line begins an element of a list.
func (r *plainReader) atElement() bool { return bytes.HasPrefix(r.line, []byte("- ")) }

// list reads a list with its hyphens at a column.
func (r *plainReader) list(column int, path []string) ([]any, bool) {
	content := []any{}
	for i := 0; r.line != nil && r.column == column && r.atElement(); i++ {
		value := bytes.TrimLeft(r.line[len("-"):], " ")
		r.column += len(r.line) - len(value)
		r.line = value
		var below []string
		if len(path) > 0 && path[0] == strconv.Itoa(i) {
			below, r.place = path[1:], Position{Line: r.number, Column: r.column + 1}
		}
		var element any
		var ok bool
		if _, _, isKey := plainKey(value); isKey {
			element, ok = r.mapping(r.column, below)
		} else {
			element, ok = r.scalar(value)
			r.next()
		}
		if !ok {
			return nil, false
		}
		if r.keeps {
			content = append(content, element)
		}
	}
	return content, r.column <= column
}

// plainKey splits a line into a key and the text of its value, which is nil if it is not on the line. It returns false
// if the line does not begin with a key that is known to be a text.
func plainKey(line []byte) (name string, value []byte, ok bool) {
	const longest = 256
	key, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(value) > 0 && value[0] != ' ' || len(key) > longest || !isPlainText(key) {
		return "", nil, false
	}
	for _, char := range key {
		if !isWordChar(char) && char != '.' && char != '/' && char != '-' {
			return "", nil, false
		}
	}
	if value = bytes.TrimLeft(value, " "); isComment(value) {
		return string(key), nil, true
	}
	return string(key), value, true
}

func isLetter(char byte) bool   { return 'a' <= char|' ' && char|' ' <= 'z' }
func isDigit(char byte) bool    { return '0' <= char && char <= '9' }
func isWordChar(char byte) bool { return isLetter(char) || isDigit(char) || char == '_' }

// isPlainText reports whether a scalar without quotes begins with a letter and is a text, and not a word such as true.
func isPlainText(scalar []byte) bool {
	if len(scalar) == 0 || !isLetter(scalar[0]) {
		return false
	}
	const longestWord = "false"
	return len(scalar) > len(longestWord) || !isWord(string(bytes.ToLower(scalar)))
}

// isWord reports whether a scalar without quotes stands for a value that is not a text. Not all spellings do.
func isWord(scalar string) bool {
	switch scalar {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return true
	}
	return false
}

// scalar reads a scalar, or an empty list or mapping, that fills the rest of a line, apart from a comment.
func (r *plainReader) scalar(text []byte) (any, bool) {
	switch first := text[0]; {
	case first == '"' || first == '\'':
		quoted, after, ok := bytes.Cut(text[1:], text[:1])
		isAll := len(after) == 0 || after[0] == ' ' && isComment(bytes.TrimLeft(after, " "))
		return string(quoted), ok && isAll && bytes.IndexByte(quoted, '\\') < 0
	case string(text) == "[]":
		return []any{}, true
	case string(text) == "{}":
		return map[string]any{}, true
	case !isWordChar(first) && bytes.IndexByte([]byte("./$+~"), first) < 0 &&
		(first != '-' || len(text) == 1 || !isWordChar(text[1])):
		return nil, false
	}
	if comment := bytes.Index(text, []byte(" #")); comment >= 0 {
		text = bytes.TrimRight(text[:comment], " ")
	}
	if text[len(text)-1] == ':' || bytes.Contains(text, []byte(": ")) {
		return nil, false
	}
	if isPlainText(text) {
		return string(text), true
	}
	const mostDigits = 18 // of any number of 64 bits
	if isDigit(text[0]) && (text[0] != '0' || len(text) == 1) && len(text) <= mostDigits {
		if number, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			return number, true
		}
	}
	reader := converter{chunk: r.chunk}
	value, err := reader.scalar(&yaml.Node{Kind: yaml.ScalarNode, Value: string(text)})
	return value, err == nil
}
