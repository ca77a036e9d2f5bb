package flowyml.rules.images_inspected

import data.flowyml.lib.inputs

_off := {"images/0/inspected": false, "images/0/via": "off"}

_failed := {"images/0/inspected": false, "images/0/via": "registry", "images/0/error": {"code": "image_error", "message": "401 Unauthorized"}}

test_allow_inspected_image if {
	findings == set() with input as inputs.plain
}

test_allow_inspected_image_where_labels_are_required if {
	findings == set() with input as inputs.changed({"project/policies/image_policy/required_labels": ["maintainer"]})
}

test_allow_stack_without_images if {
	findings == set() with input as inputs.changed({
		"images": [],
		"project/policies/image_policy/required_labels": ["maintainer"],
	})
}

test_deny_inspection_off_warns if {
	findings == {{
		"code": "images_inspected.off",
		"subject": "myregistry.azurecr.io/team/train:1.4.0",
		"path": ["spec", "runtime", "docker_image"],
		"message": `the image "myregistry.azurecr.io/team/train:1.4.0" was not inspected: inspection is switched off`,
		"fix": "look at the image yourself, for example with `docker image inspect`: this version inspects none",
	}} with input as inputs.changed(_off)
}

test_deny_failed_inspection if {
	findings == {{
		"code": "images_inspected.failed",
		"subject": "myregistry.azurecr.io/team/train:1.4.0",
		"path": ["spec", "runtime", "docker_image"],
		"message": `the image "myregistry.azurecr.io/team/train:1.4.0" could not be inspected: 401 Unauthorized`,
		"fix": "check that the image exists and that you may pull it, for example with `docker pull`, then try again",
	}} with input as inputs.changed(_failed)
}

test_deny_image_that_nobody_inspected if {
	found := findings with input as inputs.changed({"images/0/inspected": false, "images/0/via": null})
	{[finding.code, finding.message] | some finding in found} == {[
		"images_inspected.failed",
		`the image "myregistry.azurecr.io/team/train:1.4.0" could not be inspected: no reason is known`,
	]}
}

test_deny_required_labels_where_inspection_is_off if {
	found := findings with input as inputs.changed(object.union(
		_off,
		{"project/policies/image_policy/required_labels": ["version", "maintainer"]},
	))
	{finding | some finding in found; finding.code != "images_inspected.off"} == {{
		"code": "images_inspected.required",
		"subject": "myregistry.azurecr.io/team/train:1.4.0",
		"path": ["spec", "runtime", "docker_image"],
		"message": `the image "myregistry.azurecr.io/team/train:1.4.0" must have the labels "maintainer", "version", but it was not inspected`,
		"fix": "use a stack without this image, or have the labels taken off the list: this version inspects no images",
	}}
}

test_deny_required_labels_where_inspection_failed if {
	found := findings with input as inputs.changed(object.union(
		_failed,
		{"project/policies/image_policy/required_labels": ["maintainer"]},
	))
	{[finding.code, finding.fix] | some finding in found; finding.code != "images_inspected.failed"} == {[
		"images_inspected.required",
		"make the image one that can be inspected: it must exist, and you must be allowed to pull it",
	]}
}

test_deny_required_labels_of_every_list if {
	found := findings with data.org.rule_data as {"images_inspected": {"required_labels": ["a"]}}
		with input as inputs.changed(object.union(_off, {
			"project/policies/image_policy/required_labels": ["b"],
			"project/policies/rule_data": {"images_inspected": {"required_labels": ["c"]}},
		}))
	{finding.message | some finding in found; finding.code == "images_inspected.required"} == {`the image "myregistry.azurecr.io/team/train:1.4.0" must have the labels "a", "b", "c", but it was not inspected`}
}

test_allow_no_labels_required_by_an_empty_list if {
	found := findings with input as inputs.changed(object.union(_off, {"project/policies/image_policy/required_labels": []}))
	{finding.code | some finding in found} == {"images_inspected.off"}
}

test_allow_reference_that_cannot_be_read_has_nothing_to_inspect if {
	findings == set() with input as inputs.changed({
		"images/0/registry": null,
		"images/0/repository": null,
		"images/0/inspected": false,
		"images/0/via": null,
		"project/policies/image_policy/required_labels": ["maintainer"],
	})
	findings == set() with input as inputs.changed({
		"images/0/registry": null,
		"images/0/repository": null,
		"images/0/inspected": false,
		"images/0/via": "off",
	})
}

test_deny_each_place_that_names_the_image if {
	places := [["spec", "a"], ["spec", "b"]]
	every values in [_off, _failed] {
		found := findings with input as inputs.changed(object.union(values, {
			"images/0/paths": places,
			"project/policies/image_policy/required_labels": ["a"],
		}))
		{[finding.path, finding.code == "images_inspected.required"] | some finding in found} == {[place, required] |
			some place in places
			some required in [true, false]
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

test_allow_what_only_looks_like_an_image if {
	every state in [_off, _failed] {
		findings == set() with input as inputs.changed(object.union(state, {
			"images/0/certainty": "guessed",
			"project/policies/image_policy/required_labels": ["maintainer"],
		}))
	}
}
