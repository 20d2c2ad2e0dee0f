package child

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies/bundle"
)

// TestMain is what main does in a program that uses this package. In a child, sources with one of the names below do
// to this process what a module could do by a fault in OPA.
func TestMain(m *testing.M) {
	if os.Getenv(marker) == "" {
		m.Run()
		return
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	out, values := json.NewEncoder(os.Stdout), json.NewDecoder(bytes.NewReader(input))
	for i := 0; values.More(); i++ {
		var s bundle.Sources
		if err := values.Decode(&s); err != nil {
			panic(err)
		}
		harm, isHarmful := harms[s.Rego[0].Name]
		if !isHarmful {
			continue
		}
		if err := setLimits(Compile.Memory); err != nil {
			panic(err)
		}
		for range i { // those before it have come to an end
			_ = out.Encode("")
		}
		harm()
	}
	code, _ := Main(bytes.NewReader(input), os.Stdout, Compile)
	os.Exit(code) //nolint:forbidigo // this is what main does
}

var harms = map[string]func(){
	"recursion": func() { fmt.Fprint(io.Discard, depth(0)) },
	"memory": func() {
		for text := []byte{1}; ; {
			text = append(text, bytes.Repeat(text, 2)...)
		}
	},
	"block":   func() { fmt.Fprint(io.Discard, len(make([]byte, 8<<30))) },
	"panic":   func() { panic("a fault") },
	"exit":    func() { os.Exit(3) },            //nolint:forbidigo // a death without a word
	"forever": func() { time.Sleep(time.Hour) }, // select {} alone is a deadlock, which Go without cgo ends
	"killed":  func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) },
	"silent":  func() { os.Exit(0) }, //nolint:forbidigo // an end without a word
	"open": func() {
		if _, err := os.Open("/etc/hostname"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1) //nolint:forbidigo // the parent reports it
		}
	},
}

// depth returns how deep it recurses from n, which is too deep for any stack.
func depth(n int) int {
	if n == math.MaxInt {
		return 0
	}
	return depth(n+1) + 1
}

func sources(rules string) bundle.Sources {
	return bundle.Sources{Rego: []v1alpha1.RegoModule{{
		Name: "corp.rego", Module: "package sourceward.custom.corp\n\n" + rules + "\n",
	}}}
}

// harmful returns sources with which a child does harm to itself.
func harmful(name string) bundle.Sources {
	return bundle.Sources{Rego: []v1alpha1.RegoModule{{Name: name}}}
}

var plain = sources(`deny contains {"message": "no"} if input.facts.local`)

func texts(errs []error) []string {
	list := make([]string, len(errs))
	for i, err := range errs {
		if err != nil {
			list[i] = err.Error()
		}
	}
	return list
}

func TestModulesThatComeToAnEndPass(t *testing.T) {
	t.Parallel()
	vetted := plain
	vetted.Vet = true
	list := []bundle.Sources{plain, sources(`deny contains`), sources(`deny := true`), vetted}
	if diff := cmp.Diff(make([]string, len(list)), texts(Try(t.Context(), list))); diff != "" {
		t.Errorf("Try() mismatch (-want +got):\n%s", diff)
	}
}

func TestAChildThatDiesSaysWhy(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"recursion": "compiling the modules exhausts the stack; make them shorter, or nest less deeply",
		"memory":    "compiling the modules takes more than 256 MiB of memory; make them shorter, or nest less deeply",
		"block":     "compiling the modules takes more than 256 MiB of memory; make them shorter, or nest less deeply",
		"panic": "compiling the modules ended (exit status 2: panic: a fault); " +
			"make them shorter, or nest less deeply",
		"exit": "compiling the modules ended (exit status 3); make them shorter, or nest less deeply",
		"killed": "compiling the modules was ended (signal: killed); " +
			"allow it more memory, processes or open files",
		"silent": "compiling the modules was ended (without a result); " +
			"allow it more memory, processes or open files",
		"forever": "compiling the modules takes longer than 4.5s; make them shorter, or nest less deeply",
		"open": "compiling the modules ended (exit status 1: open /etc/hostname: too many open files); " +
			"make them shorter, or nest less deeply",
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := Compile
			if name != "forever" {
				job.Time = time.Minute // so that none of the others takes too long on a busy machine
			}
			got := texts(try(t.Context(), job, []bundle.Sources{harmful(name)}))
			if diff := cmp.Diff([]string{want}, got); diff != "" {
				t.Errorf("try() mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRealModules compiles modules that the compiler of OPA v1.22.0 does not finish in time, or only with much memory.
func TestRealModules(t *testing.T) {
	t.Parallel()
	const takes = "compiling the modules takes " // longer than 3s, or more than 256 MiB, whichever comes first
	doubled := "deny contains {\"message\": \"no\"} if {\n\ta0 := input.object.kind\n"
	for n := 1; n <= 30; n++ {
		doubled += fmt.Sprintf("\ta%d := [a%[2]d, a%[2]d]\n", n, n-1)
	}
	tests := map[string]string{
		"a type that doubles 30 times": doubled + "\ta30 == 1\n}",
		"a sum of 20 000 terms": `deny contains {"message": "no"} if 1 < ` +
			strings.TrimSuffix(strings.Repeat("1+", 20_000), "+"),
		"500 nested strings": `deny contains {"message": "no"} if ` +
			strings.Repeat(`$"{`, 500) + "1" + strings.Repeat(`}"`, 500) + ` != "1"`,
	}
	for name, rules := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, vet := range []bool{false, true} {
				of := sources(rules)
				of.Vet = vet
				if got := texts(Try(t.Context(), []bundle.Sources{of}))[0]; !strings.HasPrefix(got, takes) {
					t.Errorf("Try() with Vet %t gives %q, want %q", vet, got, takes)
				}
			}
		})
	}
}

// TestAnEvaluationThatExhaustsTheStack evaluates a rule that unifies two equal values. Each holds the value of the
// former variable twice, and so has 2^24 parts in little memory; the stack that OPA v1.22.0 takes grows with the parts.
func TestAnEvaluationThatExhaustsTheStack(t *testing.T) {
	t.Parallel()
	const levels = 24
	rule := "deny contains {\"message\": \"equal\"} if {\n\ta0 := 1\n\tb0 := 1\n"
	for n := 1; n <= levels; n++ {
		for _, v := range []string{"a", "b"} {
			rule += fmt.Sprintf("\t%s%d := object.get({\"k\": [%[1]s%[3]d, %[1]s%[3]d]}, \"k\", null)\n", v, n, n-1)
		}
	}
	rule += fmt.Sprintf("\ta%d == b%[1]d\n}", levels)
	want := []string{"compiling the modules exhausts the stack; make them shorter, or nest less deeply"}
	var got []string
	for range 5 { // on a busy machine the time may be over first
		got = texts(Try(t.Context(), []bundle.Sources{sources(rule)}))
		if !strings.Contains(got[0], "takes longer than") {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Try() mismatch (-want +got):\n%s", diff)
	}
}

func TestOneThatDiesDoesNotHarmTheOthers(t *testing.T) {
	t.Parallel()
	got := texts(Try(t.Context(), []bundle.Sources{plain, harmful("panic"), plain}))
	const want = "compiling the modules ended (exit status 2: panic: a fault); make them shorter, or nest less deeply"
	if diff := cmp.Diff([]string{"", want, ""}, got); diff != "" {
		t.Errorf("Try() mismatch (-want +got):\n%s", diff)
	}
}

func TestACallerThatGivesUpEndsTheChild(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	alive, stop := context.WithTimeout(t.Context(), Compile.Time)
	defer stop()
	want := []string{Compile.interrupted().Error(), Compile.interrupted().Error()}
	if diff := cmp.Diff(want, texts(Try(ctx, []bundle.Sources{harmful("forever"), plain}))); diff != "" {
		t.Errorf("Try() mismatch (-want +got):\n%s", diff)
	}
	if alive.Err() != nil {
		t.Errorf("it takes longer than a child may take")
	}
}

func TestAProgramThatDoesNotCallMainStartsOnlyOneChild(t *testing.T) {
	t.Setenv(marker, Compile.Name)
	got := texts(Try(t.Context(), []bundle.Sources{plain}))
	if diff := cmp.Diff([]string{"compiling the modules needs a program that calls child.Main"}, got); diff != "" {
		t.Errorf("Try() mismatch (-want +got):\n%s", diff)
	}
}
