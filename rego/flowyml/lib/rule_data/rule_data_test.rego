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
	unreadable with data.org.rule_data as "a"
	not unreadable with data.org.rule_data as {}
	not unreadable
}

test_owner if {
	owner("company", "naming", "allowed_stacks") == "the company's policy (naming.allowed_stacks)"
	owner("rule_data.naming.allowed_stacks", "naming", "allowed_stacks") == "the project (policies.rule_data.naming.allowed_stacks)"
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

test_patterns_of_nothing if {
	patterns == set()
}
