package policies

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// PatchOperation is one operation of a JSON Patch (RFC 6902) on the object under review.
type PatchOperation struct {
	// Op is "add" or "remove". A member is always set with "add", even if it exists, so that an object with the API
	// server's defaults gets the same patch, byte for byte, as the manifest that it was created from.
	Op string `json:"op"`
	// Path is a JSON Pointer (RFC 6901) into the object, for example
	// /spec/template/spec/topologySpreadConstraints/-.
	Path string `json:"path"`
	// Value is the value that "add" sets. It has JSON types only: string, bool, int64, float64, []any and
	// map[string]any. It is absent for "remove".
	Value any `json:"value,omitempty"`
}

// apply returns a copy of content with the operation applied, which shares with content what the operation does not
// change. It is the meaning of the operation by RFC 6902, for the operations that repairs consist of. A library that
// reads and writes JSON takes several times as long, and each repair is tried before it is proposed.
func (o PatchOperation) apply(content map[string]any) (map[string]any, error) {
	path, ok := strings.CutPrefix(o.Path, "/")
	if !ok || o.Op != "add" && o.Op != "remove" {
		return nil, fmt.Errorf("%s %q is not supported", o.Op, o.Path)
	}
	applied, err := o.applyTo(content, strings.Split(path, "/"))
	if err != nil {
		return nil, err
	}
	return applied.(map[string]any), nil
}

// applyTo applies the operation to the value that the parts of a path lead into.
func (o PatchOperation) applyTo(parent any, path []string) (any, error) {
	switch parent := parent.(type) {
	case map[string]any:
		return o.applyToMember(parent, unescaped.Replace(path[0]), path[1:])
	case []any:
		return o.applyToElement(parent, path[0], path[1:])
	default:
		return nil, o.missing()
	}
}

func (o PatchOperation) applyToMember(parent map[string]any, key string, rest []string) (any, error) {
	below, exists := parent[key]
	isLast := len(rest) == 0
	if !exists && (!isLast || o.Op == "remove") {
		return nil, o.missing()
	}
	changed := maps.Clone(parent)
	switch {
	case isLast && o.Op == "remove":
		delete(changed, key)
	case isLast:
		if changed == nil {
			changed = map[string]any{}
		}
		changed[key] = o.Value
	default:
		var err error
		if changed[key], err = o.applyTo(below, rest); err != nil {
			return nil, err
		}
	}
	return changed, nil
}

func (o PatchOperation) applyToElement(parent []any, index string, rest []string) (any, error) {
	isLast := len(rest) == 0
	adds := isLast && o.Op == "add"
	if adds && index == "-" {
		return append(slices.Clip(parent), o.Value), nil
	}
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 || i > len(parent) || i == len(parent) && !adds {
		return nil, o.missing()
	}
	changed := slices.Clone(parent)
	switch {
	case adds:
		return slices.Insert(changed, i, o.Value), nil
	case isLast:
		return slices.Delete(changed, i, i+1), nil
	}
	if changed[i], err = o.applyTo(parent[i], rest); err != nil {
		return nil, err
	}
	return changed, nil
}

func (o PatchOperation) missing() error {
	return fmt.Errorf("%s %s: the place does not exist", o.Op, o.Path)
}
