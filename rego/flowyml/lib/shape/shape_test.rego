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
		"project/policies/image_policy": {
			"allowed_registries": ["b"],
			"required_labels": ["c"],
			"allowed_bases": ["d"],
			"max_age_seconds": 86400,
			"require_digest": true,
			"deny_tags": ["e"],
		},
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

# An input with everything that can be said of an image.
_whole := inputs.changed({
	"lock": {"images": {"a": "sha256:1"}},
	"bases": [{"ref": "a", "digest": null, "platform": "linux/amd64", "diff_ids": []}],
	"images/0/error": {"code": "image_error", "message": "unreadable"},
	"images/0/paths": [["spec", "deployment", "config", "args", 0]],
	"images/0/platforms/0/base": {"ref": "a", "digest": null, "how": "claim"},
	"images/0/signing": [{"entry": "a", "need": 1, "keys": [{"id": "b", "name": "c"}]}],
	"images/0/signatures": [{"key": null, "form": "tag", "digest": null, "ok": false, "reason": null, "problem": null}],
	"images/0/scan": {
		"tool": "trivy",
		"db_at": null,
		"digests": ["sha256:1"],
		"signed": false,
		"signed_digests": ["sha256:1"],
		"findings": [{"id": "a", "severity": "high", "package": "b", "fixed_in": null}],
	},
})

test_valid_with_everything if {
	valid with input as _whole
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
	"images/0/repository": [1, null],
	"images/0/tag": [1, {}],
	"images/0/digest": [1],
	"images/0/inspected": [null, "true"],
	"images/0/via": [1],
	"images/0/certainty": [null],
	"images/0/endpoint": [1],
	"images/0/error": ["unreadable", {"code": "a"}],
	"images/0/error/code": [null],
	"images/0/error/message": [null],
	"images/0/platforms": [null, {}, [null], ["a"]],
	"images/0/platforms/0/platform": [null],
	"images/0/platforms/0/digest": [1],
	"images/0/platforms/0/labels": [null, [], {"a": 1}],
	"images/0/platforms/0/user": [1000],
	"images/0/platforms/0/created": [1],
	"images/0/platforms/0/size": ["1"],
	"images/0/platforms/0/base": ["a", {"ref": "a"}],
	"images/0/platforms/0/base/ref": [null],
	"images/0/platforms/0/base/digest": [1],
	"images/0/platforms/0/base/how": [null],
	"images/0/platforms/0/diff_ids": [null],
	"images/0/signing": [null, ["a"]],
	"images/0/signing/0/entry": [null],
	"images/0/signing/0/need": ["1"],
	"images/0/signing/0/keys": [null, ["a"]],
	"images/0/signing/0/keys/0/id": [null],
	"images/0/signing/0/keys/0/name": [null],
	"images/0/signatures": [null, ["a"]],
	"images/0/signatures/0/key": [1],
	"images/0/signatures/0/form": [null],
	"images/0/signatures/0/digest": [1],
	"images/0/signatures/0/ok": [null],
	"images/0/signatures/0/reason": [1],
	"images/0/signatures/0/problem": [1],
	"images/0/scan": ["a", {}],
	"images/0/scan/tool": [null],
	"images/0/scan/db_at": [1],
	"images/0/scan/findings": [null, ["a"]],
	"images/0/scan/findings/0/id": [null],
	"images/0/scan/findings/0/severity": [null],
	"images/0/scan/findings/0/package": [null],
	"images/0/scan/findings/0/fixed_in": [1],
	"images/0/scan/digests": [null, [null]],
	"images/0/scan/signed": [null],
	"bases": [null, {}, ["a"]],
	"bases/0/ref": [null],
	"bases/0/digest": [1],
	"bases/0/platform": [null],
	"bases/0/diff_ids": [null],
	"lock": ["a", {}, {"images": []}],
	"lock/images": [null, {"a": 1}],
	"evaluated_at": [null, 1],
	"project/policies/image_policy/allowed_bases": ["a", {}, [1]],
	"project/policies/image_policy/deny_tags": ["a", {}, [1]],
	"project/policies/image_policy/max_age_seconds": ["1d"],
	"project/policies/image_policy/require_digest": ["yes", 1],
	"images/0/paths": [null, "a", {}, [7], ["a"], [[null]], [["a"], ["a", {}]], [["a", 1.5]], [["a", -1]], [[4294967296]]],
}

test_invalid_values if {
	taken := [[path, value] |
		some path, values in _wrong
		some value in values
		valid with input as json.patch(_whole, [{"op": "replace", "path": path, "value": value}])
	]
	taken == []
}

test_invalid_without_a_value if {
	taken := [path |
		some path, _ in _wrong
		valid with input as json.remove(_whole, [path])
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
