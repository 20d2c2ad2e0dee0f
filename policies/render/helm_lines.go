package render

import (
	"sort"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
)

// The text that a template renders does not say where it comes from. So a chart is rendered a second time, with markers
// in its templates: actions that write the number of the line from which the text after them comes. An action can run
// other templates, whose text may be hashed or parsed before it is written. Therefore nothing is marked inside an
// action, and all that it writes comes from its own line.
const (
	markText  = "mark_text"
	markOpen  = "mark_open"
	markClose = "mark_close"

	// markBegin and markEnd enclose a number in what is rendered. YAML allows neither in its text.
	markBegin = "\x01"
	markEnd   = "\x02"
)

// markers returns the functions that marked templates call.
func markers() template.FuncMap {
	depth := 0 // how many actions are running
	mark := func(line int) string {
		if depth > 0 {
			return ""
		}
		return markBegin + strconv.Itoa(line) + markEnd
	}
	return template.FuncMap{
		markText: mark,
		markOpen: func(line int) string {
			marker := mark(line)
			depth++
			return marker
		},
		markClose: func() string {
			depth--
			return mark(0)
		},
	}
}

// markTemplate returns source with markers, or without any if that is not possible.
func markTemplate(source string) string {
	root, err := parseTemplate(source)
	if err != nil || strings.ContainsAny(source, markBegin+markEnd) {
		return source
	}
	m := marking{source: source}
	for i := range len(source) {
		if source[i] == '\n' {
			m.newlines = append(m.newlines, i)
		}
	}
	m.list(root)
	var text strings.Builder
	written := 0
	for _, marker := range m.markers {
		text.WriteString(source[written:marker.offset] + marker.text)
		written = marker.offset
	}
	text.WriteString(source[written:])
	if _, err := parseTemplate(text.String()); err != nil || m.isLost {
		return source
	}
	return text.String()
}

// parseTemplate returns what source holds outside its definitions.
func parseTemplate(source string) (*parse.ListNode, error) {
	tree := parse.New("")
	tree.Mode = parse.SkipFuncCheck
	if _, err := tree.Parse(source, "", "", map[string]*parse.Tree{}); err != nil {
		return nil, err
	}
	return tree.Root, nil
}

// marking collects the markers of a template.
type marking struct {
	source   string
	newlines []int
	markers  []marker
	// isLost is set when the nodes of the template are not where they should be.
	isLost bool
}

type marker struct {
	offset int
	text   string
}

func (m *marking) line(offset int) int { return sort.SearchInts(m.newlines, offset) + 1 }

func (m *marking) add(offset int, text string) { m.markers = append(m.markers, marker{offset, text}) }

func (m *marking) list(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, node := range list.Nodes {
		switch node := node.(type) {
		case *parse.TextNode:
			m.text(int(node.Pos), string(node.Text))
		case *parse.ActionNode:
			m.action(int(node.Pos))
		case *parse.TemplateNode:
			m.action(int(node.Pos))
		case *parse.IfNode:
			m.list(node.List)
			m.list(node.ElseList)
		case *parse.RangeNode:
			m.list(node.List)
			m.list(node.ElseList)
		case *parse.WithNode:
			m.list(node.List)
			m.list(node.ElseList)
		}
	}
}

const blank = " \t\r"

// text marks the first character of each line of text that is not blank.
func (m *marking) text(offset int, text string) {
	if !strings.HasPrefix(m.source[offset:], text) {
		m.isLost = true
		return
	}
	for line := range strings.Lines(text) {
		indent := len(line) - len(strings.TrimLeft(line, blank))
		if indent < len(line) && line[indent] != '\n' {
			m.add(offset+indent, "{{"+markText+" "+strconv.Itoa(m.line(offset+indent))+"}}")
		}
		offset += len(line)
	}
}

// action encloses the action that holds offset in markers. They trim the spaces around them as the action itself does.
func (m *marking) action(offset int) {
	begin := strings.LastIndex(m.source[:offset], "{{")
	if begin < 0 {
		m.isLost = true
		return
	}
	left, right := "{{", "}}"
	head := m.source[begin+len(left) : offset]
	if strings.HasPrefix(head, "-") {
		left = "{{- "
	}
	if strings.Contains(head, "block") {
		// What it writes ends at the end of another action, and so nothing is known of it.
		m.add(begin, left+markText+" 0"+right)
		return
	}
	end := actionEnd(m.source, offset)
	if end < 0 {
		m.isLost = true
		return
	}
	m.add(begin, left+markOpen+" "+strconv.Itoa(m.line(begin))+"}}")
	if tail := m.source[offset : end-len(right)]; strings.HasSuffix(tail, "-") {
		right = " -}}"
	}
	m.add(end, "{{"+markClose+right)
}

// actionEnd returns the offset after the action that holds offset, which is outside its strings, or -1.
func actionEnd(source string, offset int) int {
	for i := offset; i < len(source); i++ {
		switch c := source[i]; c {
		case '"', '\'', '`':
			for i++; i < len(source) && source[i] != c; i++ {
				if source[i] == '\\' && c != '`' {
					i++
				}
			}
		case '}':
			if strings.HasPrefix(source[i:], "}}") {
				return i + len("}}")
			}
		}
	}
	return -1
}

// origin says from which lines of a template the text comes that it renders. The zero value knows of no line.
type origin struct {
	changes []change
	// The marked text is known to be the same as the other one only before the offset same and from the offset again on,
	// where it is shift bytes further.
	same, again, shift int
}

// change says that text from offset on comes from line. It comes from no known line if that is 0.
type change struct{ offset, line int }

// traced returns the origin of text, of which marked is the rendering with markers.
func traced(text, marked string) origin {
	if strings.ContainsAny(text, markBegin+markEnd) {
		return origin{}
	}
	var o origin
	var unmarked strings.Builder
	for rest := marked; rest != ""; {
		before, after, isMarked := strings.Cut(rest, markBegin)
		unmarked.WriteString(before)
		if !isMarked {
			break
		}
		number, after, _ := strings.Cut(after, markEnd)
		line, err := strconv.Atoi(number)
		if err != nil {
			return origin{} // the chart has cut off a marker
		}
		o.changes = append(o.changes, change{unmarked.Len(), line})
		rest = after
	}
	o.align(text, unmarked.String())
	return o
}

// align finds out where text and the other text are the same: in whole lines at their beginnings and ends. They differ
// in between if a chart depends on the text of its own templates otherwise than in an action.
func (o *origin) align(text, other string) {
	o.same, o.again = len(text), len(text)
	if text == other {
		return
	}
	shorter := min(len(text), len(other))
	for o.same = 0; o.same < shorter && text[o.same] == other[o.same]; {
		o.same++
	}
	o.same = strings.LastIndexByte(text[:o.same], '\n') + 1
	o.shift = len(other) - len(text)
	for o.again > o.same && o.again+o.shift > o.same && text[o.again-1] == other[o.again+o.shift-1] {
		o.again--
	}
	newline := strings.IndexByte(text[o.again:], '\n')
	if newline < 0 {
		o.again = len(text)
		return
	}
	o.again += newline + 1
}

// line returns the line from which the text at offset comes, or 0 if that is not known.
func (o *origin) line(offset int) int {
	if offset >= o.again {
		offset += o.shift
	} else if offset >= o.same {
		return 0
	}
	i := sort.Search(len(o.changes), func(i int) bool { return o.changes[i].offset > offset })
	if i == 0 {
		return 0
	}
	return o.changes[i-1].line
}

// lines returns for each line of text, which is at offset, the line from which its first character comes that is not
// blank, or 0.
func (o *origin) lines(offset int, text string) []int {
	var lines []int
	for line := range strings.Lines(text) {
		number := 0
		if indent := len(line) - len(strings.TrimLeft(line, blank)); indent < len(line) && line[indent] != '\n' {
			number = o.line(offset + indent)
		}
		lines = append(lines, number)
		offset += len(line)
	}
	return lines
}
