package flowyml.rules.images_pinned

import data.flowyml.lib.inputs

_pinned := sprintf("myregistry.azurecr.io/team/train:1.4.0@%s", [inputs.image.digest])

_finding(code, words) := {
	"code": code,
	"subject": "myregistry.azurecr.io/team/train:1.4.0",
	"path": ["spec", "runtime", "docker_image"],
	"message": sprintf(`the image "myregistry.azurecr.io/team/train:1.4.0" %s`, [words]),
	"fix": "write `myregistry.azurecr.io/team/train@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa`",
}

_warning := _finding("images_pinned.digest", "is named without a digest")

_denial := _finding("images_pinned.required", "must be named by its digest, which it is not")

test_allow_image_named_by_digest if {
	findings == set() with input as inputs.changed({
		"images/0/ref": _pinned,
		"project/policies/image_policy/require_digest": true,
	})
}

test_deny_image_named_without_a_digest_warns if {
	findings == {_warning} with input as inputs.plain
	findings == {_warning} with input as inputs.changed({"project/policies/image_policy/require_digest": false})
}

test_deny_where_a_digest_is_required if {
	findings == {_warning, _denial} with input as inputs.changed({"project/policies/image_policy/require_digest": true})
	findings == {_warning, _denial} with input as inputs.changed({"project/policies/rule_data": {"images_pinned": {"required": true}}})
	findings == {_warning, _denial} with input as inputs.changed({"project/policies/image_policy/require_digest": false})
		with data.org.rule_data as {"images_pinned": {"required": true}}
}

test_deny_image_that_is_built_for_a_run_where_a_digest_is_required if {
	run := {"pipeline": "train", "builds": {"ref": "a.io/train", "registry": "a.io", "repository": "train", "is_pushed": true, "error": null}}
	findings == {{
		"code": "images_pinned.required",
		"subject": "a.io/train",
		"path": ["run", "builds"],
		"message": "an image must be named by its digest, but \"a.io/train\" would be built for the run",
		"fix": "build and push it beforehand, and name it by the digest that it was pushed under",
	}} with input as inputs.changed({"images": [], "run": run, "project/policies/image_policy/require_digest": true})
	findings == set() with input as inputs.changed({"images": [], "run": run})
	findings == set() with input as inputs.changed({
		"images": [],
		"run": {"pipeline": "train", "builds": null},
		"project/policies/image_policy/require_digest": true,
	})
}

test_deny_with_a_fix_that_fits_what_is_known if {
	every ref, tried in {
		"x": [null, "sha256:1", "write `x@sha256:1`"],
		"localhost:5000/x": [null, "sha256:1", "write `localhost:5000/x@sha256:1`"],
		"localhost:5000/x:5000": ["5000", "sha256:1", "write `localhost:5000/x@sha256:1`"],
		"x:1": ["1", null, "write `@sha256:...` behind it, with the digest that it was pushed under"],
	} {
		found := findings with input as inputs.changed({
			"images/0/ref": ref,
			"images/0/tag": tried[0],
			"images/0/digest": tried[1],
			"project/policies/image_policy/require_digest": true,
		})
		{[finding.code, finding.fix] | some finding in found} == {
			["images_pinned.digest", tried[2]],
			["images_pinned.required", tried[2]],
		}
	}
}

test_deny_image_that_was_not_inspected if {
	found := findings with input as inputs.changed({"images": [inputs.uninspected]})
	{finding.code | some finding in found} == {"images_pinned.digest"}
}

test_allow_what_only_looks_like_an_image if {
	findings == set() with input as inputs.changed({
		"images/0/certainty": "guessed",
		"project/policies/image_policy/require_digest": true,
	})
}

test_deny_each_place_that_names_the_image if {
	places := [["spec", "a"], ["spec", "b"]]
	found := findings with input as inputs.changed({
		"images/0/paths": places,
		"project/policies/image_policy/require_digest": true,
	})
	{[finding.code, finding.path] | some finding in found} == {[code, place] |
		some place in places
		some code in ["images_pinned.digest", "images_pinned.required"]
	}
}

test_deny_rule_data_that_cannot_be_read if {
	found := findings with input as inputs.changed({"images": []}) with data.org.rule_data as {"images_pinned": {"required": "yes"}}
	found == {{
		"code": "images_pinned.rule_data",
		"subject": "data.org.rule_data.images_pinned.required",
		"path": [],
		"message": "data.org.rule_data.images_pinned.required must be true or false, but it is \"yes\"",
		"fix": "let data.org.rule_data.images_pinned.required be true or false",
	}}
}
