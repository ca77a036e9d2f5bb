package flowyml.lib.images

import data.flowyml.lib.inputs

_refs(found) := [image.ref | some image in found]

# Images of each kind, the names of which say what they are.
_kinds := [object.union(image, {"ref": ref}) |
	some ref, image in {
		"inspected": inputs.image,
		"off": inputs.uninspected,
		"failed": object.union(inputs.uninspected, {"via": "registry"}),
		"empty": object.union(inputs.image, {"platforms": []}),
		"odd": object.union(inputs.image, {"inspected": false}),
		"guessed": object.union(inputs.image, {"certainty": "guessed"}),
		"unreadable": object.union(inputs.uninspected, {"registry": null}),
	}
]

test_kinds_of_images if {
	asked := inputs.changed({"images": _kinds})
	_refs(judged) == ["empty", "failed", "inspected", "odd", "off"] with input as asked
	_refs(inspected) == ["guessed", "inspected"] with input as asked
	_refs(uninspected) == ["empty", "failed", "odd", "off"] with input as asked
}

test_paths if {
	paths({"paths": [["a", 1], ["b"]]}) == [["a", 1], ["b"]]
	paths({"paths": []}) == [[]]
}

test_named if {
	image := object.union(inputs.image, {"ref": "x", "endpoint": "localhost:5000"})
	named(image, inputs.arm) == `the image "x" (sha256:bbbbbbbbbbbb, linux/arm64, by the registry localhost:5000)`
	named(image, null) == `the image "x" (sha256:aaaaaaaaaaaa, by the registry localhost:5000)`
	named(image, object.union(inputs.arm, {"digest": null})) == `the image "x" (sha256:aaaaaaaaaaaa, linux/arm64, by the registry localhost:5000)`
}

test_named_by_what_little_is_known if {
	image := object.union(inputs.image, {"ref": "x", "digest": null, "endpoint": null, "via": "daemon"})
	named(image, object.union(inputs.arm, {"digest": null})) == `the image "x" (linux/arm64, by the daemon)`
	named(image, null) == `the image "x" (by the daemon)`
	every via in ["off", null] {
		named(object.union(image, {"via": via, "endpoint": "y"}), null) == `the image "x"`
	}
}

test_required_labels_of_every_list if {
	required_labels == {"a", "b", "c=d", "e", "f"} with input as inputs.changed({
		"project/policies/image_policy/required_labels": ["a"],
		"project/policies/rule_data": {"images_labels": {"required_labels": ["b", 7]}, "images_inspected": {"required_labels": ["c=d"]}},
	})
		with data.org.rule_data as {"images_labels": {"required_labels": ["e"]}, "images_inspected": {"required_labels": ["f"]}}
	required_labels == set() with input as inputs.plain
}

test_age_limits_of_everybody if {
	age_limits == {1, 2, 3} with input as inputs.changed({
		"project/policies/image_policy/max_age_seconds": 1,
		"project/policies/rule_data": {"images_age": {"max_age_seconds": 2}},
	})
		with data.org.rule_data as {"images_age": {"max_age_seconds": 3}}
	age_limits == set() with input as inputs.changed({"project/policies/rule_data": {"images_age": {"max_age_seconds": "2"}}})
}

test_base_lists_of_everybody if {
	base_lists == {0: ["a"], 1: ["c"], 2: []} with input as inputs.changed({
		"project/policies/image_policy/allowed_bases": ["a"],
		"project/policies/rule_data": {"images_base": {"allowed": []}},
	})
		with data.org.rule_data as {"images_base": {"allowed": ["c"]}}
	base_lists == {} with input as inputs.changed({"project/policies/rule_data": {"images_base": {"allowed": "c"}}})
}

test_required_platforms_of_everybody if {
	asked := {
		"stack/spec": {"compute": {"backend": "own"}},
		"project/policies/rule_data": {"images_platform": {"required": {"own": ["linux/b", 7], "other": ["linux/c"]}}},
	}
	required_platforms == {"linux/a", "linux/b"} with input as inputs.changed(asked)
		with data.org.rule_data as {"images_platform": {"required": {"own": ["linux/a"]}}}
	required_platforms == set() with input as inputs.changed(object.union(asked, {"stack/spec": {"compute": null}}))
	required_platforms == set() with input as inputs.changed(object.union(asked, {
		"stack/spec": {"compute": {"backend": 0}},
		"project/policies/rule_data": {"images_platform": {"required": [["linux/b"]]}},
	}))
}

test_scans_required_by_anybody if {
	not scans_required with input as inputs.plain
	scans_required with input as inputs.changed({"project/policies/rule_data": {"images_vulnerabilities": {"required": true}}})
	scans_required with input as inputs.changed({"project/policies/rule_data": {"images_vulnerabilities": {"required": false}}})
		with data.org.rule_data as {"images_vulnerabilities": {"required": true}}
}

_codes := ["images_lock.moved", "images_platform.missing", "images_vulnerabilities.missing", "images_labels.missing", "images_labels.value", "images_age.limit", "images_base.not_allowed", "images_base.claimed", "images_signature.missing", "images_new.odd"]

_catalogue := {"codes": object.union({"a.b": {"enforcement": "hard"}}, {code: {"enforcement": "hard", "needs": "facts"} | some code in _codes})}

_demanded(image, asked) := found if {
	found := demanded(image) with input as asked with data.flowyml.catalogue as _catalogue
}

test_demanded_of_whom_nobody_asks_anything if {
	_demanded(inputs.image, inputs.plain) == {"images_new.odd"}
}

test_demanded_by_what_is_asked_for if {
	every path, asked in {
		"required_labels": [["a"], {"images_labels.missing"}],
		"max_age_seconds": [1, {"images_age.limit"}],
		"allowed_bases": [[], {"images_base.not_allowed", "images_base.claimed"}],
	} {
		input_ := inputs.changed({concat("", ["project/policies/image_policy/", path]): asked[0]})
		_demanded(inputs.image, input_) == asked[1] | {"images_new.odd"}
	}
	_demanded(inputs.image, inputs.changed({"project/policies/image_policy/required_labels": ["a=b"]})) == {
		"images_labels.missing",
		"images_labels.value",
		"images_new.odd",
	}
	_demanded(inputs.image, inputs.changed({
		"stack/spec": {"compute": {"backend": "gcp"}},
		"project/policies/rule_data": {"images_platform": {"required": {"gcp": ["linux/amd64"]}}},
	})) == {"images_new.odd", "images_platform.missing"}
	_demanded(inputs.image, inputs.changed({"project/policies/rule_data": {"images_vulnerabilities": {"required": true}}})) == {
		"images_new.odd",
		"images_vulnerabilities.missing",
	}
	locked := inputs.changed({"lock": {"images": {inputs.image.ref: "sha256:1"}}})
	_demanded(inputs.image, locked) == {"images_lock.moved", "images_new.odd"}
	_demanded(object.union(inputs.image, {"ref": "x"}), locked) == {"images_new.odd"}
	signed := object.union(inputs.image, {"signing": [{"entry": "a", "need": 1, "keys": []}]})
	_demanded(signed, inputs.plain) == {"images_new.odd", "images_signature.missing"}
}

test_demanded_at_levels_that_deny if {
	every level, counts in {"disabled": false, "advisory": false, "soft": true, "hard": true} {
		found := demanded(inputs.image) with input as inputs.plain
			with data.flowyml.catalogue as {"codes": {"a.b": {"enforcement": level, "needs": "facts"}, "a.c": {"enforcement": level}}}
			with data.org.catalogue as {"codes": {"b.b": {"enforcement": level, "needs": "facts"}, "b.c": {"enforcement": level}}}
			with data.project.catalogue as {"codes": {"c.b": {"enforcement": level, "needs": "facts"}, "c.c": {"enforcement": level}}}
		found == {code | some code in ["a.b", "b.b", "c.b"]; counts}
	}
}

test_demanded_at_the_level_in_force if {
	codes := {"codes": {"a.b": {"enforcement": "advisory", "needs": "facts"}}}
	raised := inputs.changed({"project/policies/levels": {"a.b": "soft"}})
	every root in ["flowyml", "org", "project"] {
		found := demanded(inputs.image) with input as raised
			with data.flowyml.catalogue as object.get({"flowyml": codes}, root, {"codes": {}})
			with data.org.catalogue as object.get({"org": codes}, root, {"codes": {}})
			with data.project.catalogue as object.get({"project": codes}, root, {"codes": {}})
		found == {"a.b"}
	}
}

test_demanded_by_a_code_without_a_level_or_one_that_is_none if {
	demanded(inputs.image) == {"a.b", "b.b"} with input as inputs.plain
		with data.flowyml.catalogue as {"codes": {"a.b": {"enforcement": "loud", "needs": "facts"}}}
		with data.org.catalogue as {"codes": {"b.b": {"needs": "facts"}}}
}
