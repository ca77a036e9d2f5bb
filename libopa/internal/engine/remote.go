package engine

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

// remote is what is known of the bundles that OPA asks a server for: what was seen, and when it was last confirmed.
//
// A kept copy is a file that OPA wrote; its time is when the server last said that it is the newest.
type remote struct {
	settings  Settings
	mutex     sync.Mutex
	polling   map[string]bool      // bundles whose server was asked, or is being asked
	polled    map[string]bool      // bundles of which one poll succeeded
	sequences map[string]int64     // the highest sequence that was activated, or was seen before the start
	confirmed map[string]time.Time // when the active bundle was last known to be the newest
	copies    map[string]time.Time // bundles that are active from a kept copy, and when that was the newest
	tooOld    map[string]time.Time // kept copies that are too old
}

func newRemote(settings Settings) *remote {
	known := &remote{
		settings:  settings,
		polling:   map[string]bool{},
		polled:    map[string]bool{},
		sequences: map[string]int64{},
		confirmed: map[string]time.Time{},
		copies:    map[string]time.Time{},
		tooOld:    map[string]time.Time{},
	}
	for name, expected := range settings.Bundles {
		if expected.Sequence != nil {
			known.sequences[name] = *expected.Sequence
		}
	}
	return known
}

// refuse says why a manifest of a bundle may not be loaded now, for its sequence, its time or the age of its copy.
func (r *remote) refuse(name string, manifest bundleManifest) error {
	expected := r.settings.Bundles[name]
	stated, err := statedOf(name, manifest)
	if err != nil {
		return err
	}
	if expected.InTime && stated.expires != nil && !time.Now().Before(*stated.expires) {
		return answer.Faultf(answer.Expired, "bundle %q of revision %s expired at %s",
			name, manifest.Revision, stated.expires.UTC().Format(time.RFC3339))
	}
	if !expected.Remote {
		return nil
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if known, seen := r.sequences[name]; seen && expected.Signed {
		if stated.sequence == nil {
			return answer.Faultf(answer.RolledBack,
				"bundle %q of revision %s has no sequence, and one of sequence %d was seen before", name, manifest.Revision, known)
		}
		if *stated.sequence < known {
			return answer.Faultf(answer.RolledBack,
				"bundle %q of revision %s has sequence %d, and one of sequence %d was seen before",
				name, manifest.Revision, *stated.sequence, known)
		}
	}
	if r.polling[name] {
		return nil
	}
	kept, err := r.keptAt(name)
	if err != nil {
		return err
	}
	if age := time.Since(kept); r.maxAge() > 0 && age > r.maxAge() {
		r.tooOld[name] = kept
		return answer.Faultf(answer.Stale, "%s", r.ageText(name, kept))
	}
	return nil
}

// activated notes a bundle that is about to be active.
func (r *remote) activated(arrived incoming) {
	expected := r.settings.Bundles[arrived.name]
	if !expected.Remote {
		return
	}
	stated, _ := statedOf(arrived.name, arrived.manifest)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if expected.Signed && stated.sequence != nil {
		r.sequences[arrived.name] = max(r.sequences[arrived.name], *stated.sequence)
	}
	delete(r.copies, arrived.name)
	r.confirmed[arrived.name] = time.Now()
	if expected.Copied != nil {
		kept := time.Unix(*expected.Copied, 0)
		r.copies[arrived.name], r.confirmed[arrived.name] = kept, kept
	} else if !r.polling[arrived.name] {
		kept, _ := r.keptAt(arrived.name)
		r.copies[arrived.name], r.confirmed[arrived.name] = kept, kept
	}
}

// asked notes that OPA begins to ask the server: what is activated from now on was downloaded.
func (r *remote) asked(name string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.polling[name] = true
}

// confirm notes a poll that succeeded: what is active is the newest, and so is the kept copy of it.
func (r *remote) confirm(name string) {
	if !r.settings.Bundles[name].Remote {
		return
	}
	now := time.Now()
	r.mutex.Lock()
	r.polled[name] = true
	if r.settings.Bundles[name].Copied == nil {
		r.confirmed[name] = now
	}
	r.mutex.Unlock()
	if kept := r.copyOf(name); kept != "" {
		_ = os.Chtimes(kept, now, now) // at worst the copy counts as older than it is
	}
}

// isSettled says whether a bundle may be decided by: its server was asked and answered, or did not and a copy serves.
func (r *remote) isSettled(name string, failed bool) bool {
	if !r.settings.Bundles[name].Remote {
		return true
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	_, isCopy := r.copies[name]
	return r.polled[name] || (failed && isCopy)
}

// stale is nil where every bundle was confirmed recently enough to decide by it.
func (r *remote) stale() error {
	if r.maxAge() == 0 {
		return nil
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for name, confirmed := range r.confirmed {
		if time.Since(confirmed) > r.maxAge() {
			return answer.Faultf(answer.Stale, "%s", r.ageText(name, confirmed))
		}
	}
	return nil
}

// keptCopies are the bundles that are active from a copy, and when that was last the newest.
func (r *remote) keptCopies() map[string]string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	told := map[string]string{}
	for name, kept := range r.copies {
		told[name] = kept.UTC().Format(time.RFC3339)
	}
	return told
}

// oldCopies are the kept copies that were too old to serve.
func (r *remote) oldCopies() map[string]time.Time {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return maps.Clone(r.tooOld)
}

func (r *remote) maxAge() time.Duration { return time.Duration(r.settings.MaxAgeNS) }

func (r *remote) ageText(name string, confirmed time.Time) string {
	return fmt.Sprintf("the copy of bundle %q was last known to be the newest at %s, and policy.opa.max_age is %v",
		name, confirmed.UTC().Format(time.RFC3339), r.maxAge())
}

func (r *remote) copyOf(name string) string {
	directory, _ := r.settings.Config["persistence_directory"].(string)
	if directory == "" {
		return ""
	}
	return filepath.Join(directory, "bundles", name, "bundle.tar.gz")
}

func (r *remote) keptAt(name string) (time.Time, error) {
	found, err := os.Stat(r.copyOf(name))
	if err != nil {
		return time.Time{}, answer.Faultf(answer.Start, "the copy of bundle %q cannot be read: %v", name, err)
	}
	return found.ModTime(), nil
}
