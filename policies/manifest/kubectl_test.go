package manifest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// asKubectl reads a stream with the reader of kubectl, which is that of the API machinery, and returns the documents
// that are objects as the API server receives them. kubectl gives up at the first error. asKubectl goes on to the next
// document, as long as the reader knows where that begins. Parse drops a byte order mark after a marker that kubectl
// takes for the first letter of a key. asKubectl leaves out such documents: kubectl finds no kind in them.
func asKubectl(data []byte) []map[string]any {
	data = inUTF8(data)
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	var documents []map[string]any
	for tries := bytes.Count(data, []byte("\n")) + 2; tries > 0; tries-- {
		var raw runtime.RawExtension
		err := decoder.Decode(&raw)
		_, wasJSON := errors.AsType[utilyaml.JSONSyntaxError](err)
		if errors.Is(err, io.EOF) || wasJSON || err != nil && strings.Contains(err.Error(), "document separator") {
			break
		}
		if object := received(raw.Raw); err == nil && object != nil && !startsWithMark(object) {
			documents = append(documents, object)
		}
	}
	return documents
}

func startsWithMark(object map[string]any) bool {
	for key := range object {
		if strings.HasPrefix(key, "\ufeff") {
			return true
		}
	}
	return false
}

// inUTF8 returns a text in UTF-8 without byte order mark, as kubectl does before it reads.
func inUTF8(data []byte) []byte {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if len(data) > 1 && order.Uint16(data) == '\ufeff' {
			var units []uint16
			for ; len(data) > 1; data = data[2:] {
				units = append(units, order.Uint16(data))
			}
			return []byte(string(utf16.Decode(units[1:])))
		}
	}
	return bytes.TrimPrefix([]byte(string([]rune(string(data)))), byteOrderMark)
}

// received returns the object that an API server reads from what kubectl sends for raw, or nil if raw is no object.
func received(raw []byte) map[string]any {
	var read, sent map[string]any
	if err := utiljson.Unmarshal(raw, &read); err != nil || read == nil {
		return nil
	}
	body, err := json.Marshal(read)
	if err != nil {
		return nil
	}
	if err := utiljson.Unmarshal(body, &sent); err != nil {
		return nil
	}
	return sent
}

// missing returns the documents of want, in order, that are not among the documents.
func missing(want []map[string]any, documents []*Document) (lost []map[string]any) {
	for _, object := range want {
		i := 0
		for i < len(documents) && !reflect.DeepEqual(documents[i].Content, object) {
			i++
		}
		if i == len(documents) {
			lost = append(lost, object)
			continue
		}
		documents = documents[i+1:]
	}
	return lost
}

func TestStreamIsReadAsKubectlReadsIt(t *testing.T) {
	t.Parallel()
	const a = "a: &a {x: 1, y: 1}\n"
	tests := map[string]string{
		"a merge key wins over the keys before it":     a + "b: {x: 2, <<: *a}\n",
		"the keys after a merge key win":               a + "b:\n  <<: *a\n  x: 2\n",
		"a merge key between keys":                     a + "b:\n  x: 2\n  <<: *a\n  y: 2\n",
		"a merge key at the top":                       "spec: 1\n<<: {spec: 2}\n",
		"the first of a list of mappings wins":         a + "b: {y: 0, <<: [{x: 2}, *a, {x: 3, z: 3}]}\n",
		"two merge keys, of which the last wins":       a + "b:\n  <<: *a\n  <<: {x: 2}\n",
		"a key between two merge keys":                 a + "b: {<<: *a, x: 2, y: 2, <<: {x: 3}}\n",
		"a merge key in a merged mapping":              a + "b: {<<: {x: 2, <<: *a, y: 2}}\n",
		"a merged mapping replaces, and is not merged": "b: {c: {x: 1}, <<: {c: {y: 1}}}\n",
		"an empty list of mappings":                    "b: {x: 1, <<: []}\n",
		"quoted angle brackets are a key":              "b: {x: 1, '<<': {x: 2}}\n",
		"angle brackets with the tag of a merge key":   "b: {x: 1, !!merge '<<': {x: 2}}\n",
		"another key with the tag of a merge key":      "b: {x: 1, !!merge y: {x: 2}}\n",
		"a block scalar without a last line break":     "a: |\n  x",
		"a block scalar that keeps no line break":      "a: |+\n  x",
		"two carriage returns at the end of each line": "a: |\r\r\n  x\r\r\n  y\r\r\nb: \"c\r\r\n  d\"\r\r\n",
		"three carriage returns":                       "a: |\r\r\r\n  x\r\r\r\nb: 1\r\r",
		"a mapping with the tag of null":               "!!null\na: 1\n",
		"markers that only kubectl takes for such": "{a: 1}\n---#c\n{\"b\": 1}\n---\u00a0\nc: 1\n" +
			"---\u2003\n{d: 1}\n---\v# c\n{e: 1}\n",
		"such a marker that is a key": "---#c: 1\na: 1\n---\n---#d: 1\nb: 1\n---#e\n---#f: 1\n",
		"such a marker after dots":    "{a: 1}\n...\n---#c\n{\"b\": 1}\n",
		"the tag of texts": "a: ! 12\nb: [! true, ! &x ~, &y ! yes, ! ]\n? c\n! 1: !\n" +
			"d: ! {e: 1}\nf: \"! \"\ng&: ! 1\n",
		"octal numbers with a sign": "a: [0o-7, 0o+7, -0o7, 0_o-7]\n",
		"integers that have no 64 bits": "a: [9223372036854775808, -9223372036854775809]\n" +
			"b: [0xffffffffffffffff, 1_0000000000000000000]\n",
		"numbers in JSON":                              `{"a": [1.0, -0, 1e2, 1E5, 9223372036854775808, 123456789012345678]}`,
		"line separators in JSON":                      "{\"a\": \"\u2028 x \u0085 y \u2029\"}",
		"a deletion character and a long key in JSON":  `{"` + strings.Repeat("k", 2000) + "\": \"\x7f\"}",
		"lines that end with a carriage return only":   "# c\ra: 1\rb: |\r  x\r  y\r",
		"a line separator after a comment":             "# c\u2028a: 1\n---\n# c\u0085b: 1\n",
		"a number sign after a space that is a letter": "\u00a0#a: 1\n",
		"a comment after JSON":                         "{\"a\": 1} # c\n---\n{\"b\": 1}\n",
		"comments of several lines after JSON":         "{\"a\": 1} # c\n\n# d\n---\n{b: 1}\n",
		"a mark before each document":                  "\ufeffa: 1\n---\n\ufeffb: 1\n",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			documents, errs := Parse("f", []byte(text))
			var got []map[string]any
			for _, document := range documents {
				got = append(got, document.Content)
			}
			want := asKubectl([]byte(text))
			if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 || len(errs) > 0 {
				t.Errorf("content (-kubectl +ours):\n%s\nand the errors are %v", diff, errs)
			}
		})
	}
}

// TestFilesOfThisTreeAreReadAsKubectlReadsThem includes the cases.
func TestFilesOfThisTreeAreReadAsKubectlReadsThem(t *testing.T) {
	t.Parallel()
	files := 0
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !isManifest(path) {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		documents, errs := Parse(path, data)
		if lost := missing(asKubectl(data), documents); len(lost) > len(errs) {
			t.Errorf("%s: kubectl reads %v too; the errors are %v", path, lost, errs)
		}
		return nil
	})
	if err != nil || files < 1000 {
		t.Errorf("%d files were read, and the error is %v", files, err)
	}
}

// TestOddFilesAreReadAsKubectlReadsThem makes files of documents that are odd in many ways. Each has a number, by which
// it is found again. Whatever object kubectl reads, Parse reads an equal one, or reports an error in that document.
func TestOddFilesAreReadAsKubectlReadsThem(t *testing.T) {
	t.Parallel()
	const files = 500
	equal, reported := 0, map[string]int{}
	for seed := range uint64(files) {
		odd := oddFile{Rand: rand.New(rand.NewPCG(seed, 0))}
		text := odd.text()
		documents, errs := Parse("f", []byte(text))
		for _, object := range asKubectl([]byte(text)) {
			number, _ := object["number"].(int64)
			if missing([]map[string]any{object}, documents) == nil {
				equal++
			} else if err := odd.error(int(number), text, errs); err != nil {
				reported[specific.ReplaceAllString(err.Message, "…")]++
			} else {
				t.Errorf("seed %d: kubectl reads %v too; the errors are %v; the file is\n%s", seed, object, errs, text)
			}
		}
	}
	for _, message := range slices.Sorted(maps.Keys(reported)) {
		t.Logf("%3d × %s", reported[message], message)
	}
	if t.Logf("%d × equal", equal); equal < files {
		t.Error("the files are too odd")
	}
}

// specific are the parts of a message that depend on the file.
var specific = regexp.MustCompile(`\d+|"[^"]*"|'[^']*'`)

// oddFile makes the text of one file.
type oddFile struct {
	*rand.Rand
	starts []int // the lines before each document
}

// error returns an error of the document with a number, counted from 1, or of the file as a whole. If the file runs
// that document into others, an error in any of them counts. Number 0 stands for a document that has lost its number.
func (f *oddFile) error(number int, text string, errs []*Error) *Error {
	for _, err := range errs {
		if err.Line == 0 || number == 0 {
			return err
		}
		for _, c := range split([]byte(text)) {
			within := func(line int) bool { return line >= c.line && line <= c.line+bytes.Count(c.text, []byte("\n")) }
			if within(f.starts[number-1]) && within(err.Line-1) {
				return err
			}
		}
	}
	return nil
}

func (f *oddFile) pick(texts []string) string { return texts[f.IntN(len(texts))] }

// rarely returns one of the texts once in n times, else usual.
func (f *oddFile) rarely(n int, usual string, texts ...string) string {
	if f.IntN(n) == 0 {
		return f.pick(texts)
	}
	return usual
}

func (f *oddFile) text() string {
	text := f.rarely(6, "", oddStarts...)
	for number := range 1 + f.IntN(4) {
		if number > 0 {
			text += f.rarely(3, "---\n", oddMarkers...)
		}
		f.starts = append(f.starts, strings.Count(text, "\n"))
		switch f.IntN(6) {
		case 0:
			text += f.json(number+1) + f.rarely(4, "\n", "", " # c\n", "\n# c\n", "\n\n")
		case 1:
			text += f.flow(number+1) + "\n"
		default:
			text += f.block(number + 1)
		}
		text += f.rarely(8, "", "\n", "# c\n", "...\n", "...\n# c\n", "  # c\n", "\t\n", " \n")
	}
	switch f.IntN(12) {
	case 0:
		return strings.ReplaceAll(text, "\n", "\r\n")
	case 1:
		return strings.ReplaceAll(text, "\n", "\r\r\n")
	case 2:
		return strings.TrimRight(text, "\n")
	case 3:
		return "\ufeff" + text
	case 4:
		return f.rarely(3, text, utf16Text(text, binary.LittleEndian), utf16Text(text, binary.BigEndian))
	case 5:
		return text[:len(text)-f.IntN(len(text)/4)]
	}
	return text
}

// block makes a document in block style.
func (f *oddFile) block(number int) string {
	text := f.rarely(5, "", "!!map\n", "&root\n", "# c\n", "# c\n\n", "\n") + fmt.Sprintf("number: %d\n", number)
	for i := range 1 + f.IntN(6) {
		switch f.IntN(3) {
		case 0:
			text += fmt.Sprintf("k%d:%s\n", i, f.rarely(2, " "+f.pick(oddScalars), "\t"+f.pick(oddScalars),
				" "+f.pick(oddScalars)+" # c", "\n  "+f.pick(oddScalars), "\n- "+f.pick(oddScalars)+"\n- - x\n  - y"))
		case 1:
			text += f.pick(oddKeys) + ": x\n"
		default:
			text += strings.ReplaceAll(f.pick(oddBlocks), "%", strconv.Itoa(i))
		}
	}
	return text
}

// flow makes a document in flow style.
func (f *oddFile) flow(number int) string {
	text := fmt.Sprintf("{number: %d", number)
	for i := range f.IntN(5) {
		text += f.rarely(3, ", ", ",", ",\n  ", " ,\n# c\n ") + fmt.Sprintf("k%d: ", i)
		text += f.rarely(4, f.pick(oddScalars),
			"["+f.pick(oddScalars)+", x,]", "{<<: {a: 1}, a: 2}", "{a: 1, <<: {a: 2}}", "{a, b: }")
	}
	return text + "}"
}

// json makes a document in JSON.
func (f *oddFile) json(number int) string {
	space := f.rarely(2, "", " ", "\n", "\n\t", "\r\n")
	text := fmt.Sprintf(`{%s"number":%s%d`, space, space, number)
	for i := range f.IntN(5) {
		text += fmt.Sprintf(`,%s"k%d":%s%s`, space, i, space, f.pick(oddJSON))
	}
	return text + f.rarely(8, "", `,"l": 1,"l": 2`, `,"k0": 1`, `,`, `,"": 1`) + space + "}"
}

func utf16Text(text string, order binary.AppendByteOrder) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

var oddStarts = []string{
	"# c\n", "\n\n", "---\n", "--- # c\n", "%YAML 1.1\n---\n", "\ufeff", "\ufeff---\n", "  ", "...\n",
}

var oddMarkers = []string{
	"--- # c\n", "---\t\n", "--- \n", "---\r\n", "...\n---\n", "---\n---\n", "---\n# c\n---\n", "---\n\ufeff", "...\n",
	"---\n{}\n---\n", "---\nnull\n---\n", "---\n- a\n---\n", "--- ", "--- |\n  x\n---\n", "---\n\n\n", "---#c\n",
	"---x\n", "----\n", "---\u00a0\n", "\n", "",
}

var oddScalars = []string{
	"", "~", "null", "Null", "nULL", "''", `""`, "true", "TRUE", "tRUE", "yes", "No", "ON", "off", "y", "N", "oN",
	"'yes'", "!!str yes", "!!bool yes", "!!bool 'no'", "!!null ''", "!!str", "!!str ~", "! 12", "! x", "! yes",
	"!\n  ~", "&z ! 12", "! &y 12", "!", "! '12'", "!x 12", "!!x 12", "!<tag:yaml.org,2002:str> 12", "!!int '12'",
	"!!int 0o17", "!!float 1", "!!float '1.5'", "!!int x", "!!bool x", "!!timestamp 2001-12-14", "!!timestamp x",
	"!!binary aGVsbG8=", "!!binary /w==", "!!binary x", "!!set {a, b}", "!!omap [a: 1]", "!!seq [a]", "!!null {a: 1}",
	"&x", "&x x", "&x !!int 12", "!!int &x 12", "0", "-0", "+1", "007", "017", "08", "0x10", "-0x10", "+0x10", "0X1f",
	"0b101", "-0b101", "0b-1", "0o17", "0O17", "-0o17", "0o-7", "0o+7", "-0o-7", "0o8", "0_o7", "1_000", "_1", "1_",
	"1__0", "0x_1F", "0xfffffffffffffffff", "2147483648", "9223372036854775807", "9223372036854775808",
	"-9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616",
	"0x8000000000000000", "-0x8000000000000001", "1_8446744073709551616", "1.0", "1.5", "-0.0", ".5", "5.", "+.5",
	"1e3", "1E3", "1e-3", "1e21", "1e20", "1e400", "-1e400", "1e-400", "1_0.5", "1._5", "._5", ".e3", ".5e3", "0x1p4",
	"1e", "1e+", "9007199254740993.0", "123456789012345678.0", "0.1", "1e+3", ".inf", "-.INF", ".nan", ".Inf",
	"Infinity", "NaN", "+.inf", "2001-12-14", "2001-12-14t21:59:43.10-05:00", "2001-12-14 21:59:43", "2001-1-1",
	"12:30:45", "190:20:30", "1:20", "10Gi", "100m", "1.2.3", "=", "-", "+", ".", "..", "<<", "?x", "-x", ":x", "a:b",
	"a#b", "a #b", "@x", "`x`", "%x", "x: y", "x\n  y", "x\n\n  y", "'it''s'", "'x\n  y'", "'x\n\n  y '",
	`"x\n\t\x41\u00e9\U0001F600\e\0"`, "\"x\n  y\\\n  z\"", `"\/"`, `"\ud83d\ude00"`, `"\N\L\P\_"`, "ünï\u00a0x",
	"\"x\u2028y\u0085z\"", "x\u2028y", "'x \u0085 y'", "\U0001F600", "\x7f", "[a, b]", "[a, b,]", "[]", "{}", "{a: b}",
	"{a}", "{a: }", "{a: 1, a: 2}", "[a: b, c]", "[[a], {b: [c]}]", "{? a : b}", `{"a":b}`, `{"a" : 1}`, "[? a]",
	"[a\n  , b]", "{a: [\n  b]}", "[,]", "{a b: c d}", "{a:b}", "[a, #c\n b]", "*x", "*nowhere", "|\n  x", "|\n  x\n",
	"|-\n  x\n", "|+\n  x\n\n", "|2\n    x\n   y", "|1\n  x", ">\n  x\n  y\n\n   z\n  w", ">-\n  x\n\n",
	">+\n  x\n\n\n", "|\n", "|-", "|+\n\n\n", "| # c\n  x # c\n", "|\n  x\n # c\n", "|\n\n\n  x", "|\n  \tx\n  y\t\n",
	"> \n x\n", "|\n   x\n  y", "|10\n x",
}

var oddKeys = []string{
	"1", "1.5", "0x10", "1e3", "017", "true", "yes", "on", "y", "n", "~", "", "''", "'y'", `"1"`, "2001-12-14", ".inf",
	"1000000.0", "0.1", "123456789.5", "9223372036854775808", "!!str 1", "!!int '1'", "!!binary aGVsbG8=", "! 1",
	"a b", "a:b", "<<x", "'<<'", `"<<"`, "!!str <<", "!!merge x", "? a\n", "? [a]\n", "? {a: b}\n", "[a]", "{a: b}",
	"&k k", "&l 7", "!x k", "k ", "k\t", "-k", "?k", "=", "ü", "- a", strings.Repeat("k", 1025), `"k\n"`, "'k\n  l'",
	`"\u0041"`,
}

// oddBlocks are members of a mapping in block style. % is replaced by a number.
var oddBlocks = []string{
	"m%: &m% {a: 1, b: [x, y]}\nn%: *m%\no%: [*m%, *m%]\n", "m%: &m% 1\n*m% : x\n", "&m% m%: x\nn%: *m%\n",
	"m%: &m%\n  a: 1\nn%: *m%\n", "m%: &m% [*m%]\n", "m%: &m% {a: *m%}\n", "m%: &m% 1\nn%: &m% 2\no%: *m%\n",
	"m%: &m%\n- a\n- b\nn%: *m%\n", "m%: &m% |\n  x\nn%: *m%\n", "m%: &m%\nn%: *m%\n",
	"m%: &m% {a: 1, b: 2}\nn%:\n  <<: *m%\n  a: 3\n", "m%: &m% {a: 1, b: 2}\nn%:\n  a: 3\n  <<: *m%\n",
	"m%: &m% {a: 1, b: 2}\nn%:\n  a: 3\n  <<: *m%\n  b: 4\n",
	"m%: &m% {a: 1}\nn%: &n% {a: 2, b: 2}\no%:\n  a: 0\n  <<: [*m%, *n%]\n",
	"m%: &m% {a: 1}\nn%: {<<: *m%, <<: {a: 2, b: 2}}\n", "n%: {<<: [{a: 1}, {a: 2, b: 3}], a: 4}\n",
	"n%: {a: 0, <<: {<<: {a: 1, b: 1}, b: 2}, b: 3}\n", "n%: {<<: {a: 1, <<: {a: 2}}}\n", "n%: {'<<': {a: 1}}\n",
	"n%: {!!merge <<: {a: 1}}\n", "n%: {!!merge '<<': {a: 1}, a: 2}\n", "n%: {<<: []}\n", "n%: {<<: [[{a: 1}]]}\n",
	"n%: {<<: x}\n", "n%: {<<: }\n", "m%: &m% [{a: 1}]\nn%: {<<: *m%}\n", "n%: {a: 1, a: 2}\n", "n%: {1: a, '1': b}\n",
	"<<: {m%: 1, l: 77}\nm%: 2\n", "m%: 1\n<<: {m%: 2}\n", "n%:\n- a\n- b: c\n  d: e\n-\n  f\n- - g\n  -  - h\n",
	"n%:\n  - a\n  -   b: c\n      d: e\n", "n%:\n  a:\n   b:\n    c\n  d: e\n",
	"n%: # c\n  # c\n  a: 1 # c\n# c\n  b: 2\n", "n%:\n  ? a\n  : b\n  ? c\n", "n%:\n- !!map {a: 1}\n- !x [a]\n",
	"n%:\n  a: |\n   x\n  b: >\n\n   y\n", "n%: 'x\n\n  y'\n", "n%: x\n y\n  z\n", "n%: \"a\\\n   b\"\n",
	"n%:\n\ta: 1\n", "n%: {\n\ta: 1\n}\n", "n%: [\n a,\n b\n ]\n", "n%: {\n}\n", "n%:    \n    a: 1\n",
	"n%:\n  a: 1\n b: 2\n", "n%: {a: 1\n", "n%: x: y\n", "n%: 'x\n", "n\n", "n%: 1\nn%: 2\n", "n%: \"\x01\"\n",
	"n%: \xff\n", "n%: x\r\n", "n%: |\n  x\r\n  y\r\n", "n%: |\n  x\r\r\n  y\n", "n%: {a: 1}}\n", "n%: ]\n",
	"n%: |\n  ---x\n  ...\n", "n%: x\u0085m%: y\n", "n%: x\rm%: y\n",
}

var oddJSON = []string{
	`null`, `true`, `1`, `-0`, `1.0`, `1.5e2`, `1E5`, `-0.0`, `1e-7`, `1e21`, `1e400`, `0.1`, `9223372036854775807`,
	`9223372036854775808`, `-9223372036854775809`, `18446744073709551615`, `123456789012345678901`, `""`, `"a"`,
	`"\/"`, `"\ud83d\uDE00"`, `"\ud83d"`, `"\u0000\u2028\b\f"`, "\"\u2028 x \u0085 y\"", "\"\x7f\"", "\"\xff\"",
	`"\\\""`, `"{{ x }}"`, `"a: b # c"`, `"---"`, `[]`, `{}`, `[1,"a",[null],{"a":{"b":[]}}]`, `{"a":1,"a":2}`,
	`{"<<":{"a":1}}`, `{"1":1,"true":2}`, `"2001-12-14"`, `"yes"`, `{"` + strings.Repeat("k", 1025) + `":1}`, "\"\t\"",
	`01`, `+1`, `.5`, `1.`, `0x10`, `NaN`, `'a'`, `a`, `[1,]`, `"\x41"`, `"\'"`,
}

// FuzzParseLikeKubectl checks that whatever object kubectl reads, Parse reads an equal one or reports an error.
func FuzzParseLikeKubectl(f *testing.F) {
	for seed := range uint64(50) {
		odd := oddFile{Rand: rand.New(rand.NewPCG(seed, 1))}
		f.Add(odd.text())
	}
	f.Fuzz(func(t *testing.T, text string) {
		documents, errs := Parse("f", []byte(text))
		if lost := missing(asKubectl([]byte(text)), documents); len(lost) > 0 && len(errs) == 0 {
			t.Errorf("kubectl reads %v too", lost)
		}
	})
}
