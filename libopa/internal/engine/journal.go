package engine

import (
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
}

func newJournal() *journal {
	return &journal{failures: map[string]error{}, attempts: map[string]int{}, changed: make(chan struct{}, 1)}
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

func (p page) Info(string, ...any)  { p.journal.notify() }
func (p page) Warn(string, ...any)  {}
func (p page) Debug(string, ...any) {}

// GetLevel keeps OPA from compiling print statements in: policy has no way to write to the process's streams.
func (p page) GetLevel() logging.Level { return logging.Error }
func (p page) SetLevel(logging.Level)  {}
