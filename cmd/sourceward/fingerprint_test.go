package main

import (
	"testing"

	"github.com/sourceward/sourceward/policies"
)

func TestFingerprintDependsOnTheCauseOnly(t *testing.T) {
	t.Parallel()
	web := policies.Ref{APIVersion: "v1", Kind: "Service", Namespace: "edge", Name: "web"}
	admin := policies.Ref{APIVersion: "v1", Kind: "Service", Namespace: "edge", Name: "admin"}
	of := func() finding {
		return finding{
			Rule: "unspread-behind-local", Mode: policies.Warn, Severity: policies.SeverityWarning,
			Message: "pods of Service edge/web may share a node: 2x load", Fix: "add a spread constraint",
			Object: policies.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "edge", Name: "web"},
			Path:   "/spec/template/spec/topologySpreadConstraints", File: "web.yaml", Line: 30, Column: 5,
			Because: []policies.Ref{admin, web}, Environment: "prod",
		}
	}
	// A change of this text makes every finding of every baseline new.
	const want = "a553288d70b1246c5fa68ad60e900483002ab26be4fe3a515c095b20a6b9e98e"
	if got := of().fingerprint(); got != want {
		t.Errorf("fingerprint() = %s, want %s", got, want)
	}
	tests := map[string]struct {
		change func(*finding)
		same   bool
	}{
		"a message":              {func(f *finding) { f.Message = "4x load" }, true},
		"a fix":                  {func(f *finding) { f.Fix = "" }, true},
		"a mode":                 {func(f *finding) { f.Mode = policies.Deny }, true},
		"a severity":             {func(f *finding) { f.Severity = policies.SeverityInfo }, true},
		"a file":                 {func(f *finding) { f.File = "prod/web.yaml" }, true},
		"a line":                 {func(f *finding) { f.Line = 31 }, true},
		"a column":               {func(f *finding) { f.Column = 1 }, true},
		"what renders it":        {func(f *finding) { f.RenderedBy = "charts/web" }, true},
		"an exemption":           {func(f *finding) { f.Exempt = &policies.Exemption{Reason: "known"} }, true},
		"neighbours left out":    {func(f *finding) { f.BecauseOmitted = 3 }, true},
		"a mark of the baseline": {func(f *finding) { f.Baseline = true }, true},
		"another fingerprint":    {func(f *finding) { f.Fingerprint = "0" }, true},

		"a rule":                {func(f *finding) { f.Rule = "ineffective-spread" }, false},
		"a path":                {func(f *finding) { f.Path = "/spec/template/spec" }, false},
		"an environment":        {func(f *finding) { f.Environment = "staging" }, false},
		"no environment":        {func(f *finding) { f.Environment = "" }, false},
		"an apiVersion":         {func(f *finding) { f.Object.APIVersion = "apps/v2" }, false},
		"a kind":                {func(f *finding) { f.Object.Kind = "StatefulSet" }, false},
		"a namespace":           {func(f *finding) { f.Object.Namespace = "shop" }, false},
		"a name":                {func(f *finding) { f.Object.Name = "api" }, false},
		"a neighbour less":      {func(f *finding) { f.Because = f.Because[:1] }, false},
		"a neighbour more":      {func(f *finding) { f.Because = append(f.Because, web) }, false},
		"a neighbour's kind":    {func(f *finding) { f.Because[0].Kind = "Pod" }, false},
		"a neighbour's version": {func(f *finding) { f.Because[0].APIVersion = "v2" }, false},
		"a neighbour's name":    {func(f *finding) { f.Because[1].Name = "www" }, false},
		"a neighbour's place":   {func(f *finding) { f.Because[1].Namespace = "shop" }, false},

		"a letter moved from the namespace to the name": {
			func(f *finding) { f.Object.Namespace, f.Object.Name = "edg", "eweb" }, false,
		},
		"a letter moved from the rule to the path": {
			func(f *finding) { f.Rule, f.Path = "unspread-behind-loca", "l"+f.Path }, false,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changed := of()
			test.change(&changed)
			if same := changed.fingerprint() == want; same != test.same {
				t.Errorf("the fingerprint is the same: %t, want %t", same, test.same)
			}
		})
	}
}
