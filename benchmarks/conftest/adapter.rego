# METADATA
# description: |
#   Lets conftest judge a bare manifest by the entry point that this program uses: the manifest becomes a PolicyInput,
#   as the normaliser would build it for what the benchmark's manifests hold. conftest so evaluates the same decision
#   by the same rules. It does less than the program it is compared with: one rule (`deny`, no warnings), a reference
#   taken apart by splitting instead of by the grammar, no digest, no mask, no validation, no audit.
package main

deny contains message if {
	some finding in decision.findings
	finding.severity == "deny"
	message := sprintf("%s: %s", [finding.code, finding.message])
}

# A decision that is undefined or evaluated no rule must not pass for an allow.
deny contains "no decision" if not decided

decided if count(decision.rules) > 0

decision := answer if answer := data.flowyml.main.decision with input as policy_input

policy_input := {
	"schema_version": 1,
	"operation": "validate",
	"evaluated_at": "2026-01-01T00:00:00.000000Z",
	"hypothetical": false,
	"authority": "project",
	"environments": [],
	"actor": {"name": "benchmark", "groups": [], "claimed": {}},
	"project": data.benchmark.project,
	"stack": {
		"name": input.metadata.name,
		"version": input.metadata.version,
		"labels": input.metadata.labels,
		"spec": input.spec,
		"document": input,
		"definition_digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000",
		"suspected_secrets": [],
	},
	"source": {
		"kind": "local",
		"uri": "stack.yaml",
		"ref": null,
		"commit": null,
		"digest": null,
		"pinned": false,
	},
	"lock": null,
	"run": null,
	"images": [{
		"ref": image,
		"registry": registry,
		"repository": repository,
		"tag": tag,
		"digest": null,
		"paths": [["spec", "runtime", "docker_image"]],
		"inspected": false,
		"via": "off",
		"error": null,
		"platforms": [],
	}],
}

image := input.spec.runtime.docker_image

registry := split(image, "/")[0]

repository := split(trim_prefix(image, concat("", [registry, "/"])), ":")[0]

tag := split(image, ":")[1]
