package engine

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

func TestStartThatCannotWorkFailsAtOnceWithTheReason(t *testing.T) {
	signed := func(t *testing.T) Settings {
		made := settings(map[string]string{"flowyml": archive(t, shipped(nil))})
		made.Config["bundles"].(map[string]any)["flowyml"].(map[string]any)["signing"] = map[string]any{"keyid": "k"}
		made.Config["keys"] = map[string]any{"k": map[string]any{"algorithm": "HS256", "key": "secret"}}
		return made
	}
	one := func(content files) func(*testing.T) Settings {
		return func(t *testing.T) Settings {
			return settings(map[string]string{"flowyml": archive(t, content)})
		}
	}
	cases := []struct {
		name, code, reason string
		settings           func(*testing.T) Settings
	}{
		{"no bundle", answer.Policy, "no bundle is configured", func(*testing.T) Settings { return settings(nil) }},
		{"missing file", answer.Start, "no such file or directory", func(t *testing.T) Settings {
			return settings(map[string]string{"flowyml": filepath.Join(t.TempDir(), "none.tar.gz")})
		}},
		{"corrupt archive", answer.Start, "gzip", func(t *testing.T) Settings {
			path := filepath.Join(t.TempDir(), "bundle.tar.gz")
			must(t, os.WriteFile(path, []byte("not an archive"), 0o600))
			return settings(map[string]string{"flowyml": path})
		}},
		{"no signature", answer.Start, "missing .signatures.json", signed},
		{"no Rego", answer.Rego, "rego_parse_error", one(shipped(files{"bad.rego": "package flowyml.x\n\np :="}))},
		{"unknown function", answer.Rego, "undefined function", one(shipped(files{"bad.rego": "package flowyml.x\n\np := nothing(1)"}))},
		{"no JSON", answer.Start, "data.json", one(shipped(files{"data.json": "{"}))},
		{"package outside the root", answer.Start, "roots", one(shipped(files{"bad.rego": "package other\n\np := 1"}))},
		{"foreign root", answer.Policy, `owns the root "other"`, one(shipped(files{".manifest": manifest("1", "flowyml", "other")}))},
		{"root system", answer.Policy, "erase the record", one(shipped(files{".manifest": manifest("1", "flowyml", "system")}))},
		{"every root", answer.Policy, "owns every root", one(files{"main.rego": mainRego})},
		{"no revision", answer.Policy, "no revision", one(shipped(files{".manifest": manifest("", "flowyml")}))},
		{"newer input", answer.Policy, "input schema 2", one(shipped(files{
			".manifest": `{"revision": "1", "roots": ["flowyml"], "metadata": {"input_schema": 2}}`,
		}))},
		{"unknown key", answer.Start, "OPA does not accept its configuration", func(t *testing.T) Settings {
			made := settings(map[string]string{"flowyml": archive(t, shipped(nil))})
			made.Config["bundles"] = "none"
			return made
		}},
	}
	for _, tried := range cases {
		t.Run(tried.name, func(t *testing.T) {
			fault := startFault(t, tried.settings(t))
			if fault.Code != tried.code || !strings.Contains(fault.Message, tried.reason) {
				t.Fatalf("found %s: %s", fault.Code, fault.Message)
			}
		})
	}
}

func TestStartGivesUpOnARemoteBundleAtTheDeadlineWithTheReason(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := listener.Addr().String()
	must(t, listener.Close())
	made := settings(map[string]string{"flowyml": ""})
	made.Config = map[string]any{
		"services": map[string]any{"remote": map[string]any{"url": "http://" + address}},
		"bundles":  map[string]any{"flowyml": map[string]any{"service": "remote", "resource": "b.tar.gz"}},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, _, err = Start(ctx, made)
	fault := faultOf(t, err)
	if fault.Code != answer.Start || !strings.Contains(fault.Message, "connection refused") || ctx.Err() == nil {
		t.Fatalf("found %s: %s", fault.Code, fault.Message)
	}
}

// OPA reads the bundles side by side and each file once: one whose policy rests on another's functions must load
// whichever comes first.
func TestStartLoadsBundlesThatRestOnEachOtherInAnyOrder(t *testing.T) {
	base := archive(t, shipped(files{"lib.rego": "package flowyml.lib\n\ndouble(x) := 2 * x"}))
	above := archive(t, files{
		".manifest": manifest("o1", "org"),
		"org.rego":  "package org\n\nfour := data.flowyml.lib.double(2)",
	})
	topmost := archive(t, files{
		".manifest": manifest("p1", "project"),
		"p.rego":    "package project\n\neight(x) := data.flowyml.lib.double(data.org.four) + x",
	})
	for range 20 {
		evaluator := started(t, settings(map[string]string{"flowyml": base, "org": above, "project": topmost}))
		mustEqual(t, decide(t, evaluator, "org/four", "{}").OK.Result, 4)
	}
}

func TestStartNamesTheBundleThatDoesNotCompile(t *testing.T) {
	bad := archive(t, files{".manifest": manifest("p1", "project"), "p.rego": "package project\n\nx := data.flowyml.lib.none(1)"})
	for range 5 {
		fault := startFault(t, settings(map[string]string{"flowyml": archive(t, shipped(nil)), "project": bad}))
		wanted := `bundle "project" does not load: 1 error occurred: p.rego:3: rego_type_error: undefined function data.flowyml.lib.none`
		if fault.Message != wanted {
			t.Fatal(fault.Message)
		}
	}
}

func TestStartListsWhatStandsAtTheDepthOfRules(t *testing.T) {
	_, found, err := Start(context.Background(), settings(map[string]string{
		"flowyml": archive(t, shipped(files{
			"nested.rego": "package flowyml.rules.a.b\n\nfindings contains 1\n\nhelper(x) := x",
			"flat.rego":   "package flowyml.rules\n\nflat := 1",
			"head.rego":   "package flowyml\n\nrules.headed.findings := []",
			"stray.rego":  "package flowyml.gpu\n\nfindings contains 1",
			"lib.rego":    "package flowyml.lib\n\nfindings_of(x) := x",
		})),
		"org": archive(t, files{".manifest": manifest("o1", "org"), "data.json": `{"org": {"rules": {"d": {"findings": []}}}}`}),
	}))
	must(t, err)
	mustEqual(t, found.Bundles, map[string]string{"flowyml": "f1", "org": "o1"})
	mustEqual(t, found.Rules, []Rule{
		{[]string{"flowyml", "gpu", "findings"}, "set", "stray.rego:3"},
		{[]string{"flowyml", "rules", "a", "b", "findings"}, "set", "nested.rego:3"},
		{[]string{"flowyml", "rules", "a", "b", "helper"}, "function", "nested.rego:5"},
		{[]string{"flowyml", "rules", "even", "findings"}, "set", "even.rego:3"},
		{[]string{"flowyml", "rules", "flat"}, "value", "flat.rego:3"},
		{[]string{"flowyml", "rules", "headed", "findings"}, "value", "head.rego:3"},
		{[]string{"org", "rules", "d"}, "data", ""},
	})
}
