package bundle

import (
	"crypto/sha256"
	"encoding/json"

	"k8s.io/utils/lru"

	"github.com/sourceward/sourceward/policies"
)

const (
	// maxRemembered bounds the number of answers that are remembered. With fewer, the Services of a cluster that has more
	// of them would each be forgotten before it is asked about again.
	maxRemembered = 8192
	// maxRememberedKey bounds the text for which an answer is remembered, in bytes. An answer is hardly larger than that,
	// since its texts come from there, so that all answers take less than 32 MiB. Most take a few hundred bytes.
	maxRememberedKey = 4 << 10
)

// remembered holds the last answers of the built-in modules. A webhook asks them about the same Service for each
// workload behind it, and about each Service twice. It is safe for concurrent use.
type remembered struct{ answers *lru.Cache }

func newRemembered() *remembered { return &remembered{lru.New(maxRemembered)} }

// read is what the built-in modules read of a document about a Service that shares its address with no other.
// TestBuiltinModulesReadOnlyWhatIsRemembered compares it with the modules.
type read struct {
	Neighbour           bool
	Namespace           string
	Labels, Annotations map[string]string
	// Spec is that of the document. In the typed object, null is the same as nothing.
	Spec  any
	Facts policies.Facts
}

// answer returns the answer for a document. It calls evaluate if the modules were not asked for an equal one lately.
// Callers share the answer, and must not change it.
func (r *remembered) answer(document policies.Document, evaluate func() policies.Answer) policies.Answer {
	service := document.Object.Service
	if len(document.Related.Services) > 0 || service == nil {
		return evaluate()
	}
	key, err := json.Marshal(read{
		document.Neighbour, service.Namespace, service.Labels, service.Annotations, document.Object.Content()["spec"],
		document.Facts,
	})
	if err != nil || len(key) > maxRememberedKey {
		return evaluate()
	}
	hash := sha256.Sum256(key)
	if answer, ok := r.answers.Get(hash); ok {
		return answer.(policies.Answer)
	}
	answer := evaluate()
	if answer.Err == nil {
		r.answers.Add(hash, answer)
	}
	return answer
}
