package flowyml.rules.images_inspected

import data.flowyml.lib.inputs

_off := {"images": [inputs.uninspected]}

_failed := {"images": [object.union(inputs.uninspected, {
	"via": "registry",
	"endpoint": "localhost:5000",
	"error": {"code": "image_access_denied", "message": "401 Unauthorized"},
})]}

_on := "set policy.images.inspect to auto in the settings, and the image is looked at in its registry"

_finding(code, message, fix) := {
	"code": code,
	"subject": "myregistry.azurecr.io/team/train:1.4.0",
	"path": ["spec", "runtime", "docker_image"],
	"message": sprintf(`the image "myregistry.azurecr.io/team/train:1.4.0" %s`, [message]),
	"fix": fix,
}

_labels(required) := {"project/policies/image_policy/required_labels": required}

_beside(code, found) := {finding | some finding in found; finding.code != code}

test_allow_inspected_image if {
	findings == set() with input as inputs.plain
}

test_allow_inspected_image_where_labels_are_required if {
	findings == set() with input as inputs.changed(_labels(["owner"]))
}

test_allow_stack_without_images if {
	findings == set() with input as inputs.changed(object.union({"images": []}, _labels(["owner"])))
}

test_deny_inspection_off_warns if {
	findings == {_finding("images_inspected.off", "was not inspected: inspection is switched off", _on)} with input as inputs.changed(_off)
}

test_deny_failed_inspection if {
	findings == {_finding(
		"images_inspected.failed",
		"(by the registry localhost:5000) could not be inspected: 401 Unauthorized",
		"log in with `docker login`, or name credentials under policy.images.credentials",
	)} with input as inputs.changed(_failed)
}

_check := "check that the image exists and that you may pull it, then try again"

test_deny_image_that_nobody_inspected if {
	findings == {_finding("images_inspected.failed", "could not be inspected: no reason is known", _check)} with input as inputs.changed({
		"images/0/inspected": false,
		"images/0/via": null,
		"images/0/digest": null,
	})
}

test_deny_inspection_that_found_no_platform if {
	findings == {_finding(
		"images_inspected.failed",
		"(sha256:aaaaaaaaaaaa, by the registry myregistry.azurecr.io) could not be inspected: no reason is known",
		_check,
	)} with input as inputs.changed({"images/0/platforms": []})
}

test_deny_failure_of_another_kind if {
	found := findings with input as inputs.changed(object.union(_failed, {"images/0/error": {"code": "odd", "message": "m"}}))
	{finding.fix | some finding in found} == {_check}
}

test_deny_required_labels_where_inspection_is_off if {
	found := findings with input as inputs.changed(object.union(_off, _labels(["version=1", "maintainer"])))
	_beside("images_inspected.off", found) == {_finding(
		"images_inspected.required",
		`was not inspected, but what is in it must be known for "images_labels.missing", "images_labels.value"`,
		_on,
	)}
}

test_deny_required_labels_where_inspection_failed if {
	found := findings with input as inputs.changed(object.union(_failed, _labels(["maintainer"])))
	_beside("images_inspected.failed", found) == {_finding(
		"images_inspected.required",
		`was not inspected, but what is in it must be known for "images_labels.missing"`,
		"log in with `docker login`, or name credentials under policy.images.credentials",
	)}
}

test_deny_what_a_level_makes_hard_where_inspection_is_off if {
	found := findings with input as inputs.changed(object.union(_off, {"project/policies/levels": {"images_user.root": "soft"}}))
	_beside("images_inspected.off", found) == {_finding(
		"images_inspected.required",
		`was not inspected, but what is in it must be known for "images_user.root"`,
		_on,
	)}
}

test_allow_nothing_required_where_inspection_is_off if {
	found := findings with input as inputs.changed(object.union(_off, _labels([])))
	{finding.code | some finding in found} == {"images_inspected.off"}
}

test_allow_reference_that_cannot_be_read_has_nothing_to_inspect if {
	every state in [_off, _failed] {
		findings == set() with input as inputs.changed(object.union(
			object.union(state, _labels(["maintainer"])),
			{"images/0/registry": null, "images/0/repository": null},
		))
	}
}

test_allow_what_only_looks_like_an_image if {
	every state in [_off, _failed] {
		findings == set() with input as inputs.changed(object.union(
			object.union(state, _labels(["maintainer"])),
			{"images/0/certainty": "guessed"},
		))
	}
}

test_deny_each_place_that_names_the_image if {
	places := [["spec", "a"], ["spec", "b"]]
	every code, state in {"images_inspected.off": _off, "images_inspected.failed": _failed} {
		found := findings with input as inputs.changed(object.union(
			object.union(state, _labels(["maintainer"])),
			{"images/0/paths": places},
		))
		{[finding.code, finding.path] | some finding in found} == {[reported, place] |
			some place in places
			some reported in [code, "images_inspected.required"]
		}
	}
}

test_deny_rule_data_that_cannot_be_read if {
	findings == {{
		"code": "images_inspected.rule_data",
		"subject": "data.org.rule_data.images_inspected.required_labels",
		"path": [],
		"message": "data.org.rule_data.images_inspected.required_labels must be a list of labels, each as `key` or as `key=value`, but it is [\"\"]",
		"fix": "let data.org.rule_data.images_inspected.required_labels be a list of labels, each as `key` or as `key=value`",
	}} with input as inputs.plain with data.org.rule_data as {"images_inspected": {"required_labels": [""]}}
}
