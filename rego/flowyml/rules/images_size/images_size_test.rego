package flowyml.rules.images_size

import data.flowyml.lib.inputs

_size(bytes) := {"images/0/platforms/0/size": bytes}

test_allow_small_image if {
	findings == set() with input as inputs.plain
	findings == set() with input as inputs.changed(_size(21474836480))
}

test_allow_image_whose_size_nobody_knows if {
	findings == set() with input as inputs.changed(_size(null))
}

test_deny_large_image_warns if {
	findings == {{
		"code": "images_size.large",
		"subject": "myregistry.azurecr.io/team/train:1.4.0",
		"path": ["spec", "runtime", "docker_image"],
		"message": `the image "myregistry.azurecr.io/team/train:1.4.0" (sha256:aaaaaaaaaaaa, linux/amd64, by the registry myregistry.azurecr.io) has 22.5 GiB, more than 20 GiB`,
		"fix": "build it in stages, leave out what only the build needs, and keep data and models out of it",
	}} with input as inputs.changed(_size(24159191040))
}

test_deny_by_the_smaller_limit if {
	limits := {"project/policies/rule_data": {"images_size": {"max_bytes": 1073741824}}}
	found := findings with input as inputs.changed(object.union(_size(1073741825), limits))
	{[finding.code, endswith(finding.message, "more than 1 GiB")] | some finding in found} == {["images_size.large", true]}

	smaller := findings with input as inputs.changed(object.union(_size(1073741825), limits))
		with data.org.rule_data as {"images_size": {"max_bytes": 536870912}}
	{[finding.code, endswith(finding.message, "more than 0.5 GiB")] | some finding in smaller} == {["images_size.large", true]}
}

test_allow_any_size_where_the_company_limits_none if {
	findings == set() with input as inputs.changed(_size(1e15)) with data.org.rule_data as {"images_size": {"max_bytes": null}}
}

test_deny_each_platform if {
	found := findings with input as inputs.changed({"images/0/platforms": [
		inputs.platform,
		object.union(inputs.arm, {"size": 1e12}),
	]})
	{contains(finding.message, "linux/arm64") | some finding in found} == {true}
}

test_deny_each_place_that_names_the_image if {
	places := [["spec", "a"], ["spec", "b"]]
	found := findings with input as inputs.changed(object.union(_size(1e12), {"images/0/paths": places}))
	{finding.path | some finding in found} == {place | some place in places}
}

test_allow_image_that_was_not_inspected if {
	findings == set() with input as inputs.changed(object.union(_size(1e12), {"images/0/inspected": false}))
}

test_deny_rule_data_that_cannot_be_read if {
	findings == {{
		"code": "images_size.rule_data",
		"subject": "data.org.rule_data.images_size.max_bytes",
		"path": [],
		"message": `data.org.rule_data.images_size.max_bytes must be a number of bytes, at least 1, but it is "20GiB"`,
		"fix": "let data.org.rule_data.images_size.max_bytes be a number of bytes, at least 1",
	}} with input as inputs.changed(_size(1e12)) with data.org.rule_data as {"images_size": {"max_bytes": "20GiB"}}
}
