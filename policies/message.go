package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
	corev1 "k8s.io/api/core/v1"
)

// serviceNames returns "Service edge/a" or "Services edge/a and 3 more".
func serviceNames(services []*corev1.Service) string {
	noun := "Service "
	if len(services) > 1 {
		noun = "Services "
	}
	return noun + firstOf(len(services), func(i int) string {
		return services[i].Namespace + "/" + nameOf(services[i].ObjectMeta)
	})
}

// containerNames returns "container web" or "container web and 1 more".
func containerNames(containers []container) string {
	return "container " + firstOf(len(containers), func(i int) string { return containers[i].Name })
}

// firstOf returns the name of the first of n things and the number of the others, to keep messages short.
func firstOf(n int, name func(int) string) string {
	if n == 1 {
		return name(0)
	}
	return fmt.Sprintf("%s and %d more", name(0), n-1)
}

// plural returns "1 pod" or "3 pods".
func plural(n int, noun string) string {
	return fmt.Sprintf("%d %s", n, form(n, noun, noun+"s"))
}

// form returns the form of a word for n things.
func form(n int, one, several string) string {
	if n == 1 {
		return one
	}
	return several
}

// pointer returns the JSON Pointer with these parts.
func pointer(parts ...string) string {
	var path strings.Builder
	for _, part := range parts {
		path.WriteString("/" + escaped.Replace(part))
	}
	return path.String()
}

var escaped = strings.NewReplacer("~", "~0", "/", "~1")

// maxQuoted is how many characters of a value that is not valid a message quotes.
const maxQuoted = 20

// trafficPolicy returns the traffic policy of a Service, quoted unless it is a valid one.
func trafficPolicy(service *corev1.Service) string {
	switch policy := service.Spec.ExternalTrafficPolicy; policy {
	case corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal:
		return string(policy)
	default:
		return quoted(string(policy))
	}
}

// serviceType returns the type of a Service, quoted unless it is ClusterIP, NodePort or ExternalName.
func serviceType(service *corev1.Service) string {
	switch t := service.Spec.Type; t {
	case "":
		return string(corev1.ServiceTypeClusterIP)
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeExternalName:
		return string(t)
	default:
		return quoted(string(t))
	}
}

func quoted(value string) string { return fmt.Sprintf("%q", Shorten(value, maxQuoted)) }

const ellipsis = "…"

// Shorten returns text in at most most bytes: if it is longer, an ellipsis replaces its middle. most must be at least
// 4. Text that is not valid UTF-8 is returned without the bytes that are not.
func Shorten(text string, most int) string {
	text = strings.ToValidUTF8(text, "")
	if len(text) <= most {
		return text
	}
	kept := most - len(ellipsis)
	// A character that is cut in two is left out.
	begin := strings.ToValidUTF8(text[:kept-kept/2], "")
	end := strings.ToValidUTF8(text[len(text)-kept/2:], "")
	return begin + ellipsis + end
}

// Printable returns text in a form that is safe to print, whoever wrote it: a space for each white space character, and
// a Go escape such as \x1b or \u202e for every other character that is not printable. A terminal would obey such
// characters, and a client drops a warning that has any.
func Printable(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return text
	}
	var printable strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&printable, `\x%02x`, text[0])
		case unicode.IsSpace(r):
			printable.WriteByte(' ')
		case unicode.IsPrint(r):
			printable.WriteRune(r)
		default:
			printable.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
		text = text[size:]
	}
	return printable.String()
}

// IsNear reports whether a word is likely to be meant as a name: no more than one in four characters differ. Letter
// case does not count.
func IsNear(word, name string) bool {
	return levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(name)) <= len(name)/4
}

// Nearest returns the names that are spelled most like word, at most most of them, the most similar first. Names that
// contain the word come before all others, if it has at least three characters. Letter case does not count. Equally
// similar names are in alphabetical order, and a name that is listed twice is returned once.
func Nearest(word string, names []string, most int) []string {
	word = strings.ToLower(word)
	distance := func(name string) int { return levenshtein.ComputeDistance(word, strings.ToLower(name)) }
	lacks := func(name string) int {
		if len(word) >= 3 && strings.Contains(strings.ToLower(name), word) {
			return 0
		}
		return 1
	}
	sorted := slices.Clone(names)
	slices.SortFunc(sorted, func(a, b string) int {
		return cmp.Or(
			cmp.Compare(lacks(a), lacks(b)), cmp.Compare(distance(a), distance(b)), strings.Compare(a, b))
	})
	sorted = slices.Compact(sorted)
	return sorted[:min(most, len(sorted))]
}
