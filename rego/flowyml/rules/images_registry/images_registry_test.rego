package flowyml.rules.images_registry

import data.flowyml.lib.inputs

# Each entry, a registry with a path that it allows, and one that it does not.
_cases := [
	["myregistry.azurecr.io", "myregistry.azurecr.io", "a/b/c", true],
	["myregistry.azurecr.io", "myregistry.azurecr.io.evil.com", "x", false],
	["myregistry.azurecr.io", "sub.myregistry.azurecr.io", "x", false],
	["myregistry.azurecr.io", "xmyregistry.azurecr.io", "x", false],
	["myregistry.azurecr.io", "myregistry.azurecr.io:5000", "x", false],
	["myregistry.azurecr.io:5000", "myregistry.azurecr.io:5000", "x", true],
	["myregistry.azurecr.io:5000", "myregistry.azurecr.io", "x", false],
	["myregistry.azurecr.io/", "myregistry.azurecr.io", "x", true],
	["myregistry.azurecr.io/*", "myregistry.azurecr.io", "x/y", true],
	["myregistry.azurecr.io/**", "myregistry.azurecr.io", "x/y", true],
	["myregistry.azurecr.io*", "myregistry.azurecr.io", "x", false],
	["gcr.io/my-project", "gcr.io", "my-project", true],
	["gcr.io/my-project", "gcr.io", "my-project/x/y", true],
	["gcr.io/my-project", "gcr.io", "my-project-evil/x", false],
	["gcr.io/my-project", "gcr.io", "my-projec", false],
	["gcr.io/my-project", "gcr.io", "other/my-project", false],
	["gcr.io/my-project/", "gcr.io", "my-project-evil/x", false],
	["gcr.io/my-project/*", "gcr.io", "my-project-evil/x", false],
	["gcr.io/my-project/*", "gcr.io", "my-project/x", true],
	["gcr.io/my-project/**", "gcr.io", "my-project/x/y", true],
	["gcr.io/my-project/***", "gcr.io", "my-project/x/y", false],
	["gcr.io/my-proj*", "gcr.io", "my-project/x", false],
	["gcr.io/my-*", "gcr.io", "my-/x", false],
	["*.azurecr.io", "myregistry.azurecr.io", "x", true],
	["*.azurecr.io", "a.b.azurecr.io", "x", false],
	["*.azurecr.io", "azurecr.io", "x", false],
	["*.azurecr.io", "evilazurecr.io", "x", false],
	["*.azurecr.io", "a.azurecr.io:5000", "x", false],
	["*.azurecr.io:5000", "a.azurecr.io:5000", "x", true],
	["*.azurecr.io/team", "a.azurecr.io", "team/x", true],
	["*.azurecr.io/team", "a.azurecr.io", "team-b/x", false],
	["*", "localhost", "x", false],
	["*", "gcr.io", "x", false],
	["", "gcr.io", "x", false],
	["/", "gcr.io", "x", false],
	["docker.io", "docker.io", "library/ubuntu", true],
	["docker.io/library", "docker.io", "library/ubuntu", true],
	["index.docker.io", "docker.io", "library/ubuntu", true],
	["index.docker.io/library/ubuntu/", "docker.io", "library/ubuntu", true],
	["index.docker.io/library", "docker.io", "evil/ubuntu", false],
	["docker.io", "index.docker.io", "x", false],
	["DOCKER.IO", "docker.io", "library/ubuntu", false],
	["localhost:5000", "localhost:5000", "x", true],
	["localhost", "localhost", "x", true],
	["localhost", "localhost:5000", "x", false],
	["[::1]:5000", "[::1]:5000", "x", true],
	["10.0.0.1:5000/team", "10.0.0.1:5000", "team/x", true],
]

test_allow_what_an_entry_names_and_nothing_else if {
	answers := [[entry, registry, repository, answer] |
		some [entry, registry, repository, _] in _cases
		found := findings with input as inputs.changed({
			"images/0/registry": registry,
			"images/0/repository": repository,
			"project/policies/image_policy/allowed_registries": [entry],
		})
		answer := {finding.code | some finding in found} == set()
	]
	answers == _cases
}

test_deny_image_that_is_built_for_a_run_and_pushed_elsewhere if {
	built := {"ref": "evil.io/train", "registry": "evil.io", "repository": "train", "is_pushed": true, "error": null}
	changes := {"images": [], "project/policies/image_policy/allowed_registries": ["a.io"]}
	findings == {{
		"code": "images_registry.not_allowed",
		"subject": "evil.io/train",
		"path": ["run", "builds"],
		"message": concat("", [
			`the image "evil.io/train" would be pushed to evil.io/train, but the project `,
			`(policies.image_policy.allowed_registries) allows "a.io"`,
		]),
		"fix": "let registry_uri lead to an allowed registry, or have its registry added to the list",
	}} with input as inputs.changed(object.union(changes, {"run": {"pipeline": "train", "builds": built}}))
	findings == set() with input as inputs.changed(object.union(changes, {"run": {
		"pipeline": "train",
		"builds": object.union(built, {"registry": "a.io"}),
	}}))
	findings == set() with input as inputs.changed(object.union(changes, {"run": {
		"pipeline": "train",
		"builds": object.union(built, {"is_pushed": false}),
	}}))
	findings == set() with input as inputs.changed(object.union(changes, {"run": {"pipeline": "train", "builds": null}}))
}

test_deny_place_to_push_to_that_cannot_be_read if {
	found := findings with input as inputs.changed({"images": [], "run": {"pipeline": "train", "builds": {
		"ref": "https://a.io/train",
		"registry": null,
		"repository": null,
		"is_pushed": true,
		"error": {"code": "reference_invalid", "message": "it has a scheme"},
	}}})
	{[finding.code, finding.message] | some finding in found} == {[
		"images_registry.reference",
		`"https://a.io/train" is not an image reference: it has a scheme`,
	]}
}

test_allow_any_registry_where_no_list_is_set if {
	findings == set() with input as inputs.plain
}

test_allow_image_that_one_entry_of_each_list_names if {
	findings == set() with data.org.rule_data as {"images_registry": {"allowed_registries": ["gcr.io", "*.azurecr.io"]}}
		with input as inputs.changed({
			"project/policies/image_policy/allowed_registries": ["quay.io", "myregistry.azurecr.io"],
			"project/policies/rule_data": {"images_registry": {"allowed_registries": ["myregistry.azurecr.io/team"]}},
		})
}

test_deny_image_that_the_project_does_not_name if {
	findings == {{
		"code": "images_registry.not_allowed",
		"subject": "myregistry.azurecr.io/team/train:1.4.0",
		"path": ["spec", "runtime", "docker_image"],
		"message": concat("", [
			`the image "myregistry.azurecr.io/team/train:1.4.0" comes from myregistry.azurecr.io/team/train, `,
			`but the project (policies.image_policy.allowed_registries) allows "quay.io", "gcr.io/my-project/**"`,
		]),
		"fix": "use an image from an allowed registry, for example `quay.io/train:1.4.0`, or have its registry added to the list",
	}} with input as inputs.changed({"project/policies/image_policy/allowed_registries": ["quay.io", "gcr.io/my-project/**"]})
}

test_deny_example_on_the_image_s_own_host if {
	found := findings with input as inputs.changed({"project/policies/image_policy/allowed_registries": [
		"quay.io",
		"myregistry.azurecr.io.example.com/a",
		"myregistry.azurecr.io/ml/**",
		"myregistry.azurecr.io/b",
	]})
	{finding.fix | some finding in found} == {"use an image from an allowed registry, for example `myregistry.azurecr.io/ml/train:1.4.0`, or have its registry added to the list"}
}

test_deny_image_that_any_list_leaves_out if {
	found := findings with data.org.rule_data as {"images_registry": {"allowed_registries": ["gcr.io"]}}
		with input as inputs.changed({
			"project/policies/image_policy/allowed_registries": ["quay.io"],
			"project/policies/rule_data": {"images_registry": {"allowed_registries": ["*.example.com"]}},
		})
	{[finding.message, finding.fix] | some finding in found} == {
		[
			`the image "myregistry.azurecr.io/team/train:1.4.0" comes from myregistry.azurecr.io/team/train, but the company's policy (images_registry.allowed_registries) allows "gcr.io"`,
			"use an image from an allowed registry, for example `gcr.io/train:1.4.0`, or have its registry added to the list",
		],
		[
			`the image "myregistry.azurecr.io/team/train:1.4.0" comes from myregistry.azurecr.io/team/train, but the project (policies.image_policy.allowed_registries) allows "quay.io"`,
			"use an image from an allowed registry, for example `quay.io/train:1.4.0`, or have its registry added to the list",
		],
		[
			`the image "myregistry.azurecr.io/team/train:1.4.0" comes from myregistry.azurecr.io/team/train, but the project (policies.rule_data.images_registry.allowed_registries) allows "*.example.com"`,
			"use an image from an allowed registry, or have its registry added to the list",
		],
	}
}

test_deny_every_image_where_the_list_is_empty if {
	findings == {{
		"code": "images_registry.not_allowed",
		"subject": "myregistry.azurecr.io/team/train:1.4.0",
		"path": ["spec", "runtime", "docker_image"],
		"message": concat("", [
			`the image "myregistry.azurecr.io/team/train:1.4.0" comes from myregistry.azurecr.io/team/train, `,
			`but the project (policies.image_policy.allowed_registries) allows nothing`,
		]),
		"fix": "use a stack without this image, or have a registry added to the list",
	}} with input as inputs.changed({"project/policies/image_policy/allowed_registries": []})
}

test_deny_advice_never_takes_an_odd_entry_for_an_example if {
	fixes := {entries: fix |
		some entries in [["gcr"], ["gcr", "*.azurecr.io:1"], ["https://a.io"], ["", "quay.io"], ["a.io/Team", "quay.io/team/*"]]
		found := findings with input as inputs.changed({"project/policies/image_policy/allowed_registries": entries})
		some finding in found
		fix := finding.fix
	}
	fixes == {
		["gcr"]: "use an image from an allowed registry, or have its registry added to the list",
		["gcr", "*.azurecr.io:1"]: "use an image from an allowed registry, or have its registry added to the list",
		["https://a.io"]: "use an image from an allowed registry, or have its registry added to the list",
		["", "quay.io"]: "use an image from an allowed registry, for example `quay.io/train:1.4.0`, or have its registry added to the list",
		["a.io/Team", "quay.io/team/*"]: "use an image from an allowed registry, for example `quay.io/team/train:1.4.0`, or have its registry added to the list",
	}
}

test_deny_example_without_a_tag_for_an_image_without_one if {
	found := findings with input as inputs.changed({
		"images/0/tag": null,
		"project/policies/image_policy/allowed_registries": ["gcr.io"],
	})
	{finding.fix | some finding in found} == {"use an image from an allowed registry, for example `gcr.io/train`, or have its registry added to the list"}
}

test_deny_each_place_that_names_the_image if {
	found := findings with input as inputs.changed({
		"images/0/paths": [["spec", "runtime", "docker_image"], ["spec", "compute", "images", 0]],
		"project/policies/image_policy/allowed_registries": [],
	})
	{finding.path | some finding in found} == {["spec", "runtime", "docker_image"], ["spec", "compute", "images", 0]}
}

test_deny_image_whose_place_is_unknown if {
	found := findings with input as inputs.changed({
		"images/0/paths": [],
		"project/policies/image_policy/allowed_registries": [],
	})
	{finding.path | some finding in found} == {[]}
}

test_deny_each_image_that_is_not_allowed if {
	found := findings with input as inputs.changed({
		"images": [
			inputs.image,
			object.union(inputs.image, {"ref": "evil.io/x", "registry": "evil.io", "repository": "x", "tag": null}),
			object.union(inputs.image, {"ref": "bad.io/y", "registry": "bad.io", "repository": "y", "tag": null}),
		],
		"project/policies/image_policy/allowed_registries": ["myregistry.azurecr.io"],
	})
	{finding.subject | some finding in found} == {"evil.io/x", "bad.io/y"}
}

test_deny_reference_that_cannot_be_read if {
	findings == {{
		"code": "images_registry.reference",
		"subject": "Not An Image",
		"path": ["spec", "runtime", "docker_image"],
		"message": `"Not An Image" is not an image reference: a path is in lower case`,
		"fix": "write it as registry/path:tag in lower case, for example `myregistry.azurecr.io/team/train:1.4.0`",
	}} with input as inputs.changed({
		"images/0/ref": "Not An Image",
		"images/0/registry": null,
		"images/0/repository": null,
		"images/0/error": {"code": "image_error", "message": "a path is in lower case"},
		"project/policies/image_policy/allowed_registries": [],
	})
}

test_deny_reference_that_cannot_be_read_without_a_reason if {
	found := findings with input as inputs.changed({
		"images/0/ref": "?",
		"images/0/registry": null,
		"images/0/repository": null,
	})
	{finding.message | some finding in found} == {`"?" is not an image reference`}
}

test_deny_rule_data_that_cannot_be_read if {
	findings == {{
		"code": "images_registry.rule_data",
		"subject": "data.org.rule_data.images_registry.allowed_registries",
		"path": [],
		"message": concat("", [
			"data.org.rule_data.images_registry.allowed_registries must be a list of registries, each as `host` or `host/path` ",
			"without scheme, tag or digest, but it is \"gcr.io\"",
		]),
		"fix": concat("", [
			"let data.org.rule_data.images_registry.allowed_registries be a list of registries, each as `host` or `host/path` ",
			"without scheme, tag or digest",
		]),
	}} with input as inputs.plain with data.org.rule_data as {"images_registry": {"allowed_registries": "gcr.io"}}
}

test_deny_rule_data_with_an_odd_entry if {
	every entry in [
		"", " ", "*", "**", "*.*", "/", "https://gcr.io", "user@gcr.io", "gcr.io ", " gcr.io", "gcr.io/x:1", "gcr.io/x@sha256:ab", "gcr.io/Team",
		"gcr.io//x", "gcr.io/x*", "gcr.io/*/x", "gcr.io/x/***", "a.*.io", "*gcr.io", "my-team", "my-team/x", ".gcr.io", "gcr.io.", "-a.io", "a_b.com",
		"gcr.io:", "gcr.io:x", "[::1", "gcr.io/x\n", null, 1, ["gcr.io"],
	] {
		found := findings with input as inputs.changed({"images": []})
			with data.org.rule_data as {"images_registry": {"allowed_registries": [entry]}}
		{finding.code | some finding in found} == {"images_registry.rule_data"}
	}
}

test_allow_rule_data_with_every_entry_that_can_match if {
	every entry in {case[0] | some case in _cases; case[3]} {
		findings == set() with input as inputs.changed({"images": []})
			with data.org.rule_data as {"images_registry": {"allowed_registries": [entry]}}
	}
}

test_deny_lists_with_entries_that_are_no_text if {
	found := findings with input as inputs.plain with data.org.rule_data as {"images_registry": {"allowed_registries": [7, null, "gcr.io"]}}
	{[finding.code, finding.fix] | some finding in found; finding.code == "images_registry.not_allowed"} == {[
		"images_registry.not_allowed",
		"use an image from an allowed registry, for example `gcr.io/train:1.4.0`, or have its registry added to the list",
	]}
}

_guess := {
	"images/0/certainty": "guessed",
	"images/0/paths": [["spec", "deployment", "config", "args", 0]],
	"project/policies/image_policy/allowed_registries": ["gcr.io"],
}

test_deny_what_looks_like_an_image_says_so if {
	findings == {{
		"code": "images_registry.not_allowed",
		"subject": "myregistry.azurecr.io/team/train:1.4.0",
		"path": ["spec", "deployment", "config", "args", 0],
		"message": concat("", [
			`what looks like an image, "myregistry.azurecr.io/team/train:1.4.0" comes from `,
			`myregistry.azurecr.io/team/train, but the project (policies.image_policy.allowed_registries) allows "gcr.io"`,
		]),
		"fix": concat("", [
			"use an image from an allowed registry, for example `gcr.io/train:1.4.0`, or have its registry added to the list; ",
			`if it is none, name its place "spec.deployment.config.args.0" in rule_data.images_registry.not_images`,
		]),
	}} with input as inputs.changed(_guess)
}

_taking_out := {"images_registry": {"not_images": ["spec.deployment.config.args.0"]}}

test_allow_guess_that_the_company_takes_out if {
	findings == set() with input as inputs.changed(_guess) with data.org.rule_data as _taking_out
}

test_allow_guess_that_the_project_takes_out if {
	findings == set() with input as inputs.changed(object.union(_guess, {
		"authority": "project",
		"project/policies/rule_data": _taking_out,
	}))
}

test_deny_guess_that_a_project_below_a_platform_takes_out if {
	found := findings with input as inputs.changed(object.union(_guess, {
		"authority": "platform",
		"project/policies/rule_data": _taking_out,
	}))
	{finding.code | some finding in found} == {"images_registry.not_allowed"}
}

test_deny_named_image_that_is_taken_out if {
	named := object.union(_guess, {"images/0/certainty": "named", "authority": "project"})
	found := findings with input as inputs.changed(object.union(named, {"project/policies/rule_data": _taking_out}))
	{finding.code | some finding in found} == {"images_registry.not_allowed"}
}

test_deny_not_images_that_are_no_places if {
	found := findings with data.org.rule_data as {"images_registry": {"not_images": ["args"]}} with input as inputs.plain
	{finding.code | some finding in found} == {"images_registry.rule_data"}
}
