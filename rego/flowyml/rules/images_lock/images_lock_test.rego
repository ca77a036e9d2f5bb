package flowyml.rules.images_lock

import data.flowyml.lib.inputs

_old := "sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

_lock(images) := {
	"commit": null,
	"definition_digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000",
	"images": images,
	"bundles": {},
}

_locked(digest) := {"lock": _lock({inputs.image.ref: digest})}

_moved := {
	"code": "images_lock.moved",
	"subject": "myregistry.azurecr.io/team/train:1.4.0",
	"path": ["spec", "runtime", "docker_image"],
	"message": concat("", [
		`the image "myregistry.azurecr.io/team/train:1.4.0" (sha256:aaaaaaaaaaaa, by the registry myregistry.azurecr.io) is locked as `,
		_old,
		", but is now ",
		inputs.image.digest,
	]),
	"fix": "find out who moved the tag; if the new image is wanted, pin it with `flowyml-policy stack lock`, else name the locked one by its digest",
}

_unpinned := {
	"code": "images_lock.unpinned",
	"subject": "myregistry.azurecr.io/team/train:1.4.0",
	"path": ["spec", "runtime", "docker_image"],
	"message": `the stack is locked, but the image "myregistry.azurecr.io/team/train:1.4.0" is not: flowyml.lock holds no digest of it`,
	"fix": "pin it with `flowyml-policy stack lock`, or name the image by its digest",
}

test_allow_stack_that_is_not_locked if {
	findings == set() with input as inputs.plain
}

test_allow_image_that_is_the_locked_one if {
	findings == set() with input as inputs.changed(_locked(inputs.image.digest))
}

test_allow_index_for_its_child_and_child_for_its_index if {
	index := {"images/0/digest": _old, "images/0/kind": "index", "images/0/platforms": [inputs.arm, inputs.platform]}
	every digest in [_old, inputs.platform.digest, inputs.arm.digest] {
		findings == set() with input as inputs.changed(object.union(_locked(digest), index))
	}
}

test_deny_image_that_moved if {
	findings == {_moved} with input as inputs.changed(_locked(_old))
}

test_deny_image_that_moved_in_each_place if {
	places := [["spec", "a"], ["spec", "b"]]
	findings == {object.union(_moved, {"path": place}) | some place in places} with input as inputs.changed(object.union(
		_locked(_old),
		{"images/0/paths": places},
	))
}

test_deny_image_of_no_known_digest if {
	found := findings with input as inputs.changed(object.union(_locked(_old), {
		"images/0/digest": null,
		"images/0/platforms/0/digest": null,
	}))
	{[finding.code, finding.message] | some finding in found} == {[
		"images_lock.moved",
		concat("", [
			`the image "myregistry.azurecr.io/team/train:1.4.0" (by the registry myregistry.azurecr.io) is locked as `,
			_old,
			", but is now an image of no known digest",
		]),
	]}
}

test_allow_image_that_was_not_inspected_is_the_business_of_images_inspected if {
	findings == set() with input as inputs.changed(object.union(_locked(_old), {"images/0": inputs.uninspected}))
}

test_deny_image_that_is_not_locked_warns if {
	findings == {_unpinned} with input as inputs.changed({"lock": _lock({"another:1": inputs.image.digest})})
	findings == {_unpinned} with input as inputs.changed({"lock": _lock({}), "images/0": inputs.uninspected})
}

test_allow_image_by_its_digest_is_pinned_anyway if {
	findings == set() with input as inputs.changed({"lock": _lock({}), "images/0/ref": concat("@", [inputs.image.ref, _old])})
}

test_allow_what_looks_like_an_image_and_is_not_in_the_lock if {
	findings == set() with input as inputs.changed({"lock": _lock({}), "images/0/certainty": "guessed"})
}

test_deny_what_looks_like_an_image_and_moved if {
	found := findings with input as inputs.changed(object.union(_locked(_old), {"images/0/certainty": "guessed"}))
	{finding.code | some finding in found} == {"images_lock.moved"}
}

test_deny_rule_data_for_a_rule_that_reads_none if {
	findings == {{
		"code": "images_lock.rule_data",
		"subject": "data.org.rule_data.images_lock.required",
		"path": [],
		"message": "data.org.rule_data.images_lock.required is no key that the rule reads",
		"fix": "the rule reads nothing",
	}} with input as inputs.plain with data.org.rule_data as {"images_lock": {"required": true}}
}
