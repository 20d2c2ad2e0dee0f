package manifest

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

// isUnread reports whether nothing but the apiVersion and the kind matters of an object: no rule reads it, and no list,
// no policy and no kustomization is of this kind.
func isUnread(apiVersion, kind string) bool {
	group, _, _ := strings.Cut(apiVersion, "/")
	return !slices.Contains(policies.Kinds, kind) && !isRead(apiVersion, kind) && renderedBy(apiVersion, kind) == nil &&
		!isListKind(kind) && group != "kustomize.config.k8s.io" && group != v1alpha1.GroupVersion.Group &&
		!strings.EqualFold(kind, v1alpha1.Kind) && !isPlaceholder(apiVersion) && !isPlaceholder(kind) &&
		misspelt(apiVersion, kind) == ""
}

var (
	topLevelKey    = regexp.MustCompile(`^([A-Za-z][\w./-]*):(?:[ \t]+(.*))?$`)
	plainValue     = regexp.MustCompile(`^([A-Za-z][\w./-]*)[ \t]*(?: #.*)?$`)
	judgedKindHere = regexp.MustCompile("^" + namesJudged.String())
)

// mentionsJudged reports whether namesJudged matches a text. It is faster where it does not.
func mentionsJudged(text []byte) bool {
	for {
		i := bytes.Index(text, []byte("kind"))
		if i < 0 {
			return false
		}
		if text = text[i:]; judgedKindHere.Match(text) {
			return true
		}
		text = text[len("kind"):]
	}
}

// hasOtherBreaks reports whether a text has line breaks of YAML besides the line feed. One before a key hides it from a
// scan by lines.
func hasOtherBreaks(text []byte) bool {
	for _, lineBreak := range []string{"\u0085", "\u2028", "\u2029"} {
		if bytes.Contains(text, []byte(lineBreak)) {
			return true
		}
	}
	return bytes.Count(text, []byte("\r")) != bytes.Count(text, []byte("\r\n"))
}

// skim returns the apiVersion and kind of a document, without parsing the rest, if isUnread says that nothing else
// matters. It returns nil if the document must be parsed: it is not an object in block style with plain values for
// both, it has items, or it mentions a judged kind somewhere.
//
// A key that the parser finds at the top begins a line here, too. So what a line inside of a quoted text looks like can
// hide no other kind.
func (c chunk) skim(isUnread func(apiVersion, kind string) bool) map[string]any {
	found := map[string]any{}
	begun := false
	for line := range bytes.Lines(c.text) {
		text := bytes.TrimRight(line, " \t\r\n")
		switch {
		case len(text) == 0 || text[0] == '#':
			continue
		case text[0] == ' ' || isMarker(text, "-"): // a part of the value of a key
			if !begun {
				return nil
			}
			continue
		case isMarker(text, "---") && !begun && isBlank(text[len("---"):]):
			continue
		}
		key := topLevelKey.FindSubmatch(text)
		if key == nil || string(key[1]) == "items" {
			return nil
		}
		begun = true
		if name := string(key[1]); name == "apiVersion" || name == "kind" {
			value := plainValue.FindSubmatch(key[2])
			if value == nil || found[name] != nil {
				return nil
			}
			found[name] = string(value[1])
			if len(found) == 2 && !isUnread(typeOf(found)) {
				return nil
			}
		}
	}
	if len(found) < 2 || mentionsJudged(c.text) || hasOtherBreaks(c.text) {
		return nil
	}
	return found
}
