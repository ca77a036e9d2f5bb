package flowyml.rules.images_age

import data.flowyml.lib.inputs

_image := `the image "myregistry.azurecr.io/team/train:1.4.0" (sha256:aaaaaaaaaaaa, linux/amd64, by the registry myregistry.azurecr.io)`

_at(instant) := {"images/0/platforms/0/created": instant}

_limit(seconds) := {"project/policies/image_policy/max_age_seconds": seconds}

_finding(code, message, fix) := {
	"code": code,
	"subject": "myregistry.azurecr.io/team/train:1.4.0",
	"path": ["spec", "runtime", "docker_image"],
	"message": message,
	"fix": fix,
}

_again := "build it again, on a base that is up to date, push it, and name the new image"

_of(asked) := found if {
	found := findings with input as inputs.changed(asked)
}

_said(found) := {[finding.code, finding.message] | some finding in found}

test_allow_young_image if {
	findings == set() with input as inputs.plain
	_of(object.union(_at("2026-05-27T09:00:00Z"), _limit(15552000))) == set()
}

test_deny_old_image_warns if {
	_of(_at("2026-05-27T08:59:59.5Z")) == {_finding(
		"images_age.old",
		sprintf("%s was built at 2026-05-27T08:59:59.5Z, more than 180 days ago", [_image]),
		_again,
	)}
}

test_deny_old_image_by_the_smaller_limit if {
	asked := object.union(_at("2026-11-20T08:00:00Z"), {"project/policies/rule_data": {"images_age": {"old_seconds": 172800}}})
	_said(_of(asked)) == {["images_age.old", sprintf("%s was built at 2026-11-20T08:00:00Z, more than 2 days ago", [_image])]}

	smaller := findings with input as inputs.changed(asked) with data.org.rule_data as {"images_age": {"old_seconds": 129600}}
	_said(smaller) == {["images_age.old", sprintf("%s was built at 2026-11-20T08:00:00Z, more than 36 hours ago", [_image])]}
}

test_allow_old_image_where_the_company_warns_of_none if {
	found := findings with input as inputs.changed(_at("2020-01-01T00:00:00Z"))
		with data.org.rule_data as {"images_age": {"old_seconds": null}}
	found == set()
}

test_deny_image_beyond_the_limit if {
	_of(object.union(_at("2026-11-20T08:59:59Z"), _limit(259200))) == {_finding(
		"images_age.limit",
		sprintf("%s must be at most 3 days old, but it was built at 2026-11-20T08:59:59Z", [_image]),
		_again,
	)}
}

test_deny_image_beyond_the_smallest_limit if {
	asked := object.union(_limit(604800), {"project/policies/rule_data": {"images_age": {"max_age_seconds": 432000}}})
	_of(asked) == set()
	found := findings with input as inputs.changed(asked) with data.org.rule_data as {"images_age": {"max_age_seconds": 172800}}
	_said(found) == {["images_age.limit", sprintf("%s must be at most 2 days old, but it was built at 2026-11-20T08:00:00Z", [_image])]}
}

_unknown := "build it with the date of its sources as SOURCE_DATE_EPOCH, or with a tool that writes the date of the build, and push it"

test_deny_unknown_age_warns if {
	_of(_at(null)) == {_finding(
		"images_age.unknown",
		sprintf("nobody knows how old %s is: it does not say when it was built", [_image]),
		_unknown,
	)}
	every created in ["1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1980-01-01T00:00:01Z", "2012-12-31T23:59:59Z", "yesterday", "", "2026-02-30T00:00:00Z"] {
		_of(_at(created)) == {_finding(
			"images_age.unknown",
			sprintf("nobody knows how old %s is: it says that it was built %q", [_image, created]),
			_unknown,
		)}
	}
}

test_deny_unknown_age_where_there_is_a_limit if {
	_said(_of(object.union(_at(null), _limit(604800)))) == {
		["images_age.unknown", sprintf("nobody knows how old %s is: it does not say when it was built", [_image])],
		["images_age.limit", sprintf("%s must be at most 7 days old, but nobody knows how old it is: it does not say when it was built", [_image])],
	}
}

test_deny_future_warns if {
	_of(_at("2026-11-24T09:00:00Z")) == set()
	_of(_at("2026-11-24T09:00:01Z")) == {_finding(
		"images_age.future",
		sprintf("%s says that it was built in the future, 2026-11-24T09:00:01Z", [_image]),
		"check the clocks of this machine and of the one that built it, then build it again",
	)}
}

test_deny_future_where_there_is_a_limit if {
	_of(object.union(_at("2026-11-24T09:00:00Z"), _limit(604800))) == set()
	_said(_of(object.union(_at("2026-12-24T09:00:00Z"), _limit(604800)))) == {
		["images_age.future", sprintf("%s says that it was built in the future, 2026-12-24T09:00:00Z", [_image])],
		["images_age.limit", sprintf("%s must be at most 7 days old, but it says that it was built in the future, 2026-12-24T09:00:00Z", [_image])],
	}
}

test_deny_each_platform if {
	every created, code in {"2020-01-01T00:00:00Z": "images_age.old", "2030-01-01T00:00:00Z": "images_age.future", "": "images_age.unknown"} {
		found := _of(object.union(_limit(604800), {"images/0/platforms": [inputs.platform, object.union(inputs.arm, {"created": created})]}))
		{[finding.code, contains(finding.message, "linux/arm64")] | some finding in found} == {
			[code, true],
			["images_age.limit", true],
		}
	}
}

test_deny_each_place_that_names_the_image if {
	places := [["spec", "a"], ["spec", "b"]]
	every created, code in {"2020-01-01T00:00:00Z": "images_age.old", "2030-01-01T00:00:00Z": "images_age.future", "": "images_age.unknown"} {
		found := _of(object.union(object.union(_at(created), _limit(604800)), {"images/0/paths": places}))
		{[finding.code, finding.path] | some finding in found} == {[reported, place] |
			some reported in [code, "images_age.limit"]
			some place in places
		}
	}
}

test_allow_image_that_was_not_inspected if {
	every created in ["2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z", ""] {
		_of(object.union(object.union(_at(created), _limit(604800)), {"images/0/inspected": false})) == set()
	}
}

test_deny_where_the_input_has_no_instant if {
	found := _of(object.union({"evaluated_at": "today"}, _limit(604800)))
	{finding.code | some finding in found} == {"images_age.unknown", "images_age.limit"}
}

test_deny_rule_data_that_cannot_be_read if {
	found := findings with input as inputs.plain
		with data.org.rule_data as {"images_age": {"max_age_seconds": "90d", "old_seconds": 0}}
	{finding | some finding in found; finding.code == "images_age.rule_data"} == {
		{
			"code": "images_age.rule_data",
			"subject": "data.org.rule_data.images_age.max_age_seconds",
			"path": [],
			"message": `data.org.rule_data.images_age.max_age_seconds must be a number of seconds, at least 1, but it is "90d"`,
			"fix": "let data.org.rule_data.images_age.max_age_seconds be a number of seconds, at least 1",
		},
		{
			"code": "images_age.rule_data",
			"subject": "data.org.rule_data.images_age.old_seconds",
			"path": [],
			"message": "data.org.rule_data.images_age.old_seconds must be a number of seconds, at least 1, but it is 0",
			"fix": "let data.org.rule_data.images_age.old_seconds be a number of seconds, at least 1",
		},
	}
	{finding.code | some finding in found} == {"images_age.rule_data", "images_age.old"}
}
