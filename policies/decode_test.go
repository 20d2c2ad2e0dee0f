package policies

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNewObjectRejectsWhatTheAPIServerCannotDecode(t *testing.T) {
	service := func(spec map[string]any) map[string]any {
		return map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "web"}, "spec": spec}
	}
	deployment := func(replicas any) map[string]any {
		return map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "web"},
			"spec": map[string]any{"replicas": replicas}}
	}
	tests := map[string]struct {
		content map[string]any
		want    FieldError
	}{
		"a number that would overflow to 1": {
			deployment(int64(4294967297)),
			FieldError{"/spec/replicas", "want a whole number of 32 bits, got 4294967297"},
		},
		"a number that would overflow to a negative one": {
			deployment(int64(2147483649)),
			FieldError{"/spec/replicas", "want a whole number of 32 bits, got 2147483649"},
		},
		"a number in quotes": {
			deployment("3"),
			FieldError{"/spec/replicas", "want a whole number, got a string; write digits without quotes"},
		},
		"a fraction": {
			deployment(1.5),
			FieldError{"/spec/replicas", "want a whole number of 32 bits, got 1.5"},
		},
		"a string instead of a list": {
			service(map[string]any{"ports": "http"}),
			FieldError{"/spec/ports", "want a list, got a string"},
		},
		"a boolean instead of a string": {
			service(map[string]any{"type": true}),
			FieldError{"/spec/type", "want a string, got a boolean; quote it"},
		},
		"a list instead of an object": {
			service(map[string]any{"selector": []any{}}),
			FieldError{"/spec/selector", "want an object, got a list"},
		},
		"no name": {
			map[string]any{"apiVersion": "v1", "kind": "Service"},
			FieldError{"/metadata/name", "want a name, got none; set one"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := NewObject(test.content)
			got, ok := errors.AsType[*FieldError](err)
			if !ok {
				t.Fatalf("NewObject() error = %v, want a *FieldError", err)
			}
			if diff := cmp.Diff(test.want, *got); diff != "" {
				t.Errorf("NewObject() error mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewObjectAcceptsLargeNumbersInFieldsOf64Bits(t *testing.T) {
	object, err := NewObject(map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": "web", "generation": int64(1) << 40},
		"spec":     map[string]any{"replicas": int64(3)},
	})
	if err != nil || *object.Workload.Replicas != 3 {
		t.Errorf("NewObject() = %v, %v; want 3 replicas", object, err)
	}
}
