package bundle

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// annotated returns the document of a Service with an annotation text.
func annotated(t testing.TB, text string) policies.Document {
	t.Helper()
	document := service(t)
	document.Object = object(t, map[string]any{
		"apiVersion": "v1", "kind": "Service", "spec": map[string]any{"type": "LoadBalancer"},
		"metadata": map[string]any{"name": "web", "annotations": map[string]any{"text": text}},
	})
	return document
}

// doubled returns rules x0 to x40. The first has a value, and each of the others is made of the one before.
func doubled(first, of string) string {
	var rules strings.Builder
	rules.WriteString("x0 := " + first + "\n")
	for i := range 40 {
		fmt.Fprintf(&rules, "x%d := %s\n", i+1, strings.ReplaceAll(of, "X", fmt.Sprintf("x%d", i)))
	}
	return rules.String()
}

// TestOneStepBuildsLittle evaluates what would build or take far too much within one call of a built-in function.
func TestOneStepBuildsLittle(t *testing.T) {
	const (
		text     = `text := input.object.metadata.annotations.text` + "\n"
		tooLarge = "with this result the evaluation would build more than 32 MiB; build shorter texts and lists"
		noRegex  = "the regular expression takes too much memory or time for the text; it may have 8192 instructions, and " +
			"1024 for a text of 256 KiB: make it shorter, or repeat less"
		noNumber = "the number has more than 65536 digits; use smaller ones"
	)
	lists, objects := doubled(`"a"`, "[X, X]"), doubled(`{"k": 1}`, `{"a": X, "b": X}`)
	large := strings.Repeat("a", 256<<10)
	var keys strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&keys, "k%d:\n", i)
	}
	tests := map[string]struct{ rules, annotation, want string }{
		"one text joined 2 000 times": {
			text + `deny contains {"message": concat(text, [text | some _ in numbers.range(1, 2000)])}`, large,
			"concat: " + tooLarge,
		},
		"texts of texts, each eight times the one before": {
			text + `a := concat("", [text, text, text, text, text, text, text, text])
			b := concat("", [a, a, a, a, a, a, a, a])
			deny contains {"message": concat("", [b, b, b, b, b, b, b, b])}`, large, "concat: " + tooLarge,
		},
		"each character replaced with a text": {
			text + `deny contains {"message": replace(text, "a", text)}`, large, "replace: " + tooLarge,
		},
		"an empty text replaced": {
			text + `deny contains {"message": replace(text, "", text)}`, large, "replace: " + tooLarge,
		},
		"several texts replaced": {
			text + `deny contains {"message": strings.replace_n({"a": text}, text)}`, large, "strings.replace_n: " + tooLarge,
		},
		"a match replaced with itself many times": {
			text + `many := concat("", ["$1" | some _ in numbers.range(1, 400)])
			deny contains {"message": regex.replace(text, "(.*)", many)}`,
			large, "regex.replace: " + tooLarge,
		},
		"each match of an expression replaced with a text": {
			text + `deny contains {"message": regex.replace(text, "a", text)}`, large, "regex.replace: " + tooLarge,
		},
		"an argument of sprintf written many times": {
			text + `deny contains {"message": sprintf(concat("", ["%[1]s" | some _ in numbers.range(1, 400)]), [text])}`, large,
			"sprintf: " + tooLarge,
		},
		"a width of sprintf that is an argument": {
			`deny contains {"message": sprintf(concat("", ["%[1]*[2]d" | some _ in numbers.range(1, 400)]), [999999, 1])}`, "",
			"sprintf: " + tooLarge,
		},
		"the precision of many numbers": {
			`deny contains {"message": sprintf(concat("", ["%.999999d" | some _ in numbers.range(1, 400)]),
				[1 | some _ in numbers.range(1, 400)])}`, "", "sprintf: " + tooLarge,
		},
		"a list that has itself, in sprintf": {
			lists + `deny contains {"message": sprintf("%v", [x40])}`, "", "sprintf: " + tooLarge,
		},
		"an object that has itself, in a template": {
			objects + `deny contains {"message": $"{x40}"}`, "", "internal.template_string: " + tooLarge,
		},
		"a list that has itself, as JSON": {
			lists + `deny contains {"message": json.marshal(x40)}`, "", "json.marshal: " + tooLarge,
		},
		"a list that has itself, as YAML": {
			lists + `deny contains {"message": yaml.marshal(x40)}`, "", "yaml.marshal: " + tooLarge,
		},
		"an indentation that is a text": {
			text + `deny contains {"message": json.marshal_with_options(numbers.range(1, 1000), {"indent": text})}`, large,
			"json.marshal_with_options: " + tooLarge,
		},
		"a list that has itself, as the answer": {
			lists + `deny contains {"message": x40}`, "", "the answer is larger than 32 MiB; give fewer or shorter members",
		},
		"objects that have themselves, merged": {
			objects + strings.ReplaceAll(strings.ReplaceAll(objects, "x", "y"), `"k"`, `"l"`) +
				`deny contains {"message": "no"} if count(object.union(x40, y40)) > 0`, "", "object.union: " + tooLarge,
		},
		"objects that have themselves, copied": {
			objects + `deny contains {"message": "no"} if count(object.union_n([x40, {"z": 1}])) > 0`, "",
			"object.union_n: " + tooLarge,
		},
		"objects that have themselves, compared": {
			objects + strings.ReplaceAll(objects, "x", "y") + `deny contains {"message": "no"} if object.subset(x40, y40)`, "",
			"object.subset: " + tooLarge,
		},
		"objects that have themselves, patched": {
			objects + `deny contains {"message": "no"} if json.patch(x40, [{"op": "test", "path": "", "value": 1}])`, "",
			"json.patch: " + tooLarge,
		},
		"lists of lists of lists, flattened": {
			`y := numbers.range(1, 500)
			z := array.flatten([y | some _ in y])
			deny contains {"message": "no"} if count(array.flatten([z | some _ in y])) > 0`, "", "array.flatten: " + tooLarge,
		},
		"a list appended to itself again and again": {
			doubled("numbers.range(1, 1000)", "array.concat(X, X)") + `deny contains {"message": "no"} if count(x40) > 0`, "",
			"array.concat: " + tooLarge,
		},
		"a range of a billion numbers": {
			`deny contains {"message": "no"} if count(numbers.range(1, 1000000000)) > 0`, "", "numbers.range: " + tooLarge,
		},
		"a range of more numbers than 64 bits count": {
			`deny contains {"message": "no"} if count(numbers.range_step(-1e30, 1e30, 2)) > 0`, "",
			"numbers.range_step: " + tooLarge,
		},
		"an expression with a hundred groups that matches everywhere": {
			text + `deny contains {"message": "no"} if
				count(regex.find_all_string_submatch_n("` + strings.Repeat("()", 100) + `", text, -1)) > 0`, large,
			"regex.find_all_string_submatch_n: " + tooLarge,
		},
		"an expression that repeats a repetition": {
			text + `deny contains {"message": "no"} if regex.match("(((((a?){10}){10}){10})b){1}", text)`, large,
			"regex.match: " + noRegex,
		},
		"an expression in an annotation that is large when compiled": {
			text + `deny contains {"message": "no"} if regex.match(text, "a")`, strings.Repeat("(a?){1000}", 20),
			"regex.match: " + noRegex,
		},
		"an expression in an annotation of many classes": {
			text + `deny contains {"message": "no"} if not regex.is_valid(text)`, strings.Repeat(`\pL`, 60000),
			"regex.is_valid: " + noRegex,
		},
		"a template of many expressions": {
			text + `deny contains {"message": "no"} if regex.template_match(text, "a", "{", "}")`,
			strings.Repeat("{a*}", 20000), "regex.template_match: " + noRegex,
		},
		"a number in an annotation that is not decimal": {
			text + `deny contains {"message": "no"} if to_number(text) * 2 > 1`, "0x1p-600000000",
			"to_number: the number is not decimal",
		},
		"a number in an annotation of very many digits": {
			text + `deny contains {"message": "no"} if to_number(text) > 1`, "0." + strings.Repeat("9", 200000),
			"to_number: " + noNumber,
		},
		"JSON in an annotation with a number of very many digits": {
			text + `deny contains {"message": "no"} if json.unmarshal(text) > 1`, strings.Repeat("9", 200000),
			"json.unmarshal: " + noNumber,
		},
		"a quantity in an annotation with a huge exponent": {
			text + `deny contains {"message": "no"} if units.parse(text) > 1`, "1e999999Ki", "units.parse: " + noNumber,
		},
		"a number multiplied by itself again and again": {
			doubled("99999999999999999999", "X * X") + `deny contains {"message": "no"} if x40 > 0`, "", "mul: " + noNumber,
		},
		"the product of many numbers": {
			`deny contains {"message": "no"} if product(numbers.range(1000000000, 1000010000)) > 0`, "", "product: " + noNumber,
		},
		"YAML in an annotation with aliases of aliases": {
			text + `deny contains {"message": "no"} if yaml.unmarshal(text)`,
			"a: &a [1, 2, 3]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n",
			"yaml.unmarshal: the text has an alias (*); write out what it stands for",
		},
		"YAML in an annotation with very many keys": {
			text + `deny contains {"message": "no"} if yaml.unmarshal(text)`, keys.String(),
			"yaml.unmarshal: an object has more than 4096 keys; use JSON, or split it",
		},
		"JSON in an annotation of nothing but objects": {
			text + `deny contains {"message": "no"} if json.unmarshal(text)`, "[" + strings.Repeat("{},", 80000) + "{}]",
			"json.unmarshal: " + tooLarge,
		},
		"a path of very many parts": {
			text + `deny contains {"message": "no"} if json.filter({"a": 1}, [text])`, strings.Repeat("/a", 120000),
			"json.filter: " + tooLarge,
		},
		"each of many networks compared with each": {
			`y := ["10.0.0.0/8" | some _ in numbers.range(1, 3000)]
			deny contains {"message": "no"} if count(net.cidr_contains_matches(y, y)) > 0`, "",
			"net.cidr_contains_matches: " + tooLarge,
		},
		"many copies of a text reversed": {
			text + `y := [text | some _ in numbers.range(1, 10000)]
			deny contains {"message": "no"} if strings.any_suffix_match(y, y)`, large,
			"strings.any_suffix_match: " + tooLarge,
		},
		"a time in a zone that is a file": {
			`deny contains {"message": time.format([1, "Europe/./Berlin"])}`, "",
			"time.format: there is no time zone Europe/./Berlin; use UTC",
		},
		"a text encoded again and again": {
			text + doubled("text", "hex.encode(X)") + `deny contains {"message": x40}`, large, "hex.encode: " + tooLarge,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := compiled(t, policyWith("corp", test.rules)).custom["corp"]
			document := annotated(t, test.annotation)
			input := inputOf(document, nil)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			answer := m.asked(document).evaluate(t.Context(), input) // without a limit of time
			runtime.ReadMemStats(&after)
			const most = 128 << 20 // with what the functions use meanwhile, and what the evaluation built before
			if built := after.TotalAlloc - before.TotalAlloc; built > most {
				t.Errorf("the evaluation allocated %d MiB", built>>20)
			}
			if err := answer.Err; err == nil || !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("Err is %.300v, want one that ends in %s", err, test.want)
			}
			if want := (policies.FailedSet{Module: "corp", Set: "deny"}); answer.Failed != want {
				t.Errorf("Failed is %v, want %v", answer.Failed, want)
			}
		})
	}
}

// TestOrdinaryUsesFitTheBudget evaluates what rules do, with the largest annotation of Kubernetes and an object of the
// largest size.
func TestOrdinaryUsesFitTheBudget(t *testing.T) {
	const text = `text := input.object.metadata.annotations.text` + "\n"
	words := strings.Repeat("10.0.0.0/8,", 256<<10/11)
	var manifest strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&manifest, "{\"name\": \"port-%d\", \"port\": %d, \"tags\": [\"a\", \"b\", null]},\n", i, i)
	}
	manifestJSON := "[" + manifest.String() + "{}]"
	tests := map[string]struct{ rules, annotation string }{
		"an annotation split at its commas": {
			`count(split(text, ",")) > 20000`, words,
		},
		"an annotation split into characters": {
			`count(split(text, "")) > 200000`, words,
		},
		"an annotation split in two": {
			`count(strings.split_n(text, ",", 1)) == 1`, words,
		},
		"an annotation split by an expression": {
			`count(regex.split("\\s*,\\s*", text)) > 20000`, words,
		},
		"numbers found in an annotation": {
			`count(regex.find_n("[0-9]+", text, -1)) > 80000`, words,
		},
		"the first number of an annotation": {
			`regex.find_n("[0-9]", text, 1) == ["1"]`, words,
		},
		"networks found in an annotation": {
			`count(regex.find_all_string_submatch_n("([0-9.]+)/([0-9]+)", text, -1)) > 20000`, words,
		},
		"an annotation matched by an expression": {
			`regex.match("^([0-9]{1,3}[.]){3}[0-9]{1,3}/[0-9]{1,2}(,|$)", text)`, words,
		},
		"an annotation matched by three hundred names": {
			`not regex.match(concat("|", [sprintf("team-%d-production", [i]) | some i in numbers.range(1, 300)]),
				substring(text, 0, 253))`, words,
		},
		"an expression that repeats": {
			`regex.match("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", "web")`, "",
		},
		"the commas of an annotation replaced": {
			`count(replace(text, ",", ", ")) > 250000`, words,
		},
		"the commas replaced by an expression": {
			`count(regex.replace(text, "(,)+", "$1 ")) > 250000`, words,
		},
		"several characters replaced": {
			`count(strings.replace_n({",": ", ", ".": "·", "/": "&sol;"}, text)) > 250000`, words,
		},
		"the places of the commas": {
			`count(indexof_n(text, ",")) > 20000`, words,
		},
		"an annotation of JSON": {
			`count(json.unmarshal(text)) == 3001`, manifestJSON,
		},
		"an annotation of JSON as YAML": {
			`count(yaml.unmarshal(text)) == 3001`, manifestJSON,
		},
		"YAML with an ampersand and a star": {`yaml.unmarshal(text).a == "R&D *"`, "a: R&D *\nb: [x, y]\n"},
		"an object printed in a message": {
			`count(sprintf("%v: %s %d %5.2f %t", [input.object, "x", 1, 1.5, true])) > 200000`, words,
		},
		"an object as JSON": {
			`count(json.marshal(input.object)) > 200000`, words,
		},
		"an object as YAML": {
			`count(yaml.marshal(input.object)) > 200000`, words,
		},
		"an object as indented JSON": {
			`count(json.marshal_with_options(input, {"indent": "  "})) > 200000`, words,
		},
		"an object in a template": {
			`count($"{input.object}") > 200000`, words,
		},
		"an object merged with another": {
			`object.union(input.object, {"kind": "x"}).kind == "x"`, words,
		},
		"objects merged": {
			`object.union_n([input.object, {"a": 1}, {"kind": "x"}]).kind == "x"`, words,
		},
		"an object patched": {
			`json.patch(input.object, [{"op": "add", "path": "/a", "value": 1}]).a == 1`, words,
		},
		"an object without its annotations": {
			`not json.remove(input.object, ["/metadata/annotations"]).metadata.annotations`, words,
		},
		"a part of an object": {
			`object.subset(input.object, {"kind": "Service"})`, words,
		},
		"all ports": {
			`count(numbers.range(1, 65535)) == 65535`, "",
		},
		"addresses in networks": {
			`count(net.cidr_contains_matches(["10.0.0.0/8", "172.16.0.0/12"],
				[sprintf("10.0.%d.1", [i]) | some i in numbers.range(1, 200)])) == 200`, "",
		},
		"a quantity": {
			`units.parse("1.5Gi") == 1610612736`, "",
		},
		"a large quantity": {
			`units.parse_bytes("3e9kb") > 0`, "",
		},
		"a number": {
			`to_number("-1.5e3") * 2 == -3000`, "",
		},
		"large numbers": {
			`format_int(product([1e100, 1e100, 1e100]), 16) != ""`, "",
		},
		"a time": {
			`time.format([0, "UTC", "2006-01-02"]) == "1970-01-01"`, "",
		},
		"the hour of a time": {
			`time.clock([0, ""]) == [0, 0, 0]`, "",
		},
		"many short messages": {
			`count([x | some i in numbers.range(1, 20000); 
				x := sprintf("port %d is not allowed, use 443", [i])]) == 20000`, "",
		},
		"an encoded annotation": {
			`base64.decode(base64.encode(text)) == text`, words,
		},
		"the first characters of an annotation": {
			`lower(substring(text, 0, 8)) == "10.0.0.0"`, words,
		},
		"prefixes of names": {
			`strings.any_prefix_match([x | some i in numbers.range(1, 1000); x := sprintf("a%d", [i])], {"a1", "b"})`, "",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := compiled(t, policyWith("corp", text+`deny contains {"message": "no"} if `+test.rules)).custom["corp"]
			document := annotated(t, test.annotation)
			want := policies.Answer{Deny: []policies.HouseFinding{denial("no")}}
			got := m.asked(document).evaluate(t.Context(), inputOf(document, nil))
			if diff := cmp.Diff(want, got, sameText); diff != "" {
				t.Errorf("Answer mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTheBudgetIsOfOneEvaluation checks that results add up within an evaluation, and that the next one has all of it.
func TestTheBudgetIsOfOneEvaluation(t *testing.T) {
	t.Parallel()
	const rules = `text := input.object.metadata.annotations.text
		texts := {concat("", [text, sprintf("%d", [i])]) | some i in numbers.range(1, COUNT)}
		deny contains {"message": "no"} if count(texts) > 0`
	document := annotated(t, strings.Repeat("a", 256<<10))
	for count, fits := range map[string]bool{"100": true, "200": false} {
		m := compiled(t, policyWith("corp", strings.ReplaceAll(rules, "COUNT", count))).custom["corp"]
		for range 3 {
			answer := m.asked(document).evaluate(t.Context(), inputOf(document, nil))
			if (answer.Err == nil) != fits {
				t.Errorf("%s texts of 256 KiB: Err is %v", count, answer.Err)
			}
		}
	}
}

func TestTestsFailIfTheyBuildTooMuch(t *testing.T) {
	t.Parallel()
	tests := []v1alpha1.RegoModule{{Name: "corp_test.rego", Module: `package sourceward.custom.corp_test
		test_large if count(numbers.range(1, 1000000000)) == 0
		test_swallowed if not numbers.range(1, 1000000000)
		test_small if count(numbers.range(1, 10)) == 10`}}
	w, problems := NewCompiler(nil).Workbench(
		t.Context(), policyWith("corp", `deny contains {"message": "no"} if false`), tests)
	if problems != nil {
		t.Fatal(problems)
	}
	results, problems := w.Test(t.Context(), "")
	if problems != nil {
		t.Fatal(problems)
	}
	for _, result := range results {
		want := "numbers.range: with this result the evaluation would build more than 32 MiB; build shorter texts and lists"
		if result.Name == "corp_test.test_small" {
			want = ""
		}
		if result.Failure != want {
			t.Errorf("%s: Failure is %q", result.Name, result.Failure)
		}
	}
	if len(results) != 3 {
		t.Errorf("there are %d results, want 3", len(results))
	}
}

func TestEveryEstimateIsOfAFunction(t *testing.T) {
	t.Parallel()
	available := map[string]bool{}
	for _, builtin := range capabilities().Builtins {
		available[builtin.Name] = true
	}
	for name := range estimates {
		if !available[name] {
			t.Errorf("modules cannot call %s", name)
		}
	}
}
