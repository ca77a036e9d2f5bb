package flowyml.rules.images_base

import data.flowyml.lib.inputs

_lower := "sha256:1111111111111111111111111111111111111111111111111111111111111111"

_upper := "sha256:3333333333333333333333333333333333333333333333333333333333333333"

_digest := "sha256:eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"

_ref := "myregistry.azurecr.io/base/python:3.11"

_base := {"ref": _ref, "digest": _digest, "platform": "linux/amd64", "diff_ids": [_lower]}

# The project lists the one base, whose first platform was read.
_listed := {
	"project/policies/image_policy/allowed_bases": [_ref],
	"bases": [_base],
}

_image := `the image "myregistry.azurecr.io/team/train:1.4.0" (sha256:aaaaaaaaaaaa, linux/amd64, by the registry myregistry.azurecr.io)`

_denied(message) := {
	"code": "images_base.not_allowed",
	"subject": "myregistry.azurecr.io/team/train:1.4.0",
	"path": ["spec", "runtime", "docker_image"],
	"message": message,
	"fix": "build it anew on an allowed base as that is today and push it; its first layers must be all layers of the base, so do not squash them",
}

_by_the_project := _denied(concat("", [
	_image,
	` is not shown to be built on a base that the project (policies.image_policy.allowed_bases) allows: `,
	`"myregistry.azurecr.io/base/python:3.11"`,
]))

test_allow_any_base_where_none_is_listed if {
	findings == set() with input as inputs.plain
	findings == set() with input as inputs.changed({"images/0/platforms/0/base": {"ref": _ref, "digest": _digest, "how": "claim"}})
}

test_allow_image_whose_layers_begin_with_those_of_the_base if {
	every layers in [[_lower], [_lower, _upper]] {
		findings == set() with input as inputs.changed(object.union(_listed, {"images/0/platforms/0/diff_ids": layers}))
	}
}

test_deny_image_with_other_layers if {
	every layers in [[], [_upper], [_upper, _lower]] {
		findings == {_by_the_project} with input as inputs.changed(object.union(_listed, {"images/0/platforms/0/diff_ids": layers}))
	}
}

test_deny_image_with_only_some_layers_of_the_base if {
	findings == {_by_the_project} with input as inputs.changed(object.union(
		_listed,
		{"bases": [object.union(_base, {"diff_ids": [_lower, _upper]})]},
	))
}

test_deny_layers_of_the_base_for_another_machine if {
	every platform in ["linux/arm64", "windows/amd64"] {
		findings == {_by_the_project} with input as inputs.changed(object.union(
			_listed,
			{"bases": [object.union(_base, {"platform": platform})]},
		))
	}
}

test_allow_base_of_another_variant if {
	findings == set() with input as inputs.changed(object.union(
		_listed,
		{"bases": [object.union(_base, {"platform": "linux/amd64/v2"})]},
	))
}

test_deny_layers_of_a_base_that_is_not_listed if {
	findings == {_by_the_project} with input as inputs.changed(object.union(_listed, {"bases": [
		object.union(_base, {"ref": "python:3.11"}),
		object.union(_base, {"diff_ids": [_upper]}),
	]}))
}

test_deny_each_platform_and_place if {
	places := [["spec", "a"], ["spec", "b"]]
	found := findings with input as inputs.changed(object.union(_listed, {
		"images/0/platforms": [inputs.platform, inputs.arm, object.union(inputs.arm, {"platform": "linux/s390x"})],
		"images/0/paths": places,
	}))
	{[finding.path, split(finding.message, ", ")[1]] | some finding in found} == {[place, words] |
		some place in places
		some words in ["linux/arm64", "linux/s390x"]
	}
}

test_deny_where_the_base_could_not_be_read if {
	message := concat("", [
		_by_the_project.message,
		`; "myregistry.azurecr.io/base/python:3.11" could not be read, so that no image can be shown to be built on it`,
	])
	every bases in [[], [object.union(_base, {"digest": null, "diff_ids": []})]] {
		findings == {_denied(message)} with input as inputs.changed(object.union(_listed, {"bases": bases}))
		findings == {_denied(message)} with input as inputs.changed(object.union(
			_listed,
			{"bases": bases, "images/0/platforms/0/diff_ids": []},
		))
	}
}

test_deny_by_every_list if {
	found := findings with data.org.rule_data as {"images_base": {"allowed": ["a:1"]}}
		with input as inputs.changed(object.union(_listed, {
			"project/policies/rule_data": {"images_base": {"allowed": []}},
			"bases": [_base, object.union(_base, {"ref": "a:1", "diff_ids": [_upper]})],
		}))
	{finding.message | some finding in found} == {
		concat("", [_image, ` is not shown to be built on a base that the company's policy (images_base.allowed) allows: "a:1"`]),
		concat("", [_image, ` is not shown to be built on a base that the project (policies.rule_data.images_base.allowed) allows: nothing`]),
	}
}

test_allow_by_every_list if {
	findings == set() with data.org.rule_data as {"images_base": {"allowed": ["a:1", "b:1"]}}
		with input as inputs.changed(object.union(_listed, {"bases": [
			object.union(_base, {"ref": "a:1", "diff_ids": [_upper]}),
			object.union(_base, {"ref": "b:1"}),
			_base,
		]}))
}

_shown(how, digest) := {
	"images/0/platforms/0/base": {"ref": "python:3.11", "digest": digest, "how": how},
	"images/0/platforms/0/diff_ids": [_upper],
}

test_allow_base_of_signed_provenance if {
	findings == set() with input as inputs.changed(object.union(_listed, _shown("provenance", _digest)))
}

test_deny_provenance_that_names_another_base if {
	findings == {_by_the_project} with input as inputs.changed(object.union(_listed, _shown("provenance", _upper)))
	findings == {_by_the_project} with input as inputs.changed(object.union(_listed, _shown("layers", _digest)))
	unknown := {"bases": [object.union(_base, {"digest": null})]}
	findings == {_by_the_project} with input as inputs.changed(object.union_n([_listed, _shown("provenance", null), unknown]))
}

test_deny_claim_is_never_enough if {
	findings == {_by_the_project, {
		"code": "images_base.claimed",
		"subject": "myregistry.azurecr.io/team/train:1.4.0",
		"path": ["spec", "runtime", "docker_image"],
		"message": concat("", [_image, ` claims to be built on "python:3.11", but nothing proves that it is built on an allowed base`]),
		"fix": "do not rely on the annotation: an allowed base is proved by its layers, or by signed provenance",
	}} with input as inputs.changed(object.union(_listed, _shown("claim", _digest)))
}

test_deny_claim_in_each_place if {
	places := [["spec", "a"], ["spec", "b"]]
	found := findings with input as inputs.changed(object.union_n([_listed, _shown("claim", _digest), {"images/0/paths": places}]))
	{finding.path | some finding in found; finding.code == "images_base.claimed"} == {place | some place in places}
}

test_allow_claim_where_the_layers_prove_the_base if {
	findings == set() with input as inputs.changed(object.union(_listed, {"images/0/platforms/0/base": {
		"ref": "python:3.11",
		"digest": null,
		"how": "claim",
	}}))
}

test_allow_image_that_was_not_inspected_is_the_business_of_images_inspected if {
	findings == set() with input as inputs.changed(object.union(_listed, {"images/0": inputs.uninspected, "bases": []}))
}

# Entries, and whether the rule reads them.
_entries := [
	["python:3.11", true],
	["library/python:3.11", true],
	["myregistry.azurecr.io/base/python:3.11", true],
	["localhost:5000/a_b/c--d:X", true],
	["[::1]:5000/a:1", true],
	[concat("@", ["python", _digest]), true],
	[concat("@", ["python:3.11", _digest]), true],
	["python", false],
	["", false],
	["python:", false],
	["python:3.11@", false],
	["python@sha256:ee", false],
	["Python/x:1", true],
	["a/Python:1", false],
	["https://a.io/python:1", false],
	["python:3.11 ", false],
]

test_deny_rule_data_that_cannot_be_read if {
	wanted := "a list of image references, each as `repo:tag` or `repo@sha256:...`"
	every entry in [entry | some [entry, false] in _entries] {
		found := findings with input as inputs.changed({"images": []})
			with data.org.rule_data as {"images_base": {"allowed": [entry]}}
		found == {{
			"code": "images_base.rule_data",
			"subject": "data.org.rule_data.images_base.allowed",
			"path": [],
			"message": sprintf("data.org.rule_data.images_base.allowed must be %s, but it is %s", [wanted, json.marshal([entry])]),
			"fix": sprintf("let data.org.rule_data.images_base.allowed be %s", [wanted]),
		}}
	}
}

test_allow_rule_data_that_can_be_read if {
	every entry in [entry | some [entry, true] in _entries] {
		found := findings with input as inputs.changed({"images": []})
			with data.org.rule_data as {"images_base": {"allowed": [entry]}}
		found == set()
	}
}
