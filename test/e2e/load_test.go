package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sourceward/sourceward/test/cluster"
	"github.com/sourceward/sourceward/test/sandbox"
)

// TestLargeBodies sends 300 large reviews at a time to one replica. Its memory stays below the limit of its container,
// its probes answer, and each review is judged or refused; what an API server can send is judged when it comes alone.
// On a busy machine a body may not arrive in time (408), or the answer may be lost: the server closes the connection
// half a second after it answered a request whose body it did not read to the end.
func TestLargeBodies(t *testing.T) {
	const many, size = 300, 6 << 20
	const closed = "connection closed"
	e := newEnvironment(t, cluster.Options{}, sandbox.Options{})
	replica := e.Replicas[0]
	env := `{"name":"FEATURE_0000000000000","value":"on"}`
	deployment := func(spec string, size int) string {
		containers := spec
		if n := size / (len(spec) + 1); n > 1 {
			containers = strings.TrimSuffix(strings.Repeat(spec+",", n), ",")
		}
		return `{"metadata":{"name":"web","namespace":"edge"},` +
			`"spec":{"template":{"spec":{"containers":[` + containers + `]}}}}`
	}
	variables := `{"name":"web","env":[` + strings.TrimSuffix(strings.Repeat(env+",", size/2/(len(env)+1)), ",") + `]}`
	reviewed := func(containers string, size int) string {
		return admissionReview("apps", "Deployment", "CREATE", deployment(containers, size))
	}
	type body struct {
		text string
		// judged is true if an API server can send it.
		judged bool
		// parallel is the number of requests at a time; 0 for 300.
		parallel int
	}
	bodies := map[string]body{
		"a Deployment with many variables": {
			text: strings.Replace(admissionReview("apps", "Deployment", "UPDATE", deployment(variables, 0)),
				`"object":`, `"oldObject":`+deployment(variables, 0)+`,"object":`, 1),
			judged: true,
		},
		"escaped characters": {
			text:   reviewed(`{"name":"web","args":["`+strings.Repeat(`\u003c`, 4<<20)+`"]}`, 0),
			judged: true, parallel: 10,
		},
		"empty containers":      {text: reviewed("{}", size)},
		"null containers":       {text: reviewed("null", size)},
		"a few null containers": {text: reviewed("null", size/4)},
		"empty lists": {text: admissionReview("", "Service", "CREATE",
			`{"metadata":{"name":"web"},"unknown":[`+strings.TrimSuffix(strings.Repeat("[],", size/3), ",")+`]}`)},
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", replica.PID()), []byte("5"), 0o200); err != nil {
				t.Fatal(err)
			}
			before := peakMemory(t, replica.PID())
			ctx, cancel := context.WithCancel(t.Context())
			probes := probe(ctx, replica)
			client := replica.Client()
			post := func() string {
				url := "https://" + replica.Address + "/validate?timeout=3s"
				response, err := client.Post(url, "application/json", strings.NewReader(body.text))
				switch {
				case err == nil:
					_, _ = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
					return strconv.Itoa(response.StatusCode)
				case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
				case strings.Contains(err.Error(), "tls: bad record MAC"): // the answer was cut off in the middle
				default:
					return err.Error()
				}
				return closed
			}
			var mu sync.Mutex
			codes := map[string]int{}
			var group sync.WaitGroup
			start := time.Now()
			parallel := cmp.Or(body.parallel, many)
			for range parallel {
				group.Go(func() {
					answer := post()
					mu.Lock()
					defer mu.Unlock()
					codes[answer]++
				})
			}
			group.Wait()
			took := time.Since(start)
			cancel()
			answered, failed := probes()
			peak := peakMemory(t, replica.PID())
			t.Logf("%d reviews of %.1f MiB in %.1f s: answers %v; probes answered %d, failed %d",
				parallel, float64(len(body.text))/(1<<20), took.Seconds(), codes, answered, failed)
			t.Logf("peak memory %d MiB, before %d, limit %d", peak>>20, before>>20, e.MemoryLimit>>20)
			for code := range codes {
				if !slices.Contains([]string{"200", "408", "413", "503", closed}, code) {
					t.Errorf("%d requests get %s", codes[code], code)
				}
			}
			if body.judged {
				// How many of the requests above are judged depends on the machine: they hold memory while they arrive, and
				// slow ones leave none for the others. Alone, each is judged; its memory has been given back.
				answer := ""
				if err := poll(t.Context(), func() (bool, error) {
					answer = post()
					return answer == "200", nil
				}); err != nil {
					t.Errorf("a request alone gets %s: %v", answer, err)
				}
			}
			const compiling = 256 << 20 // what the child that compiles a policy may take beside it
			if peak >= e.MemoryLimit-compiling {
				t.Errorf("the replica took %d MiB, and may take %d", peak>>20, (e.MemoryLimit-compiling)>>20)
			}
			if failed > 0 || answered == 0 {
				t.Errorf("%d probes failed and %d were answered", failed, answered)
			}
		})
	}
}

// probe calls /readyz one call after the other until ctx ends. The function that it returns waits for the last call.
func probe(ctx context.Context, replica *sandbox.Replica) func() (answered, failed int) {
	done := make(chan [2]int)
	go func() {
		var answered, failed int
		for ctx.Err() == nil {
			timed, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			if err := replica.Ready(timed); err != nil {
				failed++
			} else {
				answered++
			}
			cancel()
		}
		done <- [2]int{answered, failed}
	}()
	return func() (answered, failed int) {
		counts := <-done
		return counts[0], counts[1]
	}
}

// peakMemory returns the peak resident memory of a process in bytes.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("the kernel does not report VmHWM")
	return 0
}
