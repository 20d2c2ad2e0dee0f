package webhook

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sourceward/sourceward/api/v1alpha1"
)

// compressed returns a revision whose spec is a text.
func compressed(t *testing.T, generation int64, text string) *v1alpha1.Revision {
	t.Helper()
	var spec bytes.Buffer
	w := gzip.NewWriter(&spec)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &v1alpha1.Revision{Generation: generation, Spec: spec.Bytes()}
}

func TestARevisionHoldsTheSpec(t *testing.T) {
	t.Parallel()
	want := v1alpha1.SourceIPPolicySpec{
		Priority:   7,
		Parameters: &runtime.RawExtension{Raw: []byte(`{"less":"<","separator":"` + "\u2028" + `"}`)},
		Rego:       []v1alpha1.RegoModule{{Name: "corp.rego", Module: "package sourceward.custom.corp\n# é < \x01\u2028\n"}},
	}
	revision, err := newRevision(3, want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := specOf(*revision)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Rego, got.Rego); diff != "" {
		t.Errorf("modules mismatch (-want +got):\n%s", diff)
	}
	if !holds(*revision, 3, want) || !holds(*revision, 3, got) {
		t.Error("the revision does not hold the spec that it was made from")
	}
	if holds(*revision, 4, want) || holds(*revision, 3, v1alpha1.SourceIPPolicySpec{Priority: 8}) {
		t.Error("the revision holds another generation or another spec")
	}
	if newer := compressed(t, 3, `{"priority":8,"fieldOfANewerVersion":1}`); !holds(*newer, 3,
		v1alpha1.SourceIPPolicySpec{Priority: 8}) {
		t.Error("a field that this version does not know makes a difference: two versions would fight over the revision")
	}
}

func TestARevisionThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spec []byte
		want string
	}{
		"is empty":                {nil, "EOF"},
		"is not compressed":       {[]byte(`{"priority":8}`), "gzip: invalid header"},
		"is cut off":              {compressed(t, 1, `{"priority":8}`).Spec[:16], "EOF"},
		"is not JSON":             {compressed(t, 1, "priority: 8").Spec, "invalid character"},
		"has a key twice":         {compressed(t, 1, `{"priority":8,"priority":9}`).Spec, `key "priority" is set twice`},
		"has a field of a list":   {compressed(t, 1, `{"priority":[]}`).Spec, "priority"},
		"is a few bytes of a GiB": {compressed(t, 1, strings.Repeat(" ", maxSpec+1)).Spec, "more than 3145728 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			revision := v1alpha1.Revision{Generation: 1, Spec: test.spec}
			if _, err := specOf(revision); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("specOf() = %v, want an error with %q", err, test.want)
			}
			if holds(revision, 1, v1alpha1.SourceIPPolicySpec{Priority: 8}) {
				t.Error("it holds a spec")
			}
		})
	}
}

// TestTheLargestPolicyFitsIntoEtcd checks that the status of a policy can be written, even if it is as large as it may
// be and its text cannot be compressed.
func TestTheLargestPolicyFitsIntoEtcd(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	text := func(length int) string {
		var b strings.Builder
		for range length {
			b.WriteByte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-."[random.IntN(64)])
		}
		return b.String()
	}
	parameters := `{"text":"` + text(v1alpha1.MaxParameters-len(`{"text":""}`)) + `"}`
	policy := v1alpha1.SourceIPPolicy{Spec: v1alpha1.SourceIPPolicySpec{
		Match:         &v1alpha1.Match{},
		Parameters:    &runtime.RawExtension{Raw: []byte(parameters)},
		LoadBalancers: &v1alpha1.LoadBalancers{Classes: map[string]string{}},
	}}
	for range v1alpha1.MaxExcludeNamespaces {
		policy.Spec.Match.ExcludeNamespaces = append(policy.Spec.Match.ExcludeNamespaces, text(63))
	}
	for range v1alpha1.MaxClasses {
		policy.Spec.LoadBalancers.Classes[text(63)] = text(63)
	}
	for range v1alpha1.MaxRules {
		policy.Spec.Rules = append(policy.Spec.Rules, v1alpha1.RuleMode{ID: text(v1alpha1.MaxRuleID), Mode: "Audit"})
	}
	for range v1alpha1.MaxRegoModules {
		policy.Spec.Rego = append(policy.Spec.Rego, v1alpha1.RegoModule{
			Name: text(v1alpha1.MaxModuleName), Module: text(v1alpha1.MaxRego / v1alpha1.MaxRegoModules),
		})
	}
	var err error
	if policy.Status.LastCompiled, err = newRevision(1, policy.Spec); err != nil {
		t.Fatal(err)
	}
	object, err := json.Marshal(policy)
	if err != nil {
		t.Fatal(err)
	}
	const etcd = 1536 << 10 // its default for --max-request-bytes
	if size := len(object) + maxConditionMessage; size > etcd {
		t.Errorf("the policy has %d bytes, want at most %d", size, etcd)
	} else {
		t.Logf("the policy has %d bytes", size)
	}
	if _, err := specOf(*policy.Status.LastCompiled); err != nil {
		t.Error(err)
	}
}
