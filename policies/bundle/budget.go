package bundle

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/topdown/builtins"
	"go.yaml.in/yaml/v3"

	"github.com/sourceward/sourceward/policies"
)

const (
	// maxBuilt bounds what the built-in functions build in one evaluation of a policy's modules: the memory of all their
	// results together, as it is estimated. OPA stops an evaluation between two steps only, and a call is one step. The
	// container has 768 MiB, of which requests in flight may take 320, and a child that compiles 256. The usual
	// evaluation builds some kilobytes, and the largest annotation has 256 KiB, which takes up to 16 MiB if it is split
	// into single characters.
	maxBuilt = 32 << 20
	// free is how much of each result the budget does not count, in bytes: as much as a step of another kind builds, so
	// that the time bounds how often.
	free = 256
	// maxInstructions bounds a regular expression, in instructions of its program. One takes about 100 bytes, and OPA
	// keeps the last hundred expressions of the process.
	maxInstructions = 8 << 10
	// maxMatching bounds the instructions of a regular expression times the bytes of the text: the time for a match is
	// proportional to that. The bound is an expression of a thousand instructions and the largest annotation.
	maxMatching = 1 << 28
	// maxDigits bounds numbers, in decimal digits: the time to read one is proportional to their square.
	maxDigits = 64 << 10
)

// What values take in memory, in bytes, as measured with OPA v1.22.0. A value in a list takes a term, a header and two
// places in the list. A list, set or object takes a container more.
const (
	perElement   = 64
	perEntry     = 160 // an element of a set, or a key of an object with its value
	perContainer = 160
)

// call is one call of a built-in function.
type call struct {
	args []*ast.Term
	// left is how much may be built, in bytes.
	left int64
	// prints is true if someone reads the output of print.
	prints bool
}

// estimate returns an upper bound of what a call builds, in bytes. It must take much less time than the call itself:
// it may stop once it has more than c.left. The error is non-nil if the call is not possible for another reason. Of
// arguments that the function itself refuses it returns anything.
type estimate func(c call) (int64, error)

// estimates holds the estimate of each function that modules can call and whose results can be much larger than its
// arguments, at once or by calls of calls. The results of the others are at most as large as their arguments, or have
// a fixed size. Functions without a useful bound are not available at all: unbounded lists them.
var estimates = map[string]estimate{
	// Texts of a text, with the largest factor for one of its bytes.
	"base64.encode":           textOf(2),
	"base64url.encode":        textOf(2),
	"base64url.encode_no_pad": textOf(2),
	"base64.decode":           textOf(1),
	"base64url.decode":        textOf(1),
	"hex.encode":              textOf(2),
	"hex.decode":              textOf(1),
	"urlquery.encode":         textOf(3),
	"urlquery.decode":         textOf(1),
	"glob.quote_meta":         textOf(2),
	"lower":                   textOf(3), // of a byte that is not UTF-8
	"upper":                   textOf(3),
	"substring":               textOf(5), // the runes and the text
	"strings.reverse":         textOf(1),

	// Texts of several values.
	"concat":                    call.joined,
	"replace":                   call.replaced,
	"strings.replace_n":         call.replacedAll,
	"sprintf":                   call.formatted,
	"internal.template_string":  call.interpolated,
	"internal.print":            call.printed,
	"json.marshal":              marshaled(1),
	"yaml.marshal":              marshaled(4), // with the indentation, and the nodes of the YAML
	"json.marshal_with_options": call.indented,
	"urlquery.encode_object":    marshaled(3),

	// Values of a text.
	"json.unmarshal":         call.parsedJSON,
	"yaml.unmarshal":         call.parsedYAML,
	"yaml.is_valid":          call.parsedYAML,
	"split":                  call.split,
	"strings.split_n":        call.split,
	"indexof_n":              call.found,
	"urlquery.decode_object": call.query,

	// Regular expressions.
	"regex.match":                      call.matched,
	"re_match":                         call.matched,
	"regex.is_valid":                   call.matched,
	"regex.template_match":             call.matched,
	"regex.split":                      eachMatch(0, 1, 220, 0),
	"regex.find_n":                     eachMatch(0, 1, 160, 0),
	"regex.find_all_string_submatch_n": eachMatch(0, 1, 320, 160),
	"regex.replace":                    eachMatch(1, 0, 128, 32),

	// Numbers.
	"to_number":          call.number,
	"units.parse":        call.number,
	"units.parse_bytes":  call.number,
	"mul":                call.multiplied,
	"product":            call.multiplied,
	"format_int":         call.inBase,
	"numbers.range":      call.counted,
	"numbers.range_step": call.counted,

	// Lists, sets and objects of the members of others.
	"array.concat":  call.members,
	"array.reverse": call.members,
	"array.flatten": call.nested,
	"sort":          call.members,
	"union":         call.nested,
	"or":            call.members,
	"object.keys":   call.members,
	"object.remove": call.members,
	"object.filter": call.members,

	// Functions that visit their arguments with all that is below them, or copy that.
	"object.union":              call.merged,
	"object.union_n":            whole(0, 1),
	"object.subset":             whole(1, 1),
	"json.filter":               call.paths,
	"json.remove":               call.paths,
	"json.patch":                whole(0, 4),
	"strings.any_prefix_match":  whole(0, 1),
	"strings.any_suffix_match":  whole(0, 1),
	"net.cidr_merge":            whole(0, 2),
	"net.cidr_contains_matches": call.pairs,

	// Functions of a time.
	"time.format":   inUTC(call.layout),
	"time.clock":    inUTC(call.nothing),
	"time.date":     inUTC(call.nothing),
	"time.weekday":  inUTC(call.nothing),
	"time.add_date": inUTC(call.nothing),
	"time.diff":     inUTC(call.nothing),
}

// limitBuiltins makes OPA call the functions of estimates within a budget. This is the only global registration of
// Sourceward: OPA v1.22.0 has no other way, since functions that are given to a query never replace its own
// (v1/topdown/eval.go, builtinFunc). It must be called before the first evaluation.
var limitBuiltins = sync.OnceFunc(func() {
	for name, of := range estimates {
		// Without this, OPA would call some functions without the context, where the budget is.
		ast.BuiltinMap[name].CanSkipBctx = false
		topdown.RegisterBuiltinFunc(name, limited(name, topdown.GetBuiltin(name), of))
	}
})

type budgetKey struct{}

// withBudget returns a context for one evaluation, in which the built-in functions build at most maxBuilt. In another
// context, such as that of OPA's test runner, which evaluates all tests in one, each call by itself is bounded so.
func withBudget(ctx context.Context) context.Context {
	left := int64(maxBuilt)
	return context.WithValue(ctx, budgetKey{}, &left)
}

// limited returns a built-in function that refuses calls which build too much. The error ends the evaluation at once:
// after an ordinary error OPA would go on, and report it at the end.
func limited(name string, original topdown.BuiltinFunc, of estimate) topdown.BuiltinFunc {
	return func(bctx topdown.BuiltinContext, args []*ast.Term, iter func(*ast.Term) error) error {
		budget, ok := bctx.Context.Value(budgetKey{}).(*int64)
		if !ok {
			budget = new(int64(maxBuilt))
		}
		most, err := of(call{args, *budget, bctx.PrintHook != nil})
		if err == nil && most > *budget {
			err = fmt.Errorf("with this result the evaluation would build more than %d MiB; build shorter texts and lists",
				maxBuilt>>20)
		}
		if err != nil {
			message := name + ": " + err.Error()
			return topdown.Halt{Err: &topdown.Error{Code: topdown.BuiltinErr, Message: message, Location: bctx.Location}}
		}
		if most <= free {
			return original(bctx, args, iter)
		}
		return original(bctx, args, func(result *ast.Term) error {
			if result != nil {
				*budget -= max(0, size(result.Value, most)-free)
			}
			return iter(result)
		})
	}
}

// toJSON converts the answer of an evaluation to Go values, as OPA does, unless it is too large.
func toJSON(answer *ast.Term, _ *rego.EvalContext) (any, error) {
	if err := checkSize(answer); err != nil {
		return nil, err
	}
	return ast.JSONWithOpt(answer.Value, ast.JSONOpt{SortSets: true})
}

// checkSize returns an error if the answer of an evaluation is too large. A value that occurs many times in itself,
// [x, x] of [y, y] and so on, takes little memory only before it is converted or visited.
func checkSize(answer *ast.Term) error {
	if size(answer.Value, maxBuilt) >= maxBuilt {
		return fmt.Errorf("the answer is larger than %d MiB; give fewer or shorter members", maxBuilt>>20)
	}
	return nil
}

// size returns what a value takes in memory, with all that is below it, or more than enough if that is not less than
// limit. It does not look below a list that is too large by itself, since that would convert the parts of input.
func size(v ast.Value, limit int64) int64 {
	m := meter{left: limit}
	m.value(v, 0)
	return limit - m.left
}

// meter adds up what values take, until nothing is left.
type meter struct {
	left int64
	// quoted makes texts count as in JSON, where a byte can take six. line and level are what is written before each
	// value, and before that for each level.
	quoted      bool
	line, level int64
}

// value subtracts a value at a depth, and reports whether something is left.
func (m *meter) value(v ast.Value, depth int64) bool {
	m.left -= m.line + m.level*depth
	switch v := v.(type) {
	case ast.String:
		m.left -= perElement + int64(len(v))
		if m.quoted {
			m.left -= escapes(string(v))
		}
	case ast.Number:
		m.left -= perElement + int64(len(v))
	case *ast.Array:
		if m.container(int64(v.Len()) * perElement) {
			v.Until(func(t *ast.Term) bool { return !m.value(t.Value, depth+1) })
		}
	case ast.Set:
		if m.container(int64(v.Len()) * perEntry) {
			v.Until(func(t *ast.Term) bool { return !m.value(t.Value, depth+1) })
		}
	case ast.Object:
		if m.container(int64(v.Len()) * perEntry) {
			v.Until(func(k, t *ast.Term) bool { return !m.value(k.Value, depth+1) || !m.value(t.Value, depth+1) })
		}
	default:
		m.left -= perElement
	}
	return m.left > 0
}

func (m *meter) container(elements int64) bool {
	m.left -= perContainer + elements
	return m.left > 0
}

// escapes returns an upper bound of what the text takes more in quotes.
func escapes(text string) int64 {
	n := int64(0)
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			n += 5 // \u0001 and the like
		}
	}
	return n
}

// text returns the text of argument i, or "" if it is none.
func (c call) text(i int) string {
	if i >= len(c.args) {
		return ""
	}
	s, _ := c.args[i].Value.(ast.String)
	return string(s)
}

// eachOf calls f with each member of argument i, if it is a list or a set, until f returns true.
func (c call) eachOf(i int, f func(*ast.Term) bool) {
	if i < len(c.args) {
		if list, ok := c.args[i].Value.(interface {
			Until(f func(*ast.Term) bool) bool
		}); ok {
			list.Until(f)
		}
	}
}

// length returns the number of members of a list, set or object.
func length(v ast.Value) int64 {
	if v, ok := v.(interface{ Len() int }); ok {
		return int64(v.Len())
	}
	return 0
}

func (c call) nothing() (int64, error) { return 0, nil }

// textOf estimates functions that write each byte of a text as at most factor bytes.
func textOf(factor int64) estimate {
	return func(c call) (int64, error) { return perElement + factor*int64(len(c.text(0))), nil }
}

func (c call) joined() (int64, error) {
	separator, n := int64(len(c.text(0))), int64(perElement)
	c.eachOf(1, func(t *ast.Term) bool {
		s, _ := t.Value.(ast.String)
		n += separator + int64(len(s))
		return n > c.left
	})
	return n, nil
}

func (c call) replaced() (int64, error) {
	in, old, by := c.text(0), c.text(1), c.text(2)
	n := int64(len(in)) + perElement
	if more := int64(len(by) - len(old)); more > 0 {
		n += int64(strings.Count(in, old)) * more
	}
	return n, nil
}

func (c call) replacedAll() (int64, error) {
	const perPattern = 2200 // of the table to find them
	patterns, _ := c.args[0].Value.(ast.Object)
	in := c.text(1)
	n := int64(len(in)) + perElement
	if patterns == nil {
		return n, nil
	}
	n += length(patterns) * perPattern
	patterns.Until(func(k, v *ast.Term) bool {
		old, _ := k.Value.(ast.String)
		by, _ := v.Value.(ast.String)
		if more := int64(len(by) - len(old)); more > 0 {
			n += int64(strings.Count(in, string(old))) * more
		}
		return n > c.left
	})
	return n, nil
}

// written returns what a value takes as text within a text. A text takes its own length.
func (c call) written(t *ast.Term) int64 {
	switch v := t.Value.(type) {
	case ast.String:
		return int64(len(v))
	case ast.Number:
		return int64(len(v))
	case ast.Boolean, ast.Null:
		return perElement
	}
	m := meter{left: c.left, quoted: true}
	m.value(t.Value, 0)
	return c.left - m.left
}

// formatted estimates sprintf. Each verb takes its argument in the largest form, and what its width and precision say.
// Arguments that no verb takes are appended.
func (c call) formatted() (int64, error) {
	const (
		perVerb  = 400     // the name of a type with a complaint, or the digits of a float
		maxWidth = 1000000 // what package fmt accepts
	)
	format := c.text(0)
	n, largest := int64(len(format))+perElement, int64(0)
	var sizes []int64
	c.eachOf(1, func(arg *ast.Term) bool {
		size := c.written(arg) + perVerb
		sizes = append(sizes, size)
		largest = max(largest, size)
		n += size
		return n > c.left
	})
	// An index or a star changes which argument the next verb takes.
	next, inOrder := 0, true
	for rest := format; n <= c.left; {
		var found bool
		if _, rest, found = strings.Cut(rest, "%"); !found {
			break
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return !strings.ContainsRune("+-# 0123456789.*[]", r) })
		if end < 0 {
			break
		}
		flags, verb := rest[:end], rest[end]
		rest = rest[end:]
		if verb == '%' {
			rest = rest[1:]
			continue
		}
		inOrder = inOrder && !strings.ContainsAny(flags, "[*")
		of := largest
		if inOrder {
			of = perVerb
			if next < len(sizes) {
				of = sizes[next]
			}
			next++
		}
		if strings.IndexByte("qxXbo", verb) >= 0 {
			of *= 6
		}
		n += of + int64(strings.Count(flags, "*"))*maxWidth
		for number := range strings.FieldsFuncSeq(flags, func(r rune) bool { return r < '0' || r > '9' }) {
			width, ok := new(big.Int).SetString(number[:min(len(number), 8)], 10)
			if ok {
				n += min(width.Int64(), maxWidth)
			}
		}
	}
	return n, nil
}

func (c call) interpolated() (int64, error) {
	n := int64(perElement)
	c.eachOf(0, func(t *ast.Term) bool {
		if set, ok := t.Value.(ast.Set); ok && set.Len() == 1 {
			t = set.Slice()[0]
		}
		n += c.written(t)
		return n > c.left
	})
	return n, nil
}

// printed estimates print, which writes every combination of the members of its sets. Without a hook it does nothing.
func (c call) printed() (int64, error) {
	if !c.prints {
		return 0, nil
	}
	n := int64(1)
	c.eachOf(0, func(t *ast.Term) bool {
		if set, ok := t.Value.(ast.Set); ok {
			n *= int64(max(1, set.Len()))
		}
		return n > c.left
	})
	each, err := c.interpolated()
	return n * each, err
}

// marshaled estimates the text of a value, and what is between.
func marshaled(factor int64) estimate {
	return func(c call) (int64, error) {
		m := meter{left: c.left, quoted: true, level: 2 * (factor - 1)}
		m.value(c.args[0].Value, 0)
		return factor * (c.left - m.left), nil
	}
}

func (c call) indented() (int64, error) {
	m := meter{left: c.left, quoted: true, level: 1}
	if options, ok := c.args[1].Value.(ast.Object); ok {
		for key, of := range map[string]*int64{"prefix": &m.line, "indent": &m.level} {
			if t := options.Get(ast.StringTerm(key)); t != nil {
				s, _ := t.Value.(ast.String)
				*of = int64(len(s)) + 1
			}
		}
	}
	m.value(c.args[0].Value, 0)
	return c.left - m.left, nil
}

func (c call) parsedJSON() (int64, error) {
	const (
		perValue  = 140 // of a list, with what it takes before OPA has converted it
		perObject = 1000
	)
	in := c.text(0)
	values := strings.Count(in, ",") + strings.Count(in, "[") + strings.Count(in, ":")
	if err := checkDigits(longestNumber(in)); err != nil {
		return 0, err
	}
	return perElement + 2*int64(len(in)) + int64(values)*perValue + int64(strings.Count(in, "{"))*perObject, nil
}

// longestNumber returns the length of the longest run of digits in a text, if that may be too long for a number.
func longestNumber(in string) int64 {
	longest, begin := 0, -1
	if len(in) <= maxDigits {
		return 0
	}
	for i := range len(in) {
		if in[i] < '0' || in[i] > '9' {
			begin = i
		}
		longest = max(longest, i-begin)
	}
	return int64(longest)
}

func (c call) parsedYAML() (int64, error) {
	const (
		perValue  = 480 // with the nodes of the YAML and the JSON between
		perObject = 1500
	)
	in := c.text(0)
	values := strings.Count(in, ",") + strings.Count(in, "[") + strings.Count(in, ":") + strings.Count(in, "\n") +
		strings.Count(in, "- ") + strings.Count(in, "? ")
	n := perElement + 4*int64(len(in)) + int64(values)*perValue + int64(strings.Count(in, "{"))*perObject
	if err := checkDigits(longestNumber(in)); err != nil {
		return 0, err
	}
	hasAlias := strings.Contains(in, "&") && strings.Contains(in, "*")
	if n > c.left || !hasAlias && strings.Count(in, ":") <= maxKeys {
		return n, nil
	}
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(in), &document); err != nil {
		return n, nil //nolint:nilerr // The call reports it.
	}
	return n, checkYAML(&document)
}

// maxKeys bounds the keys of one object in YAML: the time to read it is proportional to their square.
const maxKeys = 4 << 10

// checkYAML returns an error for what takes much more than its text: an alias stands for a copy of what has the anchor.
func checkYAML(node *yaml.Node) error {
	switch {
	case node.Kind == yaml.AliasNode:
		return errors.New("the text has an alias (*); write out what it stands for")
	case node.Kind == yaml.MappingNode && len(node.Content) > 2*maxKeys:
		return fmt.Errorf("an object has more than %d keys; use JSON, or split it", maxKeys)
	}
	for _, child := range node.Content {
		if err := checkYAML(child); err != nil {
			return err
		}
	}
	return nil
}

// split estimates the parts of a text. The parts are parts of its memory.
func (c call) split() (int64, error) {
	parts := int64(strings.Count(c.text(0), c.text(1))) + 1
	if len(c.args) > 2 {
		n, isNumber := c.args[2].Value.(ast.Number)
		if most, ok := n.Int64(); isNumber && ok && most >= 0 {
			parts = min(parts, most)
		}
	}
	return perContainer + parts*perElement, nil
}

func (c call) found() (int64, error) {
	in, search := c.text(0), c.text(1)
	// Occurrences can overlap. A text that is not ASCII is converted.
	n := min(int64(len(in)), 2*int64(len(search))*int64(strings.Count(in, search)))
	return perContainer + n*perElement*2 + 4*int64(len(in)), nil
}

func (c call) query() (int64, error) {
	const perParameter = 400
	in := c.text(0)
	return perContainer + int64(len(in)) + int64(strings.Count(in, "&")+1)*perParameter, nil
}

// checkPattern returns an error if a regular expression is too large by itself, or for a text. Most expressions are so
// short that they need not be parsed for that.
func checkPattern(pattern, text string) error {
	// One character takes at most two instructions, and package regexp repeats nothing more than a thousand times.
	most := int64(2*len(pattern) + 2)
	for _, after := range strings.Split(pattern, "{")[1:] {
		if end := strings.IndexByte(after, '}'); end > 0 {
			times, _ := strconv.Atoi(after[strings.IndexByte(after[:end], ',')+1 : end])
			low, _ := strconv.Atoi(strings.TrimSuffix(after[:end], ","))
			most *= int64(min(1000, max(1, times, low)))
		}
		most = min(most, math.MaxInt32)
	}
	const perClass = 50 // \pL has hundreds of ranges
	classes := int64(strings.Count(pattern, `\p`) + strings.Count(pattern, `\P`))
	isTooLarge := func(n int64) bool { return n+classes*perClass > maxInstructions || n*int64(len(text)) > maxMatching }
	if !isTooLarge(most) {
		return nil
	}
	if len(pattern) <= maxInstructions && classes*perClass <= maxInstructions {
		parsed, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil || !isTooLarge(instructions(parsed)) {
			return nil //nolint:nilerr // The call reports it.
		}
	}
	return fmt.Errorf("the regular expression takes too much memory or time for the text; "+
		"it may have %d instructions, and %d for a text of 256 KiB: make it shorter, or repeat less",
		maxInstructions, maxMatching>>18)
}

// instructions returns how many instructions the program of a regular expression has, or somewhat more.
func instructions(e *syntax.Regexp) int64 {
	n := int64(2)
	if e.Op == syntax.OpLiteral {
		n = int64(len(e.Rune))
	}
	for _, sub := range e.Sub {
		n += instructions(sub)
	}
	if e.Op == syntax.OpRepeat {
		n *= int64(max(1, e.Min, e.Max))
	}
	return n
}

func (c call) matched() (int64, error) { return perElement, checkPattern(c.text(0), c.text(1)) }

// eachMatch estimates functions that build something for each match: each bytes, and more for each group. pattern and
// in are the positions of their arguments.
func eachMatch(pattern, in int, each, more int64) estimate {
	return func(c call) (int64, error) {
		of, text, by := c.text(pattern), c.text(in), ""
		if err := checkPattern(of, text); err != nil {
			return 0, err
		}
		most := int64(len(text)) + 1
		if len(c.args) > 2 {
			by = c.text(2)
			n, isNumber := c.args[2].Value.(ast.Number)
			if limit, ok := n.Int64(); isNumber && ok && limit >= 0 {
				most = min(most, limit)
			}
		}
		each := each + more*int64(strings.Count(of, "(")) + int64(len(by))
		all := perElement + int64(len(text))*int64(1+strings.Count(by, "$")) // $1 writes a part of the text
		if all+most*each > c.left && all <= c.left {
			// Not every character matches, as a rule.
			if e, err := regexp.Compile(of); err == nil {
				most = int64(len(e.FindAllStringIndex(text, int((c.left-all)/each)+1)))
			}
		}
		return all + most*each, nil
	}
}

// digits returns an upper bound of the decimal digits of a number, which may have an exponent.
func digits(v ast.Value) int64 {
	n, _ := v.(ast.Number)
	digits := int64(len(n))
	if e := strings.IndexAny(string(n), "eE"); e >= 0 {
		exponent, _ := strconv.ParseInt(string(n[e+1:]), 10, 32)
		digits += max(exponent, -exponent)
	}
	return digits
}

// checkDigits returns an error for numbers with so many digits that to read them takes too long.
func checkDigits(n int64) error {
	if n > maxDigits {
		return fmt.Errorf("the number has more than %d digits; use smaller ones", maxDigits)
	}
	return nil
}

func (c call) multiplied() (int64, error) {
	n := int64(0)
	for _, factor := range c.args[:min(2, len(c.args))] { // of mul
		n += digits(factor.Value)
	}
	c.eachOf(0, func(factor *ast.Term) bool {
		n += digits(factor.Value)
		return n > maxDigits
	})
	return perElement + n, checkDigits(n)
}

func (c call) inBase() (int64, error) {
	const binary = 4 // digits for a decimal one
	n := digits(c.args[0].Value)
	return perElement + binary*n, checkDigits(n)
}

// number estimates functions that read a number from a text. Go reads 0x1p-600000000 as well, a number of 75 MB, which
// OPA takes for a small one.
func (c call) number() (int64, error) {
	in := c.text(0)
	if strings.Contains(in, "0x") || strings.Contains(in, "0X") {
		return 0, errors.New("the number is not decimal")
	}
	// The exponent of a number, or the letter of a unit, which no number follows.
	n := int64(len(in))
	if e := strings.IndexAny(in, "eE"); e >= 0 {
		exponent := strings.TrimLeft(in[e+1:], "+-0")
		if end := strings.IndexFunc(exponent, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
			exponent = exponent[:end]
		}
		if exponent != "" {
			more, err := strconv.ParseInt(exponent, 10, 32)
			if err != nil {
				more = math.MaxInt32
			}
			n += more
		}
	}
	return perElement + n, checkDigits(n)
}

func (c call) counted() (int64, error) {
	var numbers [3]*big.Int
	for i := range numbers {
		numbers[i] = big.NewInt(1)
		if i < len(c.args) && i < 2 || i == 2 && len(c.args) > 3 {
			n, err := builtins.BigIntOperand(c.args[i].Value, i+1)
			if err != nil {
				return 0, nil //nolint:nilerr // The call reports it.
			}
			numbers[i] = n
		}
	}
	if numbers[2].Sign() <= 0 {
		return 0, nil
	}
	n := new(big.Int).Sub(numbers[1], numbers[0])
	n.Quo(n.Abs(n), numbers[2])
	if !n.IsInt64() || n.Int64() > maxBuilt {
		return math.MaxInt64, nil
	}
	return perContainer + (n.Int64()+1)*2*perElement, nil
}

// members estimates lists, sets and objects of the members of the arguments.
func (c call) members() (int64, error) {
	n := int64(perContainer)
	for _, arg := range c.args {
		if _, isArray := arg.Value.(*ast.Array); isArray {
			n += length(arg.Value) * perElement
		} else {
			n += length(arg.Value) * perEntry
		}
	}
	return n, nil
}

// nested estimates lists and sets of the members of the members of the argument.
func (c call) nested() (int64, error) {
	n := int64(perContainer)
	c.eachOf(0, func(member *ast.Term) bool {
		n += max(1, length(member.Value)) * perEntry
		return n > c.left
	})
	return n, nil
}

// merged estimates object.union, which goes into objects that both arguments have under one key.
func (c call) merged() (int64, error) {
	left := c.left
	var merge func(a, b ast.Value) bool
	merge = func(a, b ast.Value) bool {
		first, ok1 := a.(ast.Object)
		second, ok2 := b.(ast.Object)
		if !ok1 || !ok2 {
			return true
		}
		left -= perContainer + int64(first.Len()+second.Len())*perEntry
		if left > 0 {
			second.Until(func(key, value *ast.Term) bool {
				other := first.Get(key)
				return other != nil && !merge(other.Value, value.Value)
			})
		}
		return left > 0
	}
	merge(c.args[0].Value, c.args[1].Value)
	return c.left - left, nil
}

// whole estimates functions that visit or copy arguments, from the first one given, with all that is below them.
func whole(first int, factor int64) estimate {
	return func(c call) (int64, error) {
		m := meter{left: c.left, quoted: true}
		for _, arg := range c.args[first:] {
			m.value(arg.Value, 0)
		}
		return factor * (c.left - m.left), nil
	}
}

// paths estimates functions that make an object of each part of each path.
func (c call) paths() (int64, error) {
	n, err := whole(0, 1)(c)
	c.eachOf(1, func(path *ast.Term) bool {
		s, _ := path.Value.(ast.String)
		n += int64(strings.Count(string(s), "/")+1) * (perContainer + 2*perEntry)
		return n > c.left
	})
	return n, err
}

// pairs estimates the pairs of networks where one contains the other.
func (c call) pairs() (int64, error) {
	const perPair = perEntry + perContainer
	return perContainer + max(1, length(c.args[0].Value))*max(1, length(c.args[1].Value))*perPair, nil
}

// inUTC estimates functions of a time. Other time zones are read from files of the machine.
func inUTC(of estimate) estimate {
	return func(c call) (int64, error) {
		for _, arg := range c.args {
			time, isArray := arg.Value.(*ast.Array)
			if !isArray || time.Len() < 2 {
				continue
			}
			if zone, _ := time.Elem(1).Value.(ast.String); zone != "" && zone != "UTC" {
				return 0, fmt.Errorf("there is no time zone %s; use UTC", policies.Shorten(oneLine(string(zone)), maxShown))
			}
		}
		return of(c)
	}
}

func (c call) layout() (int64, error) {
	n := int64(perElement)
	if time, isArray := c.args[0].Value.(*ast.Array); isArray && time.Len() > 2 {
		s, _ := time.Elem(2).Value.(ast.String)
		n += 4 * int64(len(s)) // a digit for the hour becomes two, and Z07:00 six at most
	}
	return n, nil
}
