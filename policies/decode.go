package policies

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
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
	placed := json.Unmarshal(raw, reflect.New(reflect.TypeOf(into).Elem()).Interface())
	return cmp.Or(fieldError(placed), err, placed)
}

// fieldError returns a *FieldError if the error of a JSON decoder names the field, else nil.
func fieldError(err error) error {
	mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return nil
	}
	return &FieldError{
		Path:    "/" + strings.ReplaceAll(mismatch.Field, ".", "/"),
		Problem: mismatchProblem(mismatch),
	}
}

// hasLargeNumber reports whether a document has a whole number that does not fit into 32 bits.
func hasLargeNumber(value any) bool {
	switch value := value.(type) {
	case int64:
		return value != int64(int32(value))
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
			return fmt.Sprintf("want a whole number of %d bits, got %s", mismatch.Type.Bits(), number)
		}
		return fmt.Sprintf("want a whole number, got %s; write digits without quotes", article(got))
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
