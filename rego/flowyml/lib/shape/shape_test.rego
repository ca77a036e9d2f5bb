package flowyml.lib.shape

import data.flowyml.lib.inputs

test_valid if {
	valid with input as inputs.plain
}

test_valid_without_images if {
	valid with input as inputs.changed({"images": [], "environments": [], "stack/labels": {}, "stack/version": null})
}

test_valid_with_lists if {
	valid with input as inputs.changed({
		"project/policies/allowed_stacks": ["a"],
		"project/policies/required_labels": [],
		"project/policies/image_policy": {"allowed_registries": ["b"], "required_labels": ["c"]},
	})
}

test_valid_with_an_image_of_which_little_is_known if {
	valid with input as inputs.changed({
		"images/0/registry": null,
		"images/0/repository": null,
		"images/0/tag": null,
		"images/0/via": null,
		"images/0/error": {"code": "image_error", "message": "unreadable"},
		"images/0/paths": [],
		"images/0/inspected": false,
	})
}

# What every value that a rule relies on may not be.
_wrong := {
	"schema_version": [2, "1", null],
	"environments": ["production", {}, null, [1], [null]],
	"images": [{}, "a", null, [null], ["a"]],
	"stack": [[], null],
	"stack/name": [1, null],
	"stack/version": [2, true, []],
	"stack/labels": [[], null, {"a": 1}, {"a": null}],
	"stack/spec": [[], null],
	"source": [null],
	"source/kind": [null, 1],
	"project": [null],
	"project/policies": [null],
	"project/policies/levels": [null, []],
	"project/policies/rule_data": [null, []],
	"project/policies/allowed_stacks": ["a", {}, [1], [null]],
	"project/policies/required_labels": ["a", {}, [1], [null]],
	"project/policies/image_policy": [null],
	"project/policies/image_policy/allowed_registries": ["a", {}, ["gcr.io", 1]],
	"project/policies/image_policy/required_labels": ["a", {}, [1]],
	"images/0/ref": [null, 1],
	"images/0/registry": [1],
	"images/0/repository": [1],
	"images/0/tag": [1, {}],
	"images/0/paths": [null, "a", {}, [7], ["a"], [[null]], [["a"], ["a", {}]]],
}

test_invalid_values if {
	taken := [[path, value] |
		some path, values in _wrong
		some value in values
		valid with input as inputs.changed({path: value})
	]
	taken == []
}

# What only has to be there, whatever it is.
_present := {"images/0/via", "images/0/error", "images/0/inspected"}

test_valid_whatever_a_value_is_that_no_rule_minds if {
	every path in _present {
		every value in [null, false, 1, "a", [], {}] {
			valid with input as inputs.changed({path: value})
		}
	}
}

test_invalid_without_a_value if {
	taken := [path |
		some path in (object.keys(_wrong) | _present)
		valid with input as json.remove(inputs.plain, [path])
	]
	taken == []
}

test_invalid_documents if {
	every document in [{}, [], "a", 1, null] {
		not valid with input as document
	}
}

test_invalid_where_one_image_of_two_is if {
	not valid with input as inputs.changed({"images": [inputs.image, object.remove(inputs.image, ["via"])]})
}
