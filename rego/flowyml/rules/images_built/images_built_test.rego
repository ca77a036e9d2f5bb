package flowyml.rules.images_built

import data.flowyml.lib.inputs

_fix := "build and push the image beforehand, and name it in place of the build, best by its digest"

_found(path, said) := {
	"code": "images_built.unnamed",
	"subject": "prod-gpu-large",
	"path": path,
	"message": concat("", [said, ", and nothing names the image that is built"]),
	"fix": _fix,
}

_run(config) := {"run": {
	"pipeline": "train",
	"orchestrator": null,
	"docker_config": config,
	"resources": null,
	"packages": [],
}}

test_allow_stack_that_builds_nothing if {
	findings == set() with input as inputs.plain
	every spec in [{}, {"runtime": {}}, {"runtime": {"dockerfile": null}}, {"runtime": {"dockerfile": ""}}, {"deployment": {"config": {"dockerfile": false}}}, {"deployment": {"config": {"a": 1, "b": ["dockerfile"]}}}] {
		findings == set() with input as inputs.changed({"stack/spec": spec})
	}
	findings == set() with input as inputs.changed({"stack/spec": {"storage": {"dockerfile": "D"}}})
}

test_deny_dockerfile_of_the_runtime_warns if {
	every extra in [{}, {"docker_image": "python:3.11"}, {"auto_build": true}, {"auto_build": null}] {
		findings == {_found(
			["spec", "runtime", "dockerfile"],
			`spec.runtime.dockerfile says to build an image`,
		)} with input as inputs.changed({"stack/spec": {"runtime": object.union({"dockerfile": "Dockerfile"}, extra)}})
	}
}

test_allow_dockerfile_that_is_not_built if {
	findings == set() with input as inputs.changed({"stack/spec": {"runtime": {"dockerfile": "Dockerfile", "auto_build": false}}})
}

test_deny_build_of_a_deployer_or_a_live_object if {
	every section in ["deployment", "instance"] {
		every key in ["dockerfile", "dockerFile", "Dockerfile", "build_context", "buildContext", "build-context"] {
			findings == {_found(
				["spec", section, "config", "parts", 1, key],
				sprintf(`spec.%s.config.parts.1.%s says to build an image`, [section, key]),
			)} with input as inputs.changed({"stack/spec": {section: {"config": {"parts": [1, {key: ".", "size": 1}]}}}})
		}
	}
}

test_deny_build_is_found_once if {
	findings == {_found(
		["spec", "instance", "docker", "dockerfile"],
		`spec.instance.docker.dockerfile says to build an image`,
	)} with input as inputs.changed({"stack/spec": {"instance": {"docker": {"build_context": ".", "dockerfile": "D"}}}})
	findings == {_found(
		["spec", "instance", "docker", "build_context"],
		`spec.instance.docker.build_context says to build an image`,
	)} with input as inputs.changed({"stack/spec": {"instance": {"docker": {"build_context": ".", "dockerfile": null}}}})
}

test_allow_build_that_names_its_image if {
	every key in ["image", "docker_image", "imageUri", "image_ref", "image-reference"] {
		findings == set() with input as inputs.changed({"stack/spec": {"deployment": {"config": {"dockerfile": "D", key: "a/b:1"}}}})
	}
	findings == set() with input as inputs.changed({"stack/spec": {"instance": {"docker": {"dockerfile": "D", "auto_build": false}}}})
}

test_deny_build_that_names_no_image if {
	every other in [{"image": ""}, {"image": null}, {"image": 1}, {"base_image": "python:3.11"}, {"baseImage": "a:1"}, {"images_of": "a:1"}] {
		findings == {_found(
			["spec", "deployment", "config", "dockerfile"],
			`spec.deployment.config.dockerfile says to build an image`,
		)} with input as inputs.changed({"stack/spec": {"deployment": {"config": object.union({"dockerfile": "D"}, other)}}})
	}
}

test_allow_compose_service_that_names_its_image if {
	service := {"image": "a/b:1", "build": {"dockerfile": "D"}}
	every deployment in [service, {"config": service}, {"config": [service]}, [service]] {
		findings == set() with input as inputs.changed({"stack/spec": {"deployment": deployment}})
	}
}

test_deny_build_beside_another_image if {
	every key in ["builder", "built"] {
		found := findings with input as inputs.changed({"stack/spec": {"deployment": {"config": {"image": "a/b:1", key: {"dockerfile": "D"}}}}})
		{finding.path | some finding in found} == {["spec", "deployment", "config", key, "dockerfile"]}
	}
	found := findings with input as inputs.changed({"stack/spec": {"deployment": {"config": {"build": {"dockerfile": "D"}}}}})
	{finding.path | some finding in found} == {["spec", "deployment", "config", "build", "dockerfile"]}
	listed := findings with input as inputs.changed({"stack/spec": {"deployment": {"config": [{"dockerfile": "D"}]}}})
	{finding.path | some finding in listed} == {["spec", "deployment", "config", 0, "dockerfile"]}
}

test_deny_run_that_builds_an_image if {
	every config in [{}, {"image": null, "build_context": "."}, {"requirements": ["numpy"], "base_image": "python:3.11"}] {
		findings == {_found([], "the run's Docker configuration says to build an image")} with input as inputs.changed(_run(config))
	}
}

test_allow_run_that_names_its_image if {
	every config in [null, {"image": "a/b:1", "build_context": "."}, {"image": null, "auto_build": false}] {
		findings == set() with input as inputs.changed(_run(config))
	}
}

test_deny_message_names_the_lists_that_cannot_be_checked if {
	asked := {
		"project/policies/image_policy/allowed_registries": [],
		"project/policies/image_policy/required_labels": ["maintainer"],
		"project/policies/image_policy/allowed_bases": ["python:3.11"],
	}
	words := ["allowed_registries", "required_labels", "allowed_bases"]
	every place, value in asked {
		found := findings with input as inputs.changed(object.union(_run({}), {place: value}))
		parts := split(place, "/")
		{finding.message | some finding in found} == {sprintf(
			"the run's Docker configuration says to build an image, and nothing names the image that is built; it cannot be checked against %s",
			[parts[3]],
		)}
	}
	found := findings with input as inputs.changed(object.union(_run({}), asked))
	{finding.message | some finding in found} == {sprintf(
		"the run's Docker configuration says to build an image, and nothing names the image that is built; it cannot be checked against %s",
		[concat(", ", sort(words))],
	)}
	company := findings with input as inputs.changed(_run({}))
		with data.org.rule_data as {"images_registry": {"allowed_registries": ["gcr.io"]}}
	{endswith(finding.message, "checked against allowed_registries") | some finding in company} == {true}
}

test_deny_rule_data_for_a_rule_that_reads_none if {
	findings == {{
		"code": "images_built.rule_data",
		"subject": "data.org.rule_data.images_built.required",
		"path": [],
		"message": "data.org.rule_data.images_built.required is no key that the rule reads",
		"fix": "the rule reads nothing",
	}} with input as inputs.plain with data.org.rule_data as {"images_built": {"required": true}}
}
