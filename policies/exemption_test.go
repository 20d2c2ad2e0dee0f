package policies

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseExemption(t *testing.T) {
	noon := time.Date(2027, 3, 31, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		text    string
		now     time.Time
		want    Exemption
		problem string
	}{
		"a reason without a date never expires": {"DSR in front", noon, Exemption{Reason: "DSR in front"}, ""},
		"the exemption is valid on its last day": {
			"known; until=2027-03-31",
			noon,
			Exemption{Reason: "known", Until: "2027-03-31"},
			"",
		},
		"the day is a day in UTC": {
			"known; until=2027-03-31",
			noon.Add(11 * time.Hour).In(time.FixedZone("", 10*3600)),
			Exemption{Reason: "known", Until: "2027-03-31"},
			"",
		},
		"the exemption is expired on the next day": {
			"known; until=2027-03-31",
			noon.Add(12 * time.Hour),
			Exemption{},
			"the exemption expired on 2027-03-31",
		},
		"only the last until counts": {
			"see note; until=x; until=2027-04-01",
			noon,
			Exemption{Reason: "see note; until=x", Until: "2027-04-01"},
			"",
		},
		"until is not a date": {
			"known; until=2027-02-30",
			noon,
			Exemption{},
			`not exempt: "until" is not a date such as 2027-03-31`,
		},
		"until is empty": {
			"known; until=",
			noon,
			Exemption{},
			`not exempt: "until" is not a date such as 2027-03-31`,
		},
		"the space before until is missing": {
			"known;until=2027-03-31",
			noon,
			Exemption{},
			`not exempt: write the date as "; until=2027-03-31"`,
		},
		"until without the semicolon": {
			"until=2020-01-01",
			noon,
			Exemption{},
			`not exempt: write the date as "; until=2027-03-31"`,
		},
		"until after a comma": {
			"two nodes, Until = 2025-03-31",
			noon,
			Exemption{},
			`not exempt: write the date as "; until=2027-03-31"`,
		},
		"until without the equals sign": {
			"two nodes; until 2025-03-31",
			noon,
			Exemption{},
			`not exempt: write the date as "; until=2027-03-31"`,
		},
		"the word until in a reason": {
			"until the new pool is there",
			noon,
			Exemption{Reason: "until the new pool is there"},
			"",
		},
		"the reason is empty": {"  ", noon, Exemption{}, "not exempt: the annotation gives no reason"},
		"until without a reason": {
			"; until=2027-03-31",
			noon,
			Exemption{},
			"not exempt: the annotation gives no reason",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, problem := parseExemption(test.text, test.now)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("parseExemption() mismatch (-want +got):\n%s", diff)
			}
			if problem != test.problem {
				t.Errorf("parseExemption() problem %q, want %q", problem, test.problem)
			}
		})
	}
}
