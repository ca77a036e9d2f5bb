package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/types"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

func TestDecideAnswersResultAndRevisions(t *testing.T) {
	evaluator := started(t, settings(map[string]string{
		"flowyml": archive(t, shipped(nil)),
		"org":     archive(t, files{".manifest": manifest("o7", "org"), "data.json": `{"org": {"x": 1}}`}),
	}))
	found := decide(t, evaluator, "", `{"n": 3}`)
	mustEqual(t, found.OK.Result, map[string]any{"seen": 3, "rules": []string{"even"}})
	mustEqual(t, found.OK.Bundles, map[string]string{"flowyml": "f1", "org": "o7"})
	mustEqual(t, decide(t, evaluator, "org/x", `{}`).OK.Result, 1)
}

// Only the decision is vouched for, and only where the settings say so; no path is not taken for it.
func TestDecideTakesTheVouchedRuleAsTrue(t *testing.T) {
	policy := archive(t, shipped(files{
		"main.rego":  "package flowyml.main\n\nimport data.flowyml.lib.shape\n\ndefault decision := \"checked\"\n\ndecision := \"vouched\" if shape.valid",
		"shape.rego": "package flowyml.lib.shape\n\nvalid if input.n == 3",
	}))
	vouching := settings(map[string]string{"flowyml": policy})
	vouching.Vouched = "flowyml/lib/shape/valid"
	evaluator, checking := started(t, vouching), started(t, settings(map[string]string{"flowyml": policy}))
	for _, tried := range []struct {
		evaluator           *Evaluator
		path, input, wanted string
	}{
		{evaluator, "", `{}`, "vouched"},
		{evaluator, "", `{"n": 3}`, "vouched"},
		{evaluator, "flowyml/main/decision", `{}`, "checked"},
		{evaluator, "flowyml/main/decision", `{"n": 3}`, "vouched"},
		{checking, "", `{}`, "checked"},
		{checking, "", `{"n": 3}`, "vouched"},
	} {
		mustEqual(t, decide(t, tried.evaluator, tried.path, tried.input).OK.Result, tried.wanted)
	}
	var nothing given
	must(t, json.Unmarshal(evaluator.Query("", []byte(`{}`), time.Second), &nothing))
	if nothing.Error == nil || nothing.Error.Code != answer.Usage {
		t.Fatalf("%+v %+v", nothing.Error, nothing.OK)
	}
	vouching.Vouched = "flowyml//valid"
	if fault := startFault(t, vouching); fault.Code != answer.Usage {
		t.Fatal(fault)
	}
}

// A path that no rule stands at can be vouched for too; what is asked without it then knows nothing of that.
func TestDecideKeepsWhatIsVouchedForFromQueries(t *testing.T) {
	vouching := settings(map[string]string{"flowyml": archive(t, files{
		".manifest": manifest("f1", "flowyml"),
		"data.json": `{"flowyml": {"lib": {"valid": false}}}`,
		"main.rego": "package flowyml.main\n\ndecision := said\n\nsaid := data.flowyml.lib.valid",
	})})
	vouching.Vouched = "flowyml/lib/valid"
	evaluator := started(t, vouching)
	for range 4 {
		mustEqual(t, decide(t, evaluator, "", `{}`).OK.Result, true)
		mustEqual(t, decide(t, evaluator, "flowyml/main/decision", `{}`).OK.Result, false)
	}
}

// The hashes of references are the sums of their parts', so that all of these calls have one: looking each up among all
// others would take far longer than the deadline.
func TestDecideAnswersManyCallsOfEqualHash(t *testing.T) {
	evaluator := started(t, settings(map[string]string{"flowyml": archive(t, shipped(files{"calls.rego": `package flowyml.calls

n := 40000

decision := count([v | some i in numbers.range(1, n); v := sum_of(i, n - i)])

sum_of(a, b) := a + b
`}))}))
	found := decide(t, evaluator, "flowyml/calls/decision", `{}`)
	if found.OK == nil {
		t.Fatalf("%+v", found.Error)
	}
	mustEqual(t, found.OK.Result, 40000)
}

func TestDecideSaysWhyThereIsNoDecision(t *testing.T) {
	evaluator := started(t, settings(map[string]string{"flowyml": archive(t, shipped(files{"cases.rego": `package flowyml.cases

conflict := 1 if input.n > 0

conflict := 2 if input.n > 0

builtin := time.parse_rfc3339_ns("no time")

sends := http.send({"method": "get", "url": "http://127.0.0.1:1"})

sends_quietly := http.send({"method": "get", "url": "http://127.0.0.1:1", "raise_error": false})

looks_up := net.lookup_ip_addr("localhost")

process := opa.runtime()

schema := json.match_schema({}, {"$ref": "http://127.0.0.1:1/schema.json"})

slow := count([1 | some i in numbers.range(1, 30000); some j in numbers.range(1, 30000); i + j == 0])
`}))}))
	cases := []struct{ path, input, code, reason string }{
		{"flowyml/main/none", `{}`, answer.Undefined, "data.flowyml.main.none is undefined"},
		{"flowyml/main/decision", `{}`, answer.Undefined, "undefined"},
		{"flowyml/main/decision", `{`, answer.Input, "no JSON document"},
		{"flowyml//decision", `{}`, answer.Usage, "no path below data"},
		{"flowyml/cases/conflict", `{"n": 1}`, answer.Evaluation, "eval_conflict_error"},
		{"flowyml/cases/builtin", `{}`, answer.Evaluation, "time.parse_rfc3339_ns"},
		{"flowyml/cases/sends", `{}`, answer.Evaluation, "http.send is refused"},
		{"flowyml/cases/sends_quietly", `{}`, answer.Evaluation, "http.send is refused"},
		{"flowyml/cases/looks_up", `{}`, answer.Evaluation, "net.lookup_ip_addr is refused"},
		{"flowyml/cases/process", `{}`, answer.Evaluation, "opa.runtime is refused"},
		{"flowyml/cases/schema", `{}`, answer.Evaluation, "its schema leads out of itself by $ref"},
	}
	for _, tried := range cases {
		found := decide(t, evaluator, tried.path, tried.input)
		if found.Error == nil || found.Error.Code != tried.code || !strings.Contains(found.Error.Message, tried.reason) {
			t.Errorf("%s: %+v %+v", tried.path, found.Error, found.OK)
		}
	}
	begun := time.Now()
	encoded := string(evaluator.Query("flowyml/cases/slow", []byte(`{}`), 50*time.Millisecond))
	if encoded != `{"error":{"code":"deadline","message":"no decision within 50ms"}}` || time.Since(begun) > 5*time.Second {
		t.Fatal(encoded, time.Since(begun))
	}
	if encoded := string(evaluator.Decide([]byte(`{}`), 0)); !strings.Contains(encoded, "deadline above zero") {
		t.Fatal(encoded)
	}
}

func TestDecideReachesAllowedHostsOnly(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if request.URL.Path == "/away" {
			http.Redirect(writer, request, "http://localhost:1/", http.StatusFound)
			return
		}
		writer.Header().Set("Content-Type", "application/json")
		fmt.Fprint(writer, `{"fine": true}`)
	}))
	defer server.Close()
	address, err := url.Parse(server.URL)
	must(t, err)
	policy := archive(t, shipped(files{"ask.rego": `package flowyml.ask

body := http.send({"method": "get", "url": input.url, "enable_redirect": true}).body

addresses := net.lookup_ip_addr(input.name)
`}))
	made := settings(map[string]string{"flowyml": policy})
	made.AllowHosts = []string{address.Hostname()}
	allowing, closed := started(t, made), started(t, settings(map[string]string{"flowyml": policy}))
	ask := func(evaluator *Evaluator, path, address string) given {
		return decide(t, evaluator, path, fmt.Sprintf(`{"url": %q, "name": %q}`, address, address))
	}
	mustEqual(t, ask(allowing, "flowyml/ask/body", server.URL).OK.Result, map[string]bool{"fine": true})
	for _, refused := range []given{
		ask(closed, "flowyml/ask/body", server.URL),
		ask(allowing, "flowyml/ask/body", strings.Replace(server.URL, "127.0.0.1", "localhost", 1)),
		ask(allowing, "flowyml/ask/body", server.URL+"/away"),
		ask(allowing, "flowyml/ask/body", "unix://127.0.0.1/?socket=/run/any"),
		ask(allowing, "flowyml/ask/addresses", "localhost"),
	} {
		if refused.Error == nil || refused.Error.Code != answer.Evaluation {
			t.Errorf("%+v %+v", refused.OK, refused.Error)
		}
	}
}

func TestDecideAnswersAPanicAsAnError(t *testing.T) {
	ast.RegisterBuiltin(&ast.Builtin{Name: "test.panic", Decl: types.NewFunction(nil, types.A)})
	topdown.RegisterBuiltinFunc("test.panic", func(topdown.BuiltinContext, []*ast.Term, func(*ast.Term) error) error {
		var nothing *ast.Term
		return fmt.Errorf("%v", nothing.Value)
	})
	evaluator := started(t, settings(map[string]string{
		"flowyml": archive(t, shipped(files{"p.rego": "package flowyml.p\n\nx := test.panic()"})),
	}))
	found := decide(t, evaluator, "flowyml/p/x", `{}`)
	if found.Error == nil || found.Error.Code != answer.Panic || !strings.Contains(found.Error.Message, "nil pointer") {
		t.Fatalf("%+v", found.Error)
	}
	mustEqual(t, decide(t, evaluator, "", `{"n": 2}`).OK.Bundles, map[string]string{"flowyml": "f1"})
}

// Each answer's revisions are those of the very policy and data that decided, while bundles are replaced.
func TestDecideAnswersOneStateWhileBundlesAreReplaced(t *testing.T) {
	policy := func(revision string) files {
		return files{
			".manifest": manifest(revision, "flowyml"),
			"main.rego": fmt.Sprintf("package flowyml.main\n\ndecision := {\"flowyml\": %q, \"org\": data.org.revision}", revision),
		}
	}
	data := func(revision string) files {
		return files{".manifest": manifest(revision, "org"), "data.json": fmt.Sprintf(`{"org": {"revision": %q}}`, revision)}
	}
	paths := map[string]string{"flowyml": archive(t, policy("0")), "org": archive(t, data("0"))}
	evaluator := started(t, settings(paths))
	stop := make(chan struct{})
	var deciding sync.WaitGroup
	for range 8 {
		deciding.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				found := decide(t, evaluator, "", `{}`)
				if found.OK == nil {
					t.Errorf("%+v", found.Error)
					return
				}
				mustEqual(t, found.OK.Result, found.OK.Bundles)
			}
		})
	}
	for round := range 40 {
		revision := fmt.Sprint(round + 1)
		pack(t, paths["flowyml"], policy(revision))
		evaluator.loadAgain(context.Background(), "flowyml")
		pack(t, paths["org"], data(revision))
		evaluator.loadAgain(context.Background(), "org")
	}
	close(stop)
	deciding.Wait()
	mustEqual(t, decide(t, evaluator, "", `{}`).OK.Bundles, map[string]string{"flowyml": "40", "org": "40"})
}

func TestReloadDoesNotActivateWhatItMayNotBring(t *testing.T) {
	manifestF2 := manifest("f2", "flowyml")
	for name, manifest := range map[string]string{
		"system":   manifest("2", "flowyml", "system"),
		"schema":   `{"revision": "2", "roots": ["flowyml"], "metadata": {"input_schema": 2}}`,
		"foreign":  manifest("2", "flowyml", "other"),
		"revision": manifest("", "flowyml"),
		"sequence": `{"revision": "2", "roots": ["flowyml"], "metadata": {"sequence": "x"}}`,
		"expiry":   `{"revision": "2", "roots": ["flowyml"], "metadata": {"expires": "never"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			path := archive(t, shipped(nil))
			evaluator := started(t, settings(map[string]string{"flowyml": path}))
			pack(t, path, shipped(files{".manifest": manifest}))
			evaluator.loadAgain(context.Background(), "flowyml")
			mustEqual(t, decide(t, evaluator, "", `{"n": 2}`).OK.Bundles, map[string]string{"flowyml": "f1"})
			if reason, _ := evaluator.journal.failure("flowyml"); reason == nil || faultOf(t, reason).Code != answer.Policy {
				t.Fatal(reason)
			}
			pack(t, path, shipped(files{".manifest": manifestF2}))
			evaluator.loadAgain(context.Background(), "flowyml")
			mustEqual(t, decide(t, evaluator, "", `{"n": 2}`).OK.Bundles, map[string]string{"flowyml": "f2"})
			if reason, _ := evaluator.journal.failure("flowyml"); reason != nil {
				t.Fatal(reason)
			}
		})
	}
}

func TestDecideKeepsWhatIsLoadedWhenAReloadFails(t *testing.T) {
	path := archive(t, shipped(nil))
	evaluator := started(t, settings(map[string]string{"flowyml": path}))
	pack(t, path, shipped(files{"bad.rego": "package flowyml.x\n\np := nothing(1)"}))
	evaluator.loadAgain(context.Background(), "flowyml")
	mustEqual(t, decide(t, evaluator, "", `{"n": 2}`).OK.Bundles, map[string]string{"flowyml": "f1"})
	status, err := evaluator.Status(context.Background())
	must(t, err)
	if !strings.Contains(status.Failures["flowyml"], "undefined function") {
		t.Fatalf("%+v", status)
	}
}

func TestHandlesOpenAndCloseOnce(t *testing.T) {
	evaluator := started(t, settings(map[string]string{"flowyml": archive(t, shipped(nil))}))
	handle := Open(evaluator)
	if found, err := Get(handle); err != nil || found != evaluator {
		t.Fatal(found, err)
	}
	if Close(handle) != evaluator || Close(handle) != nil {
		t.Fatal("a handle closes once")
	}
	if _, err := Get(handle); faultOf(t, err).Code != answer.Closed {
		t.Fatal(err)
	}
}
