# METADATA
# title: Inputs for tests
# description: One valid input, and inputs that differ from it in one place. Left out of every bundle, as all tests are.
package flowyml.lib.inputs

# METADATA
# description: A stack with one image, of a project that asks for nothing.
plain := {
	"schema_version": 1,
	"operation": "validate",
	"evaluated_at": "2026-11-23T09:00:00Z",
	"hypothetical": false,
	"authority": "project",
	"environments": ["production"],
	"actor": {"name": "ann", "groups": [], "claimed": {}},
	"project": {
		"name": "fraud-detection",
		"org": "fintech-corp",
		"policies": {
			"allowed_stacks": null,
			"required_labels": null,
			"image_policy": {
				"allowed_registries": null,
				"required_labels": null,
				"allowed_bases": null,
				"max_age_seconds": null,
				"require_digest": null,
				"deny_tags": null,
			},
			"levels": {},
			"rule_data": {},
		},
		"waivers": {},
		"overrides": [],
	},
	"stack": {
		"name": "prod-gpu-large",
		"version": "2.1.0",
		"labels": {"team": "ml-platform", "approved": "true"},
		"spec": {"runtime": {"docker_image": "myregistry.azurecr.io/team/train:1.4.0"}},
		"document": {},
		"definition_digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000",
		"suspected_secrets": [],
	},
	"source": {
		"kind": "local",
		"uri": "stacks/prod.yaml",
		"ref": null,
		"commit": null,
		"digest": null,
		"pinned": false,
	},
	"lock": null,
	"run": null,
	"images": [image],
	"bases": [],
}

# METADATA
# description: The image of that stack, inspected. No rule finds anything wrong with it, but that its tag is no digest.
image := {
	"ref": "myregistry.azurecr.io/team/train:1.4.0",
	"registry": "myregistry.azurecr.io",
	"repository": "team/train",
	"tag": "1.4.0",
	"digest": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	"paths": [["spec", "runtime", "docker_image"]],
	"inspected": true,
	"via": "registry",
	"certainty": "named",
	"error": null,
	"platforms": [platform],
	"endpoint": "myregistry.azurecr.io",
	"inspected_at": "2026-11-23T09:00:00Z",
	"kind": "manifest",
	"signing": [],
	"signatures": [],
	"scan": null,
	"scan_problem": null,
}

# METADATA
# description: The one platform of that image.
platform := {
	"platform": "linux/amd64",
	"digest": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	"labels": {"maintainer": "ml-platform", "version": "1.4.0"},
	"user": "1000",
	"created": "2026-11-20T08:00:00Z",
	"size": 400000000,
	"base": null,
	"architecture": "amd64",
	"os": "linux",
	"ports": [],
	"entrypoint": ["python"],
	"env": ["PATH"],
	"diff_ids": ["sha256:1111111111111111111111111111111111111111111111111111111111111111"],
}

# METADATA
# description: Another platform, as an index names it beside the first.
arm := object.union(platform, {
	"platform": "linux/arm64",
	"digest": "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
	"architecture": "arm64",
	"diff_ids": ["sha256:2222222222222222222222222222222222222222222222222222222222222222"],
})

# METADATA
# description: That input with other values in place of its own, each given by its path, such as stack/name.
changed(values) := json.patch(plain, [{"op": "replace", "path": path, "value": value} |
	some path, value in values
])

# METADATA
# description: That input for the stack that comes with the program.
builtin := changed({
	"source/kind": "builtin",
	"stack/name": "local",
	"stack/version": null,
	"stack/labels": {},
	"images": [],
})

# METADATA
# description: The image of that stack where nobody inspected it, because the settings switch inspection off.
uninspected := object.union(image, {
	"digest": null,
	"inspected": false,
	"via": "off",
	"platforms": [],
	"endpoint": null,
	"inspected_at": null,
	"kind": null,
})
