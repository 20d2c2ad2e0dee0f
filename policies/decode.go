package policies

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	kjson "sigs.k8s.io/json"
)

// FieldError is a field with a value that the API server could not decode.
type FieldError struct {
	// Path is the JSON Pointer of the field, without list indices.
	Path string
	// Problem describes what is wrong and what to write, for example
	//
	//	want a string, got a boolean; quote it
	Problem string
}

func (e *FieldError) Error() string { return e.Path + ": " + e.Problem }

// Decode decodes content into a typed Kubernetes object. It ignores unknown fields, as the API server does. The error
// is non-nil when a field has a value that the API server could not decode. It is a *FieldError if the field is known.
func Decode(content map[string]any, into any) error {
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, into)
	if err == nil && !hasLargeNumber(content) {
		return nil
	}
	// The converter does not say which field is wrong, and lets numbers overflow that are too large for their field.
	// The JSON decoder is slower but does neither. Few objects get here.
	raw, marshalErr := json.Marshal(content)
	if marshalErr != nil {
		return marshalErr
	}
	placed := utiljson.Unmarshal(raw, reflect.New(reflect.TypeOf(into).Elem()).Interface())
	return cmp.Or(fieldError(placed, into), err, placed)
}

// DecodeJSON decodes JSON that an API server sent into a typed Kubernetes object. Like Decode, it ignores unknown
// fields, and keys are case-sensitive.
// The error is non-nil in the same cases as that of Decode, and when raw is not JSON, or has a key twice in one object,
// wherever that is: readers that differ in which one counts would see different objects.
func DecodeJSON(raw []byte, into any) error {
	// A key that is set twice comes first: it makes any other error doubtful.
	if err := unambiguous(raw); err != nil {
		return err
	}
	err := kjson.UnmarshalCaseSensitivePreserveInts(raw, into)
	return cmp.Or(fieldError(err, into), err)
}

// maxNumber is how many digits of a number a message has.
const maxNumber = 40

// maxKey is how many bytes of a key, with the path that leads to it, a message has.
const maxKey = 100

// unambiguous returns an error if raw is not JSON, has a number that is too large, or has an object with a key twice.
// It keeps nothing of raw in memory but the keys of the objects that contain the current one.
func unambiguous(raw []byte) error {
	// Invalid UTF-8 is read by all decoders alike.
	decoder := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowInvalidUTF8(true))
	for {
		token, err := decoder.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if at, ok := errors.AsType[*jsontext.SyntacticError](err); ok && errors.Is(err, jsontext.ErrDuplicateName) {
			return fmt.Errorf("key %q is set twice; remove one", Shorten(string(at.JSONPointer), maxKey))
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

// fieldError returns a *FieldError if the error of a JSON decoder names the field of into, else nil.
func fieldError(err error, into any) error {
	mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return nil
	}
	return &FieldError{Path: fieldPath(mismatch.Field, reflect.TypeOf(into)), Problem: mismatchProblem(mismatch)}
}

// fieldPath returns the JSON Pointer of a field of a type. The decoder names the field by the names on the way to it,
// with dots between them. It includes the Go names of embedded structs, which JSON does not have.
func fieldPath(named string, in reflect.Type) string {
	var path strings.Builder
	for name := range strings.SplitSeq(named, ".") {
		for in.Kind() == reflect.Pointer || in.Kind() == reflect.Slice || in.Kind() == reflect.Map {
			in = in.Elem()
		}
		embedded := false
		for i := 0; in.Kind() == reflect.Struct && i < in.NumField(); i++ {
			field := in.Field(i)
			tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			embedded = field.Anonymous && tag == "" && field.Name == name
			if embedded || tag == name {
				in = field.Type
				break
			}
		}
		if !embedded {
			path.WriteString("/" + name)
		}
	}
	return path.String()
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
	case reflect.Int32, reflect.Int64:
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
