package flowyml.lib.rule_data

import data.flowyml.lib.inputs

_known := {"names": {"pattern": "^[a-z]+$", "wanted": "a list of small letters"}}

test_company_replaces_what_ships_key_by_key if {
	company == {"a": {"x": ["org"], "y": null}, "b": {"z": [1]}, "c": {"w": []}} with data.org.rule_data as {"a": {"x": ["org"]}, "c": {"w": []}}
		with data.flowyml.rule_data as {"a": {"x": ["shipped", "more"], "y": null}, "b": {"z": [1]}}
}

test_company_says_nothing if {
	company == {"a": {"x": []}} with data.flowyml.rule_data as {"a": {"x": []}}
}

test_company_that_is_no_mapping if {
	company == {"a": {"x": []}} with data.flowyml.rule_data as {"a": {"x": []}} with data.org.rule_data as "a"
}

test_given_by_company_and_project if {
	given == {
		"a": {
			{"place": "data.org.rule_data.a", "value": {"x": 1}},
			{"place": "policies.rule_data.a", "value": {"x": 2}},
		},
		"b": {{"place": "policies.rule_data.b", "value": null}},
	} with data.org.rule_data as {"a": {"x": 1}} with input as inputs.changed({"project/policies/rule_data": {"a": {"x": 2}, "b": null}})
}

test_given_by_nobody if {
	given == {} with input as inputs.plain
}

test_problems_of_what_fits if {
	every value in [null, [], ["a", "bc"]] {
		problems({{"place": "p", "value": {"names": value}}}, _known) == set()
	}
}

test_problems_of_what_does_not_fit if {
	every value, shown in {"a": `"a"`} {
		problems({{"place": "p", "value": {"names": value}}}, _known) == {{
			"subject": "p.names",
			"message": sprintf("p.names must be a list of small letters, but it is %s", [shown]),
			"fix": "let p.names be a list of small letters",
		}}
	}
}

test_problems_of_values_of_other_types if {
	every value in [false, true, 1, {}, {"a": "b"}, [1], [null], ["a", ["b"]], ["A"], [""]] {
		found := problems({{"place": "p", "value": {"names": value}}}, _known)
		{problem.subject | some problem in found} == {"p.names"}
	}
}

# For each form of a value, what fits and what does not. Null fits always.
_forms := {
	"pattern": {
		"form": {"pattern": "^[a-z]+$"},
		"right": [[], ["a"], ["a", "bc"]],
		"wrong": [false, 1, "a", {}, [1], ["a", "B"]],
	},
	"text": {
		"form": {"text": "^(low|high)$"},
		"right": ["low", "high"],
		"wrong": ["", "lows", true, 1, [], ["low"], {}],
	},
	"number": {
		"form": {"number": {"least": 1}},
		"right": [1, 1.5, 100000000000],
		"wrong": [0, -1, 0.5, "1", true, [], [1], {}],
	},
	"boolean": {
		"form": {"boolean": true},
		"right": [true, false],
		"wrong": ["true", 1, 0, [], {}],
	},
	"mapping": {
		"form": {"mapping": {"key_pattern": "^[a-z]+$", "pattern": "^[0-9]$"}},
		"right": [{}, {"a": []}, {"a": ["1"], "b": ["2", "3"]}],
		"wrong": [[], ["a"], "a", 1, true, {"A": []}, {"a": "1"}, {"a": null}, {"a": ["1", "x"]}, {"a": [1]}, {"a": {"b": "1"}}],
	},
	"records": {
		"form": {"records": {"key_pattern": "^[a-z]+$", "fields": {"x": "^[0-9]$", "y": "."}}},
		"right": [{}, {"a": {"x": "1", "y": "z"}}, {"a": {"x": "1", "y": "z"}, "b": {"x": "2", "y": "z"}}],
		"wrong": [
			[],
			"a",
			1,
			{"a": null},
			{"a": []},
			{"a": ["x"]},
			{"a": {}},
			{"a": {"x": "1"}},
			{"A": {"x": "1", "y": "z"}},
			{"a": {"x": "1", "y": ""}},
			{"a": {"x": 1, "y": "z"}},
			{"a": {"x": "1", "y": "z", "z": "z"}},
		],
	},
}

test_problems_of_each_form if {
	mistaken := [[name, value] |
		some name, tried in _forms
		some expected, values in {0: array.concat([null], tried.right), 1: tried.wrong}
		some value in values
		known := {"key": object.union({"wanted": "so"}, tried.form)}
		count(problems({{"place": "p", "value": {"key": value}}}, known)) != expected
	]
	mistaken == []
}

test_said_by_company_and_project if {
	asked := inputs.changed({"project/policies/rule_data": {"a": {"x": [1]}}})
	said("a", "x") == [2, [1]] with input as asked with data.org.rule_data as {"a": {"x": 2}}
	said("a", "x") == ["shipped", [1]] with input as asked with data.flowyml.rule_data as {"a": {"x": "shipped"}}
	said("a", "y") == [null, null] with input as asked with data.org.rule_data as {"a": {"x": 2}}
	said("b", "x") == [null, null] with input as asked with data.org.rule_data as {"b": "x"}
}

test_problems_of_an_unknown_key if {
	problems({{"place": "p", "value": {"name": ["a"]}}}, _known) == {{
		"subject": "p.name",
		"message": "p.name is no key that the rule reads",
		"fix": `the rule reads "names"`,
	}}
}

test_problems_of_data_that_is_no_mapping if {
	every value in [null, "a", 1, ["a"], false] {
		problems({{"place": "p", "value": value}}, _known) == {{
			"subject": "p",
			"message": "p is no mapping of keys to values",
			"fix": "let p map each key that the rule reads to its value, or leave it out",
		}}
	}
}

test_problems_of_every_source if {
	found := problems({{"place": "p", "value": {"x": 1}}, {"place": "q", "value": {"names": 1, "y": 1}}}, _known)
	{problem.subject | some problem in found} == {"p.x", "q.names", "q.y"}
}

test_patterns_of_company_and_shipped_data if {
	patterns == {"a-*", "b-*", "c", "d"} with data.flowyml.rule_data as {"naming": {"allowed_stacks": ["a-*", "b-*"], "other": ["x"]}, "n": {"stacks": null}}
		with data.org.rule_data as {"naming": {"allowed_stacks": ["c", 1]}, "deep": {"er": [{"stacks": ["d"]}], "haystacks": ["y"], "stacks_of": ["z"]}}
}

test_patterns_of_tags if {
	patterns == {"a-*", "b"} with data.flowyml.rule_data as {"images_tag": {"denied": ["a-*"], "mutable": ["x"]}}
		with data.org.rule_data as {"images_tag": {"denied": ["b"]}, "other": {"denied": ["y"]}}
}

test_patterns_of_nothing if {
	patterns == set()
}
