package engine

import (
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/logging"
)

// journal is OPA's logger. It prints nothing; it keeps the last error of every bundle, because the reason why a
// bundle does not load stands nowhere else while OPA goes on waiting for it.
type journal struct {
	mutex    sync.Mutex
	failures map[string]error // by bundle, the last attempt's error
	attempts map[string]int   // by bundle, how many attempts failed
	changed  chan struct{}    // holds one token when something was logged since the last look
	remote   *remote
}

func newJournal(known *remote) *journal {
	return &journal{
		failures: map[string]error{}, attempts: map[string]int{}, changed: make(chan struct{}, 1), remote: known,
	}
}

// How OPA's bundle plugin says what becomes of a bundle.
const (
	saysAsks      = "Starting bundle loader"
	saysActivated = "Bundle loaded and activated successfully"
	saysUnchanged = "Bundle load skipped, server replied with not modified"
)

// succeed notes a poll that left nothing to complain of.
func (j *journal) succeed(bundle string) {
	j.mutex.Lock()
	delete(j.failures, bundle)
	j.mutex.Unlock()
	j.remote.confirm(bundle)
	j.notify()
}

func (j *journal) notify() {
	select {
	case j.changed <- struct{}{}:
	default:
	}
}

func (j *journal) fail(bundle string, err error) {
	j.mutex.Lock()
	j.failures[bundle] = err
	j.attempts[bundle]++
	j.mutex.Unlock()
	j.notify()
}

// begin notes that a bundle is asked for from now on; what was wrong with a copy of it does not count as an attempt.
func (j *journal) begin(bundle string) {
	j.mutex.Lock()
	j.attempts[bundle] = 0
	delete(j.failures, bundle)
	j.mutex.Unlock()
	j.remote.asked(bundle)
}

func (j *journal) failure(bundle string) (error, int) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.failures[bundle], j.attempts[bundle]
}

// page is the journal as seen by one of OPA's parts; `bundle` is empty for what concerns no bundle.
type page struct {
	journal *journal
	bundle  string
}

var _ logging.Logger = page{}

// WithFields follows the fields by which OPA's bundle plugin says which bundle it speaks of.
func (p page) WithFields(fields map[string]any) logging.Logger {
	if name, ok := fields["name"].(string); ok && fields["plugin"] == "bundle" {
		return page{p.journal, name}
	}
	return p
}

// Error keeps the error among the arguments: OPA passes the value itself, not only its text.
func (p page) Error(_ string, arguments ...any) {
	if p.bundle == "" {
		return
	}
	for _, argument := range arguments {
		if err, ok := argument.(error); ok {
			p.journal.fail(p.bundle, err)
			return
		}
	}
}

// Info follows a bundle's way: OPA tells it nowhere else.
func (p page) Info(message string, _ ...any) {
	switch {
	case p.bundle == "":
	case strings.HasPrefix(message, saysAsks):
		p.journal.begin(p.bundle)
	case strings.HasPrefix(message, saysActivated):
		p.journal.succeed(p.bundle)
	}
	p.journal.notify()
}

func (p page) Warn(string, ...any) {}

func (p page) Debug(message string, _ ...any) {
	if p.bundle != "" && strings.HasPrefix(message, saysUnchanged) {
		p.journal.succeed(p.bundle)
	}
}

// GetLevel keeps OPA from compiling print statements in: policy has no way to write to the process's streams.
func (p page) GetLevel() logging.Level { return logging.Error }
func (p page) SetLevel(logging.Level)  {}
