package webhook

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// The last generation of a policy that compiles is kept in its status. There each replica finds it together with the
// policy, by the watch and the permission that it has for the status, and it is deleted with the policy. The data of a
// ControllerRevision, the other place for a former spec, is immutable: each generation would need an object of its own,
// and replicas the permission to list and delete them.

// maxSpec bounds the JSON of a spec in a Revision, in bytes. An object in etcd has at most 1.5 MiB, and the JSON that
// Go writes is at most twice as long: it escapes U+2028.
const maxSpec = 3 << 20

// newRevision returns a generation of a policy whose spec is as the API server has sent it. The error is non-nil if the
// spec is not valid JSON.
func newRevision(generation int64, spec v1alpha1.SourceIPPolicySpec) (*v1alpha1.Revision, error) {
	var text bytes.Buffer
	compressed := gzip.NewWriter(&text)
	encoder := json.NewEncoder(compressed)
	encoder.SetEscapeHTML(false)
	err := errors.Join(encoder.Encode(spec), compressed.Close())
	return &v1alpha1.Revision{Generation: generation, Spec: text.Bytes()}, err
}

// specOf returns the spec in a revision. The error is non-nil if it cannot be read, so that no webhook has written it.
func specOf(revision v1alpha1.Revision) (spec v1alpha1.SourceIPPolicySpec, err error) {
	compressed, err := gzip.NewReader(bytes.NewReader(revision.Spec))
	if err != nil {
		return spec, err
	}
	text, err := io.ReadAll(io.LimitReader(compressed, maxSpec+1))
	if err != nil {
		return spec, err
	}
	if len(text) > maxSpec {
		return spec, fmt.Errorf("the JSON has more than %d bytes", maxSpec)
	}
	return spec, policies.DecodeJSON(text, &spec)
}

// holds reports whether a revision is a generation with this spec. It compares the fields that this version of
// Sourceward knows, so that two versions that run side by side do not replace each other's revisions without end.
func holds(revision v1alpha1.Revision, generation int64, spec v1alpha1.SourceIPPolicySpec) bool {
	if revision.Generation != generation {
		return false
	}
	held, err := specOf(revision)
	if err != nil {
		return false
	}
	got, err1 := json.Marshal(held)
	want, err2 := json.Marshal(spec)
	return errors.Join(err1, err2) == nil && bytes.Equal(got, want)
}
