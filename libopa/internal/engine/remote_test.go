package engine

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

// source is a server of one bundle.
type source struct {
	*httptest.Server
	mutex  sync.Mutex
	bundle []byte
	status int
	asked  int
}

func serve(t *testing.T) *source {
	t.Helper()
	made := &source{status: http.StatusOK}
	made.Server = httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
		made.mutex.Lock()
		defer made.mutex.Unlock()
		made.asked++
		writer.WriteHeader(made.status)
		_, _ = writer.Write(made.bundle)
	}))
	t.Cleanup(made.Close)
	return made
}

func (s *source) give(t *testing.T, content files) {
	t.Helper()
	packed, err := os.ReadFile(archive(t, content))
	must(t, err)
	s.mutex.Lock()
	s.bundle, s.status = packed, http.StatusOK
	s.mutex.Unlock()
}

func (s *source) refuse(status int) {
	s.mutex.Lock()
	s.status = status
	s.mutex.Unlock()
}

func stating(revision string, metadata map[string]any) files {
	encoded, _ := json.Marshal(map[string]any{"revision": revision, "roots": []string{"flowyml"}, "metadata": metadata})
	return shipped(files{".manifest": string(encoded)})
}

// remoteSettings follows the server's bundle, as if it had to be signed, and keeps copies below folder.
func remoteSettings(server *source, folder string) Settings {
	made := settings(map[string]string{"flowyml": ""})
	made.Config = map[string]any{
		"services":              map[string]any{"remote": map[string]any{"url": server.URL}},
		"bundles":               map[string]any{"flowyml": map[string]any{"service": "remote", "persist": true}},
		"persistence_directory": folder,
	}
	made.Bundles["flowyml"] = Expected{Roots: []string{"flowyml"}, Remote: true, Signed: true, InTime: true}
	made.MaxAgeNS = int64(time.Hour)
	made.DeadlineNS = int64(5 * time.Second)
	return made
}

func TestRemoteBundleIsNotActivatedWhereItMayNotBe(t *testing.T) {
	server := serve(t)
	server.give(t, stating("5", map[string]any{"sequence": 5}))
	evaluator := started(t, remoteSettings(server, t.TempDir()))
	for _, tried := range []struct {
		content files
		code    string
	}{
		{stating("4", map[string]any{"sequence": 4}), answer.RolledBack},
		{stating("6", nil), answer.RolledBack},
		{stating("6", map[string]any{"sequence": 6, "expires": "2020-01-01"}), answer.Expired},
		{stating("6", map[string]any{"sequence": -1}), answer.Policy},
		{stating("6", map[string]any{"sequence": 6, "expires": nil}), answer.Policy},
	} {
		server.give(t, tried.content)
		evaluator.loadAgain(context.Background(), "flowyml")
		reason, _ := evaluator.journal.failure("flowyml")
		if reason == nil || faultOf(t, reason).Code != tried.code {
			t.Fatalf("%v, wanted %s", reason, tried.code)
		}
		mustEqual(t, decide(t, evaluator, "", `{"n": 2}`).OK.Bundles, map[string]string{"flowyml": "5"})
	}
	server.give(t, stating("6", map[string]any{"sequence": 6, "expires": "2999-01-01T00:00:00Z"}))
	evaluator.loadAgain(context.Background(), "flowyml")
	mustEqual(t, decide(t, evaluator, "", `{"n": 2}`).OK.Bundles, map[string]string{"flowyml": "6"})
}

func TestRemoteBundleKnowsWhatWasSeenBeforeTheStart(t *testing.T) {
	server := serve(t)
	server.give(t, stating("5", map[string]any{"sequence": 5}))
	made := remoteSettings(server, t.TempDir())
	seen := int64(6)
	expected := made.Bundles["flowyml"]
	expected.Sequence = &seen
	made.Bundles["flowyml"] = expected
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if _, _, err := Start(ctx, made); err == nil || faultOf(t, err).Code != answer.RolledBack {
		t.Fatal(err)
	}
}

func TestKeptCopyServesWhereTheServerFailsAndIsYoungEnough(t *testing.T) {
	server := serve(t)
	server.give(t, stating("1", map[string]any{"sequence": 1}))
	made := remoteSettings(server, t.TempDir())
	started(t, made).Stop(context.Background())
	kept := filepath.Join(made.Config["persistence_directory"].(string), "bundles", "flowyml", "bundle.tar.gz")
	server.refuse(http.StatusServiceUnavailable)

	evaluator := started(t, made)
	if evaluator.remote.keptCopies()["flowyml"] == "" || server.asked < 2 {
		t.Fatal("the copy must be told of, and the server be asked")
	}
	mustEqual(t, decide(t, evaluator, "", `{"n": 2}`).OK.Bundles, map[string]string{"flowyml": "1"})

	old := time.Now().Add(-2 * time.Hour)
	must(t, os.Chtimes(kept, old, old))
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, _, err := Start(ctx, made)
	if err == nil || !strings.Contains(err.Error(), "Service Unavailable") || !strings.Contains(err.Error(), "max_age is 1h") {
		t.Fatal(err)
	}
}

func TestDecideIsStaleOnceNobodyConfirmedForTooLong(t *testing.T) {
	server := serve(t)
	server.give(t, stating("1", map[string]any{"sequence": 1}))
	made := remoteSettings(server, t.TempDir())
	evaluator := started(t, made)
	evaluator.remote.mutex.Lock()
	evaluator.remote.confirmed["flowyml"] = time.Now().Add(-2 * time.Hour)
	evaluator.remote.mutex.Unlock()
	if found := decide(t, evaluator, "", `{"n": 2}`); found.Error == nil || found.Error.Code != answer.Stale {
		t.Fatalf("%+v", found)
	}
	evaluator.loadAgain(context.Background(), "flowyml")
	mustEqual(t, decide(t, evaluator, "", `{"n": 2}`).OK.Bundles, map[string]string{"flowyml": "1"})
}
