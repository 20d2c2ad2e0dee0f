package policies

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	json2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	kjson "sigs.k8s.io/json"
)

// FieldError is a field with a value that the API server could not decode.
type FieldError struct {
	// Path is the JSON Pointer of the field; empty for the object as a whole.
	Path string
	// Problem describes what is wrong and what to write, for example
	//
	//	want a string, got a boolean; quote it
	Problem string
}

func (e *FieldError) Error() string {
	if e.Path == "" {
		return e.Problem
	}
	return e.Field() + ": " + e.Problem
}

// Field returns the path in the form in which messages name a field, for example spec.ports[0].port or
// metadata.annotations[example.com/team].
func (e *FieldError) Field() string { return fieldName(e.Path) }

// fieldName returns the field that a JSON Pointer names as API servers write it, in at most maxField bytes.
func fieldName(path string) string {
	var name strings.Builder
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		part = unescaped.Replace(part)
		switch {
		case !plainName.MatchString(part):
			name.WriteString("[" + part + "]")
		case name.Len() > 0:
			name.WriteString("." + part)
		default:
			name.WriteString(part)
		}
	}
	return Shorten(Printable(name.String()), maxField)
}

// plainName matches the names of fields. It does not match an index.
var plainName = regexp.MustCompile(`^[A-Za-z$_][A-Za-z0-9$_-]*$`)

// Decode decodes content into a typed Kubernetes object. It ignores unknown fields, as the API server does. The error
// is non-nil when a field has a value that the API server could not decode. It is a *FieldError if the field is known.
func Decode(content map[string]any, into any) error {
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, into)
	if err == nil && !hasLargeNumber(content) {
		return nil
	}
	// The converter does not say which field is wrong, and lets numbers overflow that are too large for their field.
	// The JSON decoder is slower but does neither. Few objects get here.
	return cmp.Or(fieldError(content, into), err)
}

// DecodeJSON decodes JSON that an API server sent into a typed Kubernetes object. Like Decode, it ignores unknown
// fields, and keys are case-sensitive.
// The error is non-nil in the same cases as that of Decode, and when raw is not JSON, or has a key twice in one object,
// wherever that is: readers that differ in which one counts would see different objects.
func DecodeJSON(raw []byte, into any) error {
	if decodedAtOnce(raw, into) {
		return nil
	}
	// A key that is set twice comes first: it makes any other error doubtful.
	if err := unambiguous(raw); err != nil {
		return err
	}
	err := kjson.UnmarshalCaseSensitivePreserveInts(raw, into)
	if err == nil {
		return nil
	}
	var content any
	if wrong := kjson.UnmarshalCaseSensitivePreserveInts(raw, &content); wrong != nil {
		return wrong
	}
	return cmp.Or(fieldError(content, into), err)
}

// decodedAtOnce decodes JSON in one pass, which takes half the time of the decoder of API servers and of the search for
// keys that are set twice. It returns false, and leaves into empty, if that fails or if there is a doubt: only they say
// what is wrong.
func decodedAtOnce(raw []byte, into any) bool {
	if _, isUntyped := into.(*map[string]any); isUntyped || hasLongNumber(raw) {
		return false // whole numbers would become floats; a number may be too large for any field
	}
	// Invalid UTF-8 is read by all decoders alike.
	if json2.Unmarshal(raw, into, jsontext.AllowInvalidUTF8(true)) == nil {
		return true
	}
	reflect.ValueOf(into).Elem().SetZero() // it holds what came before the error
	return false
}

// hasLongNumber reports whether a number in JSON has an exponent, or so many digits that it may not fit into 64 bits. A
// float has up to 309 digits before its point.
func hasLongNumber(raw []byte) bool {
	digits := 0
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			for i++; i < len(raw) && raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
			digits = 0
		case c >= '0' && c <= '9', c == '.':
			if digits++; digits > 300 {
				return true
			}
		case digits > 0 && (c == 'e' || c == 'E'):
			return true
		default:
			digits = 0
		}
	}
	return false
}

// maxNumber is how many digits of a number a message has.
const maxNumber = 40

// maxField is how many bytes of a field, with the path that leads to it, a message has.
const maxField = 100

// keyDecoders holds decoders of unambiguous, which keep their memory for the keys of an object.
var keyDecoders = sync.Pool{New: func() any { return jsontext.NewDecoder(bytes.NewBuffer(nil)) }}

// unambiguous returns an error if raw is not JSON, has a number that is too large, or has an object with a key twice.
// It keeps nothing of raw in memory but the keys of the objects that contain the current one.
func unambiguous(raw []byte) error {
	decoder := keyDecoders.Get().(*jsontext.Decoder) //nolint:forcetypeassert // it holds nothing else
	defer func() {
		decoder.Reset(bytes.NewBuffer(nil)) // so that raw can be freed
		keyDecoders.Put(decoder)
	}()
	// Invalid UTF-8 is read by all decoders alike.
	decoder.Reset(bytes.NewBuffer(raw), jsontext.AllowInvalidUTF8(true))
	for {
		token, err := decoder.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if at, ok := errors.AsType[*jsontext.SyntacticError](err); ok && errors.Is(err, jsontext.ErrDuplicateName) {
			return fmt.Errorf("key %q is set twice; remove one", fieldName(string(at.JSONPointer)))
		}
		if err != nil {
			return err
		}
		if token.Kind() != jsontext.KindNumber {
			continue
		}
		if _, err := token.Float(); err != nil {
			return fmt.Errorf("want a number of 64 bits, got %s", Shorten(token.String(), maxNumber))
		}
	}
}

// fieldError returns a *FieldError for the first value, in the order of keys and elements, that does not fit into its
// field of a type; nil if all do.
func fieldError(content, into any) error {
	path, problem := misfit(content, reflect.TypeOf(into).Elem())
	if problem == "" {
		return nil
	}
	return &FieldError{path, problem}
}

// misfit returns the JSON Pointer of the value that does not fit, and what is wrong with it. JSON decoders name only
// the fields on the way to it, without indices and keys, and some types that decode themselves name none.
func misfit(value any, in reflect.Type) (path, problem string) {
	raw, err := json.Marshal(value)
	if err == nil {
		err = kjson.UnmarshalCaseSensitivePreserveInts(raw, reflect.New(in).Interface())
	}
	if err == nil {
		return "", ""
	}
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			if member := memberType(in, key); member != nil {
				if path, problem = misfit(value[key], member); problem != "" {
					return pointer(key) + path, problem
				}
			}
		}
	case []any:
		for i, element := range value {
			if of := elementType(in); of != nil {
				if path, problem = misfit(element, of); problem != "" {
					return pointer(strconv.Itoa(i)) + path, problem
				}
			}
		}
	}
	return "", misfitProblem(value, in, err)
}

// memberType returns the type of the member of an object that is decoded into in; nil if it is not decoded.
func memberType(in reflect.Type, key string) reflect.Type {
	switch in = pointedTo(in); {
	case decodesItself(in):
		return nil
	case in.Kind() == reflect.Map:
		return in.Elem()
	case in.Kind() != reflect.Struct:
		return nil
	}
	for field := range in.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "" && field.Anonymous:
			if member := memberType(field.Type, key); member != nil {
				return member
			}
		case name != "" && name != "-" && name == key:
			return field.Type
		}
	}
	return nil
}

// elementType returns the type of the elements of a list that is decoded into in; nil if they are not decoded.
func elementType(in reflect.Type) reflect.Type {
	if in = pointedTo(in); in.Kind() != reflect.Slice || decodesItself(in) {
		return nil
	}
	return in.Elem()
}

func pointedTo(in reflect.Type) reflect.Type {
	for in.Kind() == reflect.Pointer {
		in = in.Elem()
	}
	return in
}

func decodesItself(in reflect.Type) bool {
	return reflect.PointerTo(in).Implements(reflect.TypeFor[json.Unmarshaler]())
}

// misfitProblem describes a value that does not fit into a field of a type. err is the error of the JSON decoder.
func misfitProblem(value any, in reflect.Type, err error) string {
	want := ""
	switch pointedTo(in) {
	case reflect.TypeFor[resource.Quantity]():
		want = "a quantity such as 500m or 64Mi"
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
		want = "a time such as 2027-03-31T12:00:00Z"
	case reflect.TypeFor[intstr.IntOrString]():
		want = "a whole number or a string"
	}
	mismatch, isMismatch := errors.AsType[*json.UnmarshalTypeError](err)
	switch text, isText := value.(string); {
	case isMismatch && (want == "" || strings.HasPrefix(mismatch.Value, "number ")):
		return mismatchProblem(mismatch)
	case want == "":
		return "not valid: " + err.Error()
	case isText:
		return fmt.Sprintf("want %s, got %s", want, quoted(text))
	default:
		return fmt.Sprintf("want %s, got %s", want, article(wordOf(value)))
	}
}

// wordOf returns what a JSON decoder calls a value that is not a string.
func wordOf(value any) string {
	switch value.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case bool:
		return "bool"
	default:
		return "number"
	}
}

// hasLargeNumber reports whether a document has a number that does not fit into a whole number of 32 bits.
func hasLargeNumber(value any) bool {
	switch value := value.(type) {
	case int64:
		return value != int64(int32(value))
	case float64:
		return math.Abs(value) > math.MaxInt32
	case map[string]any:
		for _, member := range value {
			if hasLargeNumber(member) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(value, hasLargeNumber)
	}
	return false
}

func mismatchProblem(mismatch *json.UnmarshalTypeError) string {
	got, _, _ := strings.Cut(mismatch.Value, " ")
	want := mismatch.Type.Kind()
	switch want {
	case reflect.String:
		if got == "bool" || got == "number" {
			return fmt.Sprintf("want a string, got %s; quote it", article(got))
		}
		return fmt.Sprintf("want a string, got %s", article(got))
	case reflect.Slice:
		return fmt.Sprintf("want a list, got %s", article(got))
	case reflect.Bool:
		return fmt.Sprintf("want true or false, got %s", article(got))
	case reflect.Int, reflect.Int32, reflect.Int64:
		if number, ok := strings.CutPrefix(mismatch.Value, "number "); ok {
			return fmt.Sprintf("want a whole number of %d bits, got %s", mismatch.Type.Bits(), Shorten(number, maxNumber))
		}
		return fmt.Sprintf("want a whole number, got %s; write digits without quotes", article(got))
	case reflect.Float64:
		number, _ := strings.CutPrefix(mismatch.Value, "number ")
		return fmt.Sprintf("want a number of 64 bits, got %s", Shorten(number, maxNumber))
	default:
		return fmt.Sprintf("want an object, got %s", article(got))
	}
}

func article(word string) string {
	switch word {
	case "array":
		return "a list"
	case "object":
		return "an object"
	case "bool":
		return "a boolean"
	}
	return "a " + word
}
