package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies/bundle"
)

// policyCluster is an API server without the checks of one, and the replicas of a webhook.
type policyCluster struct {
	t *testing.T
	client.Client
	compiler *bundle.Compiler
}

func newPolicyCluster(t *testing.T, compiler *bundle.Compiler) *policyCluster {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	server := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.SourceIPPolicy{}).Build()
	return &policyCluster{t, server, compiler}
}

// goodSpec and badSpec are the specs of a generation that compiles, and of one that does not.
func goodSpec(generation int64) v1alpha1.SourceIPPolicySpec {
	return v1alpha1.SourceIPPolicySpec{Rego: []v1alpha1.RegoModule{{Name: "corp.rego", Module: fmt.Sprintf(
		"package sourceward.custom.corp\n\ndeny contains {\"message\": \"generation %d\"}\n", generation)}}}
}

func badSpec() v1alpha1.SourceIPPolicySpec {
	return v1alpha1.SourceIPPolicySpec{Rego: []v1alpha1.RegoModule{{Name: "corp.rego", Module: "package elsewhere\n"}}}
}

// store stores a generation of the policy corp.
func (c *policyCluster) store(uid types.UID, generation int64, spec v1alpha1.SourceIPPolicySpec) {
	c.t.Helper()
	var policy v1alpha1.SourceIPPolicy
	err := c.Get(c.t.Context(), client.ObjectKey{Name: "corp"}, &policy)
	if err == nil && policy.UID == uid {
		policy.Generation, policy.Spec = generation, spec
		err = c.Update(c.t.Context(), &policy)
	} else {
		if err == nil {
			err = c.Delete(c.t.Context(), &policy)
		}
		policy = v1alpha1.SourceIPPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "corp", UID: uid, Generation: generation}, Spec: spec,
		}
		err = errors.Join(client.IgnoreNotFound(err), c.Create(c.t.Context(), &policy))
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// storeLastCompiled changes the status as only somebody else than the webhook does.
func (c *policyCluster) storeLastCompiled(revision *v1alpha1.Revision) {
	c.t.Helper()
	policy := c.policy()
	policy.Status.LastCompiled = revision
	if err := c.Status().Update(c.t.Context(), policy); err != nil {
		c.t.Fatal(err)
	}
}

func (c *policyCluster) policy() *v1alpha1.SourceIPPolicy {
	c.t.Helper()
	policy := &v1alpha1.SourceIPPolicy{}
	if err := c.Get(c.t.Context(), client.ObjectKey{Name: "corp"}, policy); err != nil {
		c.t.Fatal(err)
	}
	return policy
}

// uncached is a cache that reads from the API server.
type uncached struct {
	cache.Cache
	reader client.Reader
}

func (u uncached) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	return u.reader.List(ctx, list, options...)
}

type policyReplica struct {
	*policyCluster
	source *policySource
	writer *statusWriter
	errors *[]string // in the log
}

// start starts a replica, which does nothing until it is told to.
func (c *policyCluster) start() *policyReplica {
	c.t.Helper()
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		c.t.Fatal(err)
	}
	logged := &[]string{}
	log := funcr.New(func(_, line string) {
		if strings.Contains(line, `"error"=`) {
			*logged = append(*logged, line)
		}
	}, funcr.Options{})
	source := &policySource{
		compiler: c.compiler, reader: uncached{reader: c.Client}, metrics: metrics, log: log,
		changed: make(chan struct{}, 1), recompiled: make(chan struct{}, 1),
	}
	writer := &statusWriter{source: source, client: c.Client, recorder: events.NewFakeRecorder(100), log: log}
	return &policyReplica{c, source, writer, logged}
}

// see makes a replica compile what is stored.
func (r *policyReplica) see() {
	r.t.Helper()
	if err := r.source.compile(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// work makes a replica compile what is stored, and write the status if that changed anything.
func (r *policyReplica) work() {
	r.t.Helper()
	r.see()
	select {
	case <-r.source.recompiled:
		if _, err := r.writer.writeAll(r.t.Context(), r.source.current.Load().policies); err != nil {
			r.t.Fatal(err)
		}
	default:
	}
}

// inForce returns the generation of the policy corp that is in force, or 0.
func (r *policyReplica) inForce() int64 {
	r.t.Helper()
	policy := r.source.current.Load().policies[0] // corp is the only one
	if policy.inForce == nil {
		return 0
	}
	message := fmt.Sprintf("generation %d", policy.inForceGeneration)
	if got := policy.inForce.Spec.Rego[0].Module; !strings.Contains(got, message) {
		r.t.Errorf("the module in force is not of %s: %s", message, got)
	}
	return policy.inForceGeneration
}

// TestReplicasAgree checks that all replicas have the same generation of a policy in force, whenever they started and
// whichever generations they have seen.
func TestReplicasAgree(t *testing.T) {
	t.Parallel()
	compiler := bundle.NewCompiler(nil)
	for name, test := range map[string]struct {
		// run returns the replicas that run at the end.
		run     func(c *policyCluster) []*policyReplica
		inForce int64
		stored  int64 // the generation of lastCompiled, 0 if there is none
		says    string
	}{
		"a replica starts when the newest generation does not compile": {
			func(c *policyCluster) []*policyReplica {
				c.store("u1", 1, goodSpec(1))
				first := c.start()
				first.work()
				c.store("u1", 2, badSpec())
				first.work()
				return []*policyReplica{first, c.start()}
			},
			1, 1, "generation 2 does not compile: generation 1 is in force",
		},
		"the newest generation was stored while no replica ran": {
			func(c *policyCluster) []*policyReplica {
				c.store("u1", 1, goodSpec(1))
				c.start().work()
				c.store("u1", 2, badSpec())
				return []*policyReplica{c.start(), c.start()}
			},
			1, 1, "generation 2 does not compile: generation 1 is in force",
		},
		"several generations do not compile": {
			func(c *policyCluster) []*policyReplica {
				c.store("u1", 3, goodSpec(3))
				c.start().work()
				c.store("u1", 4, badSpec())
				c.start().work()
				c.store("u1", 5, badSpec())
				return []*policyReplica{c.start(), c.start()}
			},
			3, 3, "generation 5 does not compile: generation 3 is in force",
		},
		"only one replica has seen the last generation that compiles": {
			func(c *policyCluster) []*policyReplica {
				first, second := c.start(), c.start()
				c.store("u1", 1, goodSpec(1))
				first.work()
				second.work()
				c.store("u1", 2, goodSpec(2))
				first.work()
				c.store("u1", 3, badSpec())
				return []*policyReplica{second, first}
			},
			2, 2, "generation 3 does not compile: generation 2 is in force",
		},
		"only one replica has seen the last generation that compiles, and has not written it when the next is stored": {
			func(c *policyCluster) []*policyReplica {
				first, second := c.start(), c.start()
				c.store("u1", 1, goodSpec(1))
				first.work()
				second.work()
				c.store("u1", 2, goodSpec(2))
				first.see()
				c.store("u1", 3, badSpec())
				second.work()
				if got := second.inForce(); got != 1 {
					c.t.Errorf("generation %d is in force, want 1, since no other was written", got)
				}
				return []*policyReplica{first, second}
			},
			2, 2, "generation 3 does not compile: generation 2 is in force",
		},
		"a later generation compiles": {
			func(c *policyCluster) []*policyReplica {
				c.store("u1", 1, goodSpec(1))
				c.start().work()
				c.store("u1", 2, badSpec())
				first := c.start()
				first.work()
				c.store("u1", 3, goodSpec(3))
				return []*policyReplica{first, c.start()}
			},
			3, 3, "generation 3 is in force",
		},
		"no generation compiles": {
			func(c *policyCluster) []*policyReplica {
				c.store("u1", 1, badSpec())
				return []*policyReplica{c.start(), c.start()}
			},
			0, 0, "generation 1 does not compile, and no earlier generation that compiles is known: " +
				"nothing of this policy is in force",
		},
		"the policy was deleted and created again": {
			func(c *policyCluster) []*policyReplica {
				c.store("u1", 1, goodSpec(1))
				first := c.start()
				first.work()
				c.store("u2", 2, badSpec())
				return []*policyReplica{first, c.start()}
			},
			0, 0, "generation 2 does not compile, and no earlier generation that compiles is known: " +
				"nothing of this policy is in force",
		},
		"a former version of Sourceward has compiled this generation": {
			func(c *policyCluster) []*policyReplica {
				c.store("u1", 2, badSpec())
				revision, err := newRevision(2, badSpec())
				if err != nil {
					c.t.Fatal(err)
				}
				c.storeLastCompiled(revision)
				return []*policyReplica{c.start(), c.start()}
			},
			0, 2, "generation 2 does not compile, and no earlier generation that compiles is known: " +
				"nothing of this policy is in force",
		},
		"a former version of Sourceward has compiled a former generation": {
			func(c *policyCluster) []*policyReplica {
				c.store("u1", 2, badSpec())
				revision, err := newRevision(1, badSpec())
				if err != nil {
					c.t.Fatal(err)
				}
				c.storeLastCompiled(revision)
				return []*policyReplica{c.start(), c.start()}
			},
			0, 1, "generation 2 does not compile, and no earlier generation that compiles is known: " +
				"nothing of this policy is in force",
		},
		"somebody has replaced the generation in force": {
			func(c *policyCluster) []*policyReplica {
				c.store("u1", 1, goodSpec(1))
				first := c.start()
				first.work()
				c.storeLastCompiled(&v1alpha1.Revision{Generation: 1, Spec: []byte("rubbish")})
				c.store("u1", 2, badSpec())
				return []*policyReplica{first, c.start()}
			},
			1, 1, "generation 2 does not compile: generation 1 is in force",
		},
		"somebody has written a generation that does not exist yet": {
			func(c *policyCluster) []*policyReplica {
				c.store("u1", 1, goodSpec(1))
				first := c.start()
				first.work()
				revision, err := newRevision(9, goodSpec(9))
				if err != nil {
					c.t.Fatal(err)
				}
				c.storeLastCompiled(revision)
				c.store("u1", 2, badSpec())
				return []*policyReplica{first, c.start()}
			},
			1, 1, "generation 2 does not compile: generation 1 is in force",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newPolicyCluster(t, compiler)
			replicas := test.run(c)
			for range 3 { // A status that one writes is seen by the others.
				for _, replica := range replicas {
					replica.work()
				}
			}
			for i, replica := range replicas {
				if got := replica.inForce(); got != test.inForce {
					t.Errorf("replica %d has generation %d in force, want %d", i+1, got, test.inForce)
				}
			}
			status := c.policy().Status
			degraded := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionDegraded)
			if degraded.Message != test.says {
				t.Errorf("the status says %q, want %q", degraded.Message, test.says)
			}
			var stored int64
			if status.LastCompiled != nil {
				stored = status.LastCompiled.Generation
			}
			if stored != test.stored {
				t.Errorf("lastCompiled is generation %d, want %d", stored, test.stored)
			}
			// What is written does not depend on the replica.
			for i, replica := range replicas {
				if written, err := replica.writer.writeAll(t.Context(), replica.source.current.Load().policies); written ||
					err != nil {
					t.Errorf("replica %d writes another status (%v)", i+1, err)
				}
			}
			fresh := c.start()
			fresh.work()
			if diff := cmp.Diff(status, c.policy().Status); diff != "" || fresh.inForce() != test.inForce {
				t.Errorf("one more replica has generation %d in force, and writes (-before +after):\n%s", fresh.inForce(), diff)
			}
		})
	}
}

// TestALastCompiledThatIsOfNoUse checks that a replica says so, once.
func TestALastCompiledThatIsOfNoUse(t *testing.T) {
	t.Parallel()
	compiler := bundle.NewCompiler(nil)
	bad, err := newRevision(1, badSpec())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		stored *v1alpha1.Revision
		want   string
	}{
		"it cannot be read":   {&v1alpha1.Revision{Generation: 1, Spec: []byte("rubbish")}, "status.lastCompiled not read"},
		"it does not compile": {bad, "status.lastCompiled does not compile"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newPolicyCluster(t, compiler)
			c.store("u1", 2, badSpec())
			c.storeLastCompiled(test.stored)
			replica := c.start()
			replica.work()
			replica.work()
			if logged := *replica.errors; len(logged) != 2 || !strings.Contains(logged[1], test.want) {
				t.Errorf("the errors in the log are %q, want that of the policy, and %q", logged, test.want)
			}
		})
	}
}

// TestACompilationThatDidNotEndIsRepeated checks that it is repeated when the time has come, and only then.
func TestACompilationThatDidNotEndIsRepeated(t *testing.T) {
	t.Parallel()
	c := newPolicyCluster(t, bundle.NewCompiler(nil))
	c.store("u1", 1, goodSpec(1))
	replica := c.start()
	unfinished := &bundle.Error{Message: "compiling the modules takes longer than 3s", Unfinished: true}
	replica.source.current.Store(&compiledPolicies{policies: []compiledPolicy{{
		name: "corp", uid: "u1", generation: 1, problems: []*bundle.Error{unfinished}, unfinished: true, retryAt: 2,
	}}})
	for ticks, want := range []int64{0, 0, 1} {
		replica.source.ticks = ticks
		if err := replica.source.compile(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := replica.inForce(); got != want {
			t.Errorf("after %d ticks generation %d is in force, want %d", ticks, got, want)
		}
	}
}

// TestAModuleThatNeverEndsIsRepeatedLessAndLess checks that the time to the next attempt doubles, and that the status
// keeps the reason of the first.
func TestAModuleThatNeverEndsIsRepeatedLessAndLess(t *testing.T) {
	t.Parallel()
	attempts := 0
	c := newPolicyCluster(t, bundle.NewCompiler(func(_ context.Context, list []bundle.Sources) []error {
		attempts++
		return slices.Repeat([]error{fmt.Errorf("reason %d", attempts)}, len(list))
	}))
	c.store("u1", 1, goodSpec(1))
	replica := c.start()
	var at []int
	for ticks := range 20 {
		before := attempts
		replica.source.ticks = ticks
		if err := replica.source.compile(t.Context()); err != nil {
			t.Fatal(err)
		}
		if attempts > before {
			at = append(at, ticks)
		}
	}
	if diff := cmp.Diff([]int{0, 1, 3, 7, 15}, at); diff != "" {
		t.Errorf("the ticks at which it is tried (-want +got):\n%s", diff)
	}
	if got := replica.source.current.Load().policies[0].problems[0].Message; got != "reason 1" {
		t.Errorf("the problem is %q, want that of the first attempt", got)
	}
}
