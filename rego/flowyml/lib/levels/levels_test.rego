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

test_level_of_the_company_replaces_the_catalogue if {
	every word in ["disabled", "advisory", "soft", "hard"] {
		level("flowyml", "a.b") == word with data.flowyml.catalogue as _catalogue
			with data.org.levels as {"a.b": word}
			with input as inputs.plain
	}
}

test_level_of_the_project_only_tightens if {
	answers := [[company, project, answer] |
		some company in _strictest
		some project in _strictest
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
	problems == set() with data.org.levels as {"a.b": "disabled", "c.d": "hard"}
}

test_problems_of_a_word_that_is_no_level if {
	every word, shown in {"off": `"off"`, "Hard": `"Hard"`} {
		problems == {{
			"subject": `data.org.levels["a.b"]`,
			"message": sprintf(`data.org.levels["a.b"] of the company's policy is %s, which is no level`, [shown]),
			"fix": `let data.org.levels["a.b"] be advisory, soft, hard or disabled`,
		}} with data.org.levels as {"a.b": word, "c.d": "soft"}
	}
}

test_problems_of_a_value_that_is_no_text if {
	every value in [null, false, true, 3, [], ["hard"], {}] {
		{problem.subject | some problem in problems} == {`data.org.levels["a.b"]`} with data.org.levels as {"a.b": value}
	}
}

test_problems_of_levels_that_are_no_mapping if {
	problems == {{
		"subject": "data.org.levels",
		"message": "data.org.levels of the company's policy is no mapping of codes to levels",
		"fix": "let data.org.levels map codes to advisory, soft, hard or disabled",
	}} with data.org.levels as "hard"
}

test_severity_of_every_level_but_disabled if {
	severity == {"advisory": "warn", "soft": "deny", "hard": "deny"}
}
