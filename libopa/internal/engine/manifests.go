package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

// Expected is what the manifest of one bundle must keep to.
type Expected struct {
	Roots []string `json:"roots"` // the only roots that it may own
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
