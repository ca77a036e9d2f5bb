package engine

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

// Expected is what the manifest of one bundle must keep to.
type Expected struct {
	Roots    []string `json:"roots"`    // the only roots that it may own
	InTime   bool     `json:"in_time"`  // whether it is refused once it has expired
	Remote   bool     `json:"remote"`   // whether a server gives it
	Signed   bool     `json:"signed"`   // whether OPA demands a signature
	Sequence *int64   `json:"sequence"` // the highest sequence that was seen before
	Copied   *int64   `json:"copied"`   // for a kept copy in place of a server: the second at which it was the newest
}

// stated is what a manifest says of its bundle beside its roots and revision.
type stated struct {
	sequence *int64
	expires  *time.Time
}

// instant reads an instant as policy does: a date alone is its first one in UTC.
func instant(text string) (time.Time, error) {
	if date, err := time.Parse(time.DateOnly, text); err == nil {
		return date, nil
	}
	return time.Parse(time.RFC3339, text)
}

// statedOf reads the metadata of a manifest.
func statedOf(name string, manifest bundle.Manifest) (stated, error) {
	var found stated
	if value, given := manifest.Metadata["sequence"]; given {
		sequence, err := strconv.ParseInt(fmt.Sprint(value), 10, 64)
		if err != nil || sequence < 0 {
			return found, answer.Faultf(answer.Policy, "bundle %q states the sequence %v, which is no whole number", name, value)
		}
		found.sequence = &sequence
	}
	if value, given := manifest.Metadata["expires"]; given {
		expires, err := instant(fmt.Sprint(value))
		if err != nil {
			return found, answer.Faultf(answer.Policy, "bundle %q states that it expires at %v, which is no instant", name, value)
		}
		found.expires = &expires
	}
	return found, nil
}

// checkManifest says why a bundle may not be loaded, or nil.
func checkManifest(name string, expected Expected, inputSchema int, manifest bundle.Manifest) error {
	if err := checkRoots(name, expected.Roots, manifest.Roots); err != nil {
		return err
	}
	if manifest.Revision == "" {
		return answer.Faultf(answer.Policy, "bundle %q states no revision in its manifest", name)
	}
	stated, found := manifest.Metadata["input_schema"]
	if found && fmt.Sprint(stated) != fmt.Sprint(inputSchema) {
		return answer.Faultf(answer.Policy,
			"bundle %q is written for input schema %v, this program gives input schema %d", name, stated, inputSchema)
	}
	return nil
}

func checkRoots(name string, allowed []string, roots *[]string) error {
	if roots == nil || len(*roots) == 0 || slices.Contains(*roots, "") {
		return answer.Faultf(answer.Policy,
			"bundle %q owns every root, because its manifest names none; it may own %s", name, listed(allowed))
	}
	for _, root := range *roots {
		root = strings.Trim(root, "/")
		if slices.Contains(allowed, root) {
			continue
		}
		if root == "system" || strings.HasPrefix(root, "system/bundles") {
			return answer.Faultf(answer.Policy,
				"bundle %q owns the root %q, which would erase the record of what is loaded; it may own %s",
				name, root, listed(allowed))
		}
		return answer.Faultf(answer.Policy, "bundle %q owns the root %q; it may own %s", name, root, listed(allowed))
	}
	return nil
}

func listed(names []string) string {
	quoted := make([]string, len(names))
	for index, name := range names {
		quoted[index] = fmt.Sprintf("%q", name)
	}
	return strings.Join(quoted, ", ")
}

// readManifests gives the manifest of every bundle that is active in txn.
func readManifests(ctx context.Context, store storage.Store, txn storage.Transaction) (map[string]bundle.Manifest, error) {
	manifests := map[string]bundle.Manifest{}
	names, err := bundle.ReadBundleNamesFromStore(ctx, store, txn)
	if storage.IsNotFound(err) {
		return manifests, nil
	}
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		var manifest bundle.Manifest
		value, err := store.Read(ctx, txn, append(slices.Clone(bundle.BundlesBasePath), name, "manifest"))
		if err != nil {
			return nil, err
		}
		if encoded, ok := value.(ast.Value); ok {
			err = ast.As(encoded, &manifest)
		} else {
			err = fmt.Errorf("the manifest of bundle %q is no object", name)
		}
		if err != nil {
			return nil, err
		}
		manifests[name] = manifest
	}
	return manifests, nil
}
