package flowyml.rules.images_labels

import data.flowyml.lib.inputs

_image := `the image "myregistry.azurecr.io/team/train:1.4.0" (sha256:aaaaaaaaaaaa, linux/amd64, by the registry myregistry.azurecr.io)`

_required(labels) := {"project/policies/image_policy/required_labels": labels}

_asked(labels, changes) := inputs.changed(object.union(_required(labels), changes))

_codes(asked) := codes if {
	found := findings with input as asked
	codes := {[finding.code, finding.message] | some finding in found}
}

test_allow_image_where_nothing_is_required if {
	findings == set() with input as inputs.changed({"images/0/platforms/0/labels": {}})
	findings == set() with input as _asked([], {"images/0/platforms/0/labels": {}})
}

test_allow_labels_that_are_there if {
	findings == set() with input as _asked(["maintainer", "version=1.4.0"], {})
}

test_allow_stack_without_images if {
	findings == set() with input as _asked(["owner"], {"images": []})
}

test_deny_missing_label if {
	findings == {{
		"code": "images_labels.missing",
		"subject": "myregistry.azurecr.io/team/train:1.4.0",
		"path": ["spec", "runtime", "docker_image"],
		"message": sprintf(`%s must have the label "owner", but it is missing`, [_image]),
		"fix": "add a line `LABEL owner=...` to its Dockerfile, with a value that is true of this image, build it again and push it",
	}} with input as _asked(["owner", "maintainer"], {})
}

test_deny_missing_label_whose_value_is_asked_for if {
	found := findings with input as _asked(["approved", "approved=a=b", "approved=c", "approvedby=a"], {})
	{finding | some finding in found; not contains(finding.message, "approvedby")} == {{
		"code": "images_labels.missing",
		"subject": "myregistry.azurecr.io/team/train:1.4.0",
		"path": ["spec", "runtime", "docker_image"],
		"message": sprintf(`%s must have the label "approved", but it is missing`, [_image]),
		"fix": "add a line `LABEL approved=\"a=b\"` to its Dockerfile, if it is true of this image, build it again and push it",
	}}
}

test_deny_blank_label if {
	every blank in ["", " ", "\u200b"] {
		_codes(_asked(["owner", "owner=a"], {"images/0/platforms/0/labels": {"owner": blank}})) == {[
			"images_labels.missing",
			sprintf(`%s must have the label "owner", but it is blank`, [_image]),
		]}
	}
}

test_deny_another_value if {
	findings == {{
		"code": "images_labels.value",
		"subject": "myregistry.azurecr.io/team/train:1.4.0",
		"path": ["spec", "runtime", "docker_image"],
		"message": sprintf(`%s must have the label "version" with the value "2=0", but it is "1.4.0"`, [_image]),
		"fix": "write `LABEL version=\"2=0\"` in its Dockerfile, if it is true of this image, build it again and push it",
	}} with input as _asked(["version=2=0", "version", "maintainer=ml-platform"], {})
}

test_deny_the_one_platform_that_lacks_the_label if {
	found := findings with input as _asked(["owner=a"], {"images/0/platforms": [
		object.union(inputs.platform, {"labels": {"owner": "a"}}),
		object.union(inputs.arm, {"labels": {"owner": "b"}}),
		object.union(inputs.arm, {"platform": "linux/arm/v7", "labels": {}}),
	]})
	{[finding.code, contains(finding.message, "linux/arm64"), contains(finding.message, "linux/arm/v7")] | some finding in found} == {
		["images_labels.value", true, false],
		["images_labels.missing", false, true],
	}
}

test_deny_by_every_list if {
	found := findings with input as _asked(["a"], {"project/policies/rule_data": {
		"images_labels": {"required_labels": ["b"]},
		"images_inspected": {"required_labels": ["c"]},
	}})
		with data.org.rule_data as {"images_labels": {"required_labels": ["d"]}, "images_inspected": {"required_labels": ["e"]}}
	count(found) == 5
}

test_deny_each_place_that_names_the_image if {
	places := [["spec", "a"], ["spec", "b"]]
	found := findings with input as _asked(["owner", "version=2"], {"images/0/paths": places})
	{[finding.code, finding.path] | some finding in found} == {[code, place] |
		some place in places
		some code in ["images_labels.missing", "images_labels.value"]
	}
}

test_allow_image_that_was_not_inspected if {
	findings == set() with input as _asked(["owner", "version=2"], {"images": [object.union(inputs.image, {"inspected": false})]})
}

test_deny_rule_data_that_cannot_be_read if {
	findings == {{
		"code": "images_labels.rule_data",
		"subject": "data.org.rule_data.images_labels.required_labels",
		"path": [],
		"message": "data.org.rule_data.images_labels.required_labels must be a list of labels, each as `key` or as `key=value`, but it is \"owner\"",
		"fix": "let data.org.rule_data.images_labels.required_labels be a list of labels, each as `key` or as `key=value`",
	}} with input as inputs.plain with data.org.rule_data as {"images_labels": {"required_labels": "owner"}}
}
