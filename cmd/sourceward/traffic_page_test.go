package main

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestContrast computes the contrast of each color of text and lines with each background, in both color schemes, by
// the formula of WCAG 2.2. 4.5:1 is what it wants for text.
func TestContrast(t *testing.T) {
	t.Parallel()
	text, err := trafficTemplates.ReadFile("traffic.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	schemes := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllStringSubmatch(string(text), -1)
	if len(schemes) != 2 {
		t.Fatalf("there are %d color schemes, want a light one and a dark one", len(schemes))
	}
	backgrounds := map[string]bool{"paper": true, "box": true}
	used := map[string]bool{}
	for _, use := range regexp.MustCompile(`var\(--(\w+)\)`).FindAllStringSubmatch(string(text), -1) {
		used[use[1]] = true
	}
	for i, scheme := range schemes {
		colors := map[string]string{}
		for _, c := range regexp.MustCompile(`--(\w+): (#[0-9a-f]{6});`).FindAllStringSubmatch(scheme[1], -1) {
			colors[c[1]] = c[2]
		}
		for name := range used {
			if colors[name] == "" {
				t.Errorf("scheme %d has no color %s", i, name)
			}
		}
		for ink := range colors {
			if !used[ink] {
				t.Errorf("nothing has the color %s", ink)
			}
			for paper := range backgrounds {
				if backgrounds[ink] {
					continue
				}
				if got := contrast(t, colors[ink], colors[paper]); got < 4.5 {
					t.Errorf("scheme %d: %s on %s has a contrast of %.2f:1, want at least 4.5:1", i, ink, paper, got)
				}
			}
		}
	}
	// All colors are variables: none is written where it is used, or comes from the browser.
	rules := regexp.MustCompile(`(?s):root \{.*?\}`).ReplaceAllString(string(text), "")
	if found := regexp.MustCompile(`#[0-9a-f]{3,8}\b|\b(rgb|hsl)a?\(|opacity`).FindAllString(rules, -1); found != nil {
		t.Errorf("colors outside of the schemes: %q", found)
	}
}

// contrast returns the contrast ratio of two colors, such as #1b1f24.
// Source: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	light, dark := luminance(t, a), luminance(t, b)
	if light < dark {
		light, dark = dark, light
	}
	return (light + 0.05) / (dark + 0.05)
}

func luminance(t *testing.T, color string) float64 {
	t.Helper()
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		value, err := strconv.ParseUint(color[1+2*i:3+2*i], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		channel := float64(value) / 255
		if channel <= 0.04045 {
			channel /= 12.92
		} else {
			channel = math.Pow((channel+0.055)/1.055, 2.4)
		}
		sum += weight * channel
	}
	return sum
}

func TestContrastOfBlackAndWhite(t *testing.T) {
	t.Parallel()
	if got := fmt.Sprintf("%.1f", contrast(t, "#000000", "#ffffff")); got != "21.0" {
		t.Errorf("contrast() of black and white is %s, want 21.0", got)
	}
	if got := fmt.Sprintf("%.2f", contrast(t, "#777777", "#ffffff")); got != "4.48" { // the best known near miss
		t.Errorf("contrast() of #777777 and white is %s, want 4.48", got)
	}
}

func TestWrappedLinesFit(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200)
	tests := map[string]struct {
		text string
		want []string
	}{
		"short": {"a b", []string{"- a b"}},
		"a word longer than a line": {
			"a " + long + " b",
			[]string{"- a", "  " + long[:78], "  " + long[:78], "  " + long[:44] + " b"},
		},
		"empty":             {"", nil},
		"a long word first": {long + " b", []string{"- " + long[:78], "  " + long[:78], "  " + long[:44] + " b"}},
	}
	if got, want := wrapped(long, "", "    ", nil), long[:80]+"\n    "+long[:76]+"\n    "+long[:44]+"\n"; got != want {
		t.Errorf("wrapped() with a deeper indent after the first line = %q, want %q", got, want)
	}
	for name, test := range tests {
		want := ""
		for _, line := range test.want {
			want += line + "\n"
		}
		if got := wrapped(test.text, "- ", "  ", nil); got != want {
			t.Errorf("%s: wrapped() = %q, want %q", name, got, want)
		}
	}
}
