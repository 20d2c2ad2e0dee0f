package child

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/sourceward/sourceward/policies/bundle"
)

// Compile compiles the modules of policies. A request holds the bundle.Sources of one policy, and the answer is what
// bundle.Attempt reports: a string, which is empty for nil.
var Compile = Job{
	Name:   "compile",
	Doing:  "compiling the modules",
	Advice: "make them shorter, or nest less deeply",
	// More than bundle.CompileTimeout, because it includes the start of the child, and the further steps of vet.
	Time:   bundle.CompileTimeout + 1500*time.Millisecond,
	Memory: 256 << 20,
	Serve: func(requests *json.Decoder, answers *json.Encoder) error {
		return bundle.Attempt(context.Background(), func() (next bundle.Sources, err error) {
			err = requests.Decode(&next)
			return next, err
		}, func(outcome error) error {
			if outcome != nil {
				return answers.Encode(outcome.Error())
			}
			return answers.Encode("")
		})
	},
}

// Try is a bundle.Trial that tries all sources in children.
func Try(ctx context.Context, list []bundle.Sources) []error { return try(ctx, Compile, list) }

func try(ctx context.Context, job Job, list []bundle.Sources) []error {
	reasons, errs := Ask[bundle.Sources, string](ctx, job, list)
	for i, reason := range reasons {
		if reason != "" {
			errs[i] = errors.New(reason)
		}
	}
	return errs
}
