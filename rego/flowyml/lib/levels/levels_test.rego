package flowyml.lib.levels

import data.flowyml.lib.inputs

_catalogue := {"codes": {"a.b": {"enforcement": "soft"}, "a.odd": {"enforcement": "loud"}}, "rules": ["a"]}

_at(level) := inputs.changed({"project/policies/levels": {"a.b": level}})

test_level_of_the_catalogue if {
	level("flowyml", "a.b") == "soft" with data.flowyml.catalogue as _catalogue with input as inputs.plain
	level("org", "a.b") == "soft" with data.org.catalogue as _catalogue with input as inputs.plain
	level("project", "a.b") == "soft" with data.project.catalogue as _catalogue with input as inputs.plain
}

test_level_is_that_of_the_own_root if {
	level("flowyml", "a.b") == "hard" with data.org.catalogue as _catalogue with input as inputs.plain
	level("org", "a.b") == "hard" with data.project.catalogue as _catalogue with input as inputs.plain
	level("project", "a.b") == "hard" with data.flowyml.catalogue as _catalogue with input as inputs.plain
}

test_level_of_a_code_without_an_entry_is_hard if {
	level("flowyml", "a.c") == "hard" with data.flowyml.catalogue as _catalogue with input as inputs.plain
}

test_level_that_is_none_is_hard if {
	level("flowyml", "a.odd") == "hard" with data.flowyml.catalogue as _catalogue with input as inputs.plain
	level("flowyml", "a.b") == "hard" with data.flowyml.catalogue as _catalogue
		with data.org.levels as {"a.b": "Disabled"}
		with input as inputs.plain
}

test_levels_in_force_are_those_of_the_catalogue_but_where_somebody_mentions_a_code if {
	in_force == _catalogue.codes with data.flowyml.catalogue as _catalogue with input as inputs.plain
	_enforced("a.b") == "hard" with data.flowyml.catalogue as _catalogue with input as _at("hard")
	_enforced("a.odd") == "loud" with data.flowyml.catalogue as _catalogue with input as _at("hard")
	in_force == {"a.b": {"enforcement": "soft"}, "a.odd": {"enforcement": "hard"}, "b.c": {"enforcement": "hard"}} with data.flowyml.catalogue as _catalogue
		with data.org.levels as {"a.b": "advisory", "a.odd": "mild", "b.c": "hard"}
		with input as _at("soft")
	_enforced("a.b") == "advisory" with data.flowyml.catalogue as _catalogue
		with data.org.levels as {"a.b": "advisory"}
		with input as inputs.plain
}

_enforced(code) := in_force[code].enforcement

test_level_of_the_company_replaces_the_catalogue if {
	every word in ["disabled", "advisory", "soft", "hard"] {
		level("flowyml", "a.b") == word with data.flowyml.catalogue as _catalogue
			with data.org.levels as {"a.b": word}
			with input as inputs.plain
	}
}

test_level_of_the_project_only_tightens if {
	words := ["disabled", "advisory", "soft", "hard"]
	answers := [[company, project, answer] |
		some company in words
		some project in words
		answer := level("flowyml", "a.b") with data.flowyml.catalogue as _catalogue
			with data.org.levels as {"a.b": company}
			with input as _at(project)
	]
	answers == [
		["disabled", "disabled", "disabled"],
		["disabled", "advisory", "advisory"],
		["disabled", "soft", "soft"],
		["disabled", "hard", "hard"],
		["advisory", "disabled", "advisory"],
		["advisory", "advisory", "advisory"],
		["advisory", "soft", "soft"],
		["advisory", "hard", "hard"],
		["soft", "disabled", "soft"],
		["soft", "advisory", "soft"],
		["soft", "soft", "soft"],
		["soft", "hard", "hard"],
		["hard", "disabled", "hard"],
		["hard", "advisory", "hard"],
		["hard", "soft", "hard"],
		["hard", "hard", "hard"],
	]
}

test_level_of_the_project_that_is_none_is_hard if {
	level("flowyml", "a.b") == "hard" with data.flowyml.catalogue as _catalogue with input as _at("off")
}

test_level_without_input if {
	level("flowyml", "a.b") == "soft" with data.flowyml.catalogue as _catalogue
}

test_problems_of_nothing if {
	problems == set()
}

test_problems_of_levels if {
	problems == set() with data.flowyml.catalogue as _catalogue
		with data.org.catalogue as {"codes": {"c.d": {"enforcement": "soft"}}, "rules": ["c"]}
		with data.project.catalogue as {"codes": {"e.f": {"enforcement": "soft"}}, "rules": ["e"]}
		with data.org.levels as {"a.b": "disabled", "c.d": "hard", "e.f": "soft"}
		with input as inputs.changed({"project/policies/levels": {"a.b": "hard", "c.d": "hard", "e.f": "hard"}})
}

test_problems_of_a_code_that_is_not_in_the_catalogue if {
	found := problems with data.flowyml.catalogue as {"codes": {"a.b": {}, "a.c": {}, "main.a": {}}, "rules": ["a"]}
		with data.org.catalogue as {"codes": {"c.d": {}}, "rules": ["c"]}
		with data.project.catalogue as {"codes": {"e.f": {}, "main.a": {}}, "rules": ["e"]}
		with data.org.levels as {"a.d": "hard"}
		with input as inputs.changed({"project/policies/levels": {"b.b": "hard"}})
	found == {
		{
			"subject": `data.org.levels["a.d"]`,
			"message": `data.org.levels["a.d"] gives a level to a code that is not in the catalogue`,
			"fix": `correct the code; these are in the catalogue: "a.b", "a.c"`,
		},
		{
			"subject": `policies.levels["b.b"]`,
			"message": `policies.levels["b.b"] gives a level to a code that is not in the catalogue`,
			"fix": `correct the code; these are in the catalogue: "a.b", "a.c", "c.d", "e.f"`,
		},
	}
}

test_problems_of_a_code_without_catalogues_of_others if {
	found := problems with data.flowyml.catalogue as _catalogue with data.org.levels as {"c.d": "hard"}
	{problem.fix | some problem in found} == {`correct the code; these are in the catalogue: "a.b", "a.odd"`}
}

test_problems_of_codes_that_always_deny if {
	found := problems with data.org.levels as {"main.levels": "disabled"}
		with input as inputs.changed({"project/policies/levels": {"main.no_rules": "advisory", "main.x": "hard"}})
	found == {
		{
			"subject": `data.org.levels["main.levels"]`,
			"message": `data.org.levels["main.levels"] gives a level to a code that has none: what begins with main. always denies`,
			"fix": `take data.org.levels["main.levels"] out`,
		},
		{
			"subject": `policies.levels["main.no_rules"]`,
			"message": `policies.levels["main.no_rules"] gives a level to a code that has none: what begins with main. always denies`,
			"fix": `take policies.levels["main.no_rules"] out`,
		},
		{
			"subject": `policies.levels["main.x"]`,
			"message": `policies.levels["main.x"] gives a level to a code that has none: what begins with main. always denies`,
			"fix": `take policies.levels["main.x"] out`,
		},
	}
}

test_problems_of_levels_of_the_project_that_are_no_mapping if {
	every levels in [["main.x"], "main.x", null, 1] {
		problems == set() with input as inputs.changed({"project/policies/levels": levels})
	}
}

test_problems_of_a_word_that_is_no_level if {
	every word, shown in {"off": `"off"`, "Hard": `"Hard"`} {
		problems == {{
			"subject": `data.org.levels["a.b"]`,
			"message": sprintf(`data.org.levels["a.b"] of the company's policy is %s, which is no level`, [shown]),
			"fix": `let data.org.levels["a.b"] be advisory, soft, hard or disabled`,
		}} with data.flowyml.catalogue as _catalogue with data.org.levels as {"a.b": word, "a.odd": "soft"}
	}
}

test_problems_of_a_value_that_is_no_text if {
	every value in [null, false, true, 3, [], ["hard"], {}] {
		{problem.subject | some problem in problems} == {`data.org.levels["a.b"]`} with data.flowyml.catalogue as _catalogue
			with data.org.levels as {"a.b": value}
	}
}

test_problems_of_levels_that_are_no_mapping if {
	problems == {{
		"subject": "data.org.levels",
		"message": "data.org.levels of the company's policy is no mapping of codes to levels",
		"fix": "let data.org.levels map codes to advisory, soft, hard or disabled",
	}} with data.org.levels as "hard"
}
