package policies

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"unspread-behind-local", "single-replica-local", "corp", "Gke", "azure", "bee", "corp"}
	tests := map[string]struct {
		word  string
		names []string
		want  []string
	}{
		"the most similar name is first": {"unspred-behind-local", names,
			[]string{"unspread-behind-local", "single-replica-local", "azure"}},
		"letter case does not count":                      {"gKE", names, []string{"Gke", "bee", "azure"}},
		"equally similar names are in alphabetical order": {"", []string{"c", "b", "d", "a"}, []string{"a", "b", "c"}},
		"a name that is listed twice is returned once":    {"crop", names, []string{"corp", "Gke", "bee"}},
		"a name that contains the word is first": {
			"ate", []string{"eat", "at", "donate"}, []string{"donate", "at", "eat"},
		},
		"but not if the word has only two characters": {
			"at", []string{"bat", "a", "water"}, []string{"a", "bat", "water"},
		},
		"there may be fewer than three names": {"a", []string{"b"}, []string{"b"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, Nearest(test.word, test.names, 3)); diff != "" {
				t.Errorf("Nearest(%q) mismatch (-want +got):\n%s", test.word, diff)
			}
		})
	}
}

func TestIsNear(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]bool{
		"Service": true, "service": true, "Servce": true, "Serce": false, "Port": false, "": false,
	} {
		if got := IsNear(word, "Service"); got != want {
			t.Errorf("IsNear(%q, Service) = %t, want %t", word, got, want)
		}
	}
}

func TestShorten(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text string
		most int
		want string
	}{
		{"edge/web", 8, "edge/web"},
		{"edge/website", 8, "edg…te"},
		{"", 4, ""},
		{"ééééé", 7, "é…é"},
		{"a\xffb", 4, "ab"},
	} {
		if got := Shorten(test.text, test.most); got != test.want || len(got) > test.most {
			t.Errorf("Shorten(%q, %d) is %q, want %q", test.text, test.most, got, test.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"annotation a=b":            "annotation a=b",
		"two\nlines\tand\u00a0more": "two lines and more",
		"\x1b[31mred":               `\x1b[31mred`,
		"\u202etxet":                `\u202etxet`,
		"\x9b and \ufffd":           `\x9b and �`,
	} {
		if got := Printable(text); got != want {
			t.Errorf("Printable(%q) is %q, want %q", text, got, want)
		}
	}
}
