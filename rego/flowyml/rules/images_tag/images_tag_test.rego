package flowyml.rules.images_tag

import data.flowyml.lib.inputs

_fix := "name the image by a tag that stays where it is, such as a version, or by its digest"

_finding(code, message) := {
	"code": code,
	"subject": "x",
	"path": ["spec", "runtime", "docker_image"],
	"message": message,
	"fix": _fix,
}

_tagged(tag) := {"images/0/ref": "x", "images/0/tag": tag}

_denying(patterns) := {"project/policies/image_policy/deny_tags": patterns}

test_allow_version if {
	findings == set() with input as inputs.plain
	findings == set() with input as inputs.changed(_denying([]))
	findings == set() with input as inputs.changed(_denying(["*-rc*", "latest"]))
}

test_deny_tag_that_moves_warns if {
	findings == {_finding("images_tag.mutable", `the image "x" has the tag "main", which moves from one image to the next`)} with input as inputs.changed(_tagged("main"))
}

test_deny_missing_tag_warns if {
	findings == {_finding("images_tag.mutable", `the image "x" has no tag, which means "latest", which moves from one image to the next`)} with input as inputs.changed(_tagged(null))
}

test_deny_every_tag_that_moves if {
	found := findings with input as inputs.changed({"images": [object.union(inputs.image, {"ref": tag, "tag": tag}) |
		some tag in ["latest", "main", "master", "dev", "nightly", "stable", "edge", "own", "1.0", "Latest"]
	]})
		with data.flowyml.rule_data.images_tag.mutable as ["latest", "main", "master", "dev", "nightly", "stable", "edge"]
	{finding.subject | some finding in found} == {"latest", "main", "master", "dev", "nightly", "stable", "edge"}
}

test_deny_tags_that_move_by_company_and_project if {
	asked := inputs.changed({
		"images": [object.union(inputs.image, {"ref": tag, "tag": tag}) | some tag in ["latest", "ours", "own"]],
		"project/policies/rule_data": {"images_tag": {"mutable": ["own"]}},
	})
	found := findings with input as asked with data.org.rule_data as {"images_tag": {"mutable": ["ours"]}}
	{finding.subject | some finding in found} == {"ours", "own"}
}

test_deny_tag_that_matches_a_pattern if {
	findings == {_finding("images_tag.denied", `the image "x" has the tag "1.0-rc.1", and tags that match "*-rc*", "1.*" are denied`)} with input as inputs.changed(object.union(
		_tagged("1.0-rc.1"),
		_denying(["1.*", "*-rc*", "2.*"]),
	))
}

test_deny_missing_tag_that_matches_a_pattern if {
	found := findings with input as inputs.changed(object.union(_tagged(null), _denying(["lat*"])))
	{finding | some finding in found; finding.code == "images_tag.denied"} == {_finding(
		"images_tag.denied",
		`the image "x" has no tag, which means "latest", and tags that match "lat*" are denied`,
	)}
}

test_deny_by_every_list if {
	asked := inputs.changed(object.union(_denying(["a"]), {
		"images": [object.union(inputs.image, {"ref": tag, "tag": tag}) | some tag in ["a", "b", "c", "d"]],
		"project/policies/rule_data": {"images_tag": {"denied": ["b", 7]}},
	}))
	found := findings with input as asked with data.org.rule_data as {"images_tag": {"denied": ["c"]}}
	{finding.subject | some finding in found; finding.code == "images_tag.denied"} == {"a", "b", "c"}
}

# To deny nothing by it would let pass what somebody wanted denied.
test_deny_any_tag_by_a_pattern_that_cannot_be_read if {
	findings == {_finding("images_tag.denied", `the image "x" has the tag "1.0", and tags that match "[", "[a-z0-9]" are denied`)} with input as inputs.changed(object.union(
		_tagged("1.0"),
		_denying(["[", "[a-z0-9]", "latest"]),
	))
}

test_deny_rule_data_with_a_pattern_that_cannot_be_read if {
	found := findings with input as inputs.changed({"project/policies/rule_data": {"images_tag": {"denied": ["{a"]}}})
	{finding.message | some finding in found; finding.code == "images_tag.rule_data"} == {`policies.rule_data.images_tag.denied must be a list of patterns for tags, but it is ["{a"]`}
}

test_allow_any_tag_with_a_digest if {
	findings == set() with input as inputs.changed(object.union(_denying(["*"]), {
		"images/0/ref": "x:latest@sha256:1",
		"images/0/tag": "latest",
	}))
}

test_deny_image_that_was_not_inspected if {
	found := findings with input as inputs.changed(object.union(_denying(["1.*"]), {"images": [inputs.uninspected]}))
	{finding.code | some finding in found} == {"images_tag.denied"}
}

test_allow_what_only_looks_like_an_image if {
	findings == set() with input as inputs.changed(object.union(object.union(_denying(["*"]), _tagged("latest")), {"images/0/certainty": "guessed"}))
}

test_deny_each_place_that_names_the_image if {
	places := [["spec", "a"], ["spec", "b"]]
	found := findings with input as inputs.changed(object.union(object.union(_denying(["*"]), _tagged("latest")), {"images/0/paths": places}))
	{[finding.code, finding.path] | some finding in found} == {[code, place] |
		some place in places
		some code in ["images_tag.mutable", "images_tag.denied"]
	}
}

test_deny_rule_data_that_cannot_be_read if {
	found := findings with input as inputs.changed({"images": []})
		with data.org.rule_data as {"images_tag": {"denied": [" "], "mutable": ["a b"]}}
	found == {
		{
			"code": "images_tag.rule_data",
			"subject": "data.org.rule_data.images_tag.denied",
			"path": [],
			"message": `data.org.rule_data.images_tag.denied must be a list of patterns for tags, but it is [" "]`,
			"fix": "let data.org.rule_data.images_tag.denied be a list of patterns for tags",
		},
		{
			"code": "images_tag.rule_data",
			"subject": "data.org.rule_data.images_tag.mutable",
			"path": [],
			"message": `data.org.rule_data.images_tag.mutable must be a list of tags, but it is ["a b"]`,
			"fix": "let data.org.rule_data.images_tag.mutable be a list of tags",
		},
	}
}
