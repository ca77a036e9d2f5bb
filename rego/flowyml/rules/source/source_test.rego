package flowyml.rules.source

import data.flowyml.lib.inputs

test_allow_builtin_stack_where_nothing_is_said if {
	findings == set() with input as inputs.builtin
}

test_allow_builtin_stack_where_the_company_allows_it if {
	findings == set() with input as inputs.builtin
		with data.org.environments as {"production": {"builtin": "allow"}, "dev": {}, "staging": {"builtin": "deny"}}
}

test_deny_builtin_stack_where_the_company_denies_it if {
	findings == {{
		"code": "source.builtin",
		"subject": "production",
		"path": [],
		"message": `the built-in stack "local" may not be used in the environment "production"`,
		"fix": "name a stack for it, in flowyml.yaml under `environments.production.stack` or where you run",
	}} with input as object.union(inputs.builtin, {"environments": ["dev", "production"]})
		with data.org.environments as {"production": {"builtin": "deny"}}
}

test_allow_stack_of_an_author_everywhere if {
	findings == set() with input as inputs.plain with data.org.environments as {"production": {"builtin": "deny"}}
}

test_deny_rule_data if {
	findings == {{
		"code": "source.rule_data",
		"subject": "data.org.rule_data.source.builtin",
		"path": [],
		"message": "data.org.rule_data.source.builtin is no key that the rule reads",
		"fix": "the rule reads nothing",
	}} with input as inputs.plain with data.org.rule_data as {"source": {"builtin": "deny"}}
}

test_deny_environments_that_are_no_mapping if {
	findings == {{
		"code": "source.rule_data",
		"subject": "data.org.environments",
		"path": [],
		"message": "data.org.environments is no mapping of environments to entries",
		"fix": `let data.org.environments map each name to an entry such as {"builtin": "deny"}, or leave it out`,
	}} with input as inputs.builtin with data.org.environments as ["production"]
}

test_deny_entry_that_is_no_mapping if {
	findings == {{
		"code": "source.rule_data",
		"subject": "data.org.environments.production",
		"path": [],
		"message": "data.org.environments.production is no mapping",
		"fix": `let data.org.environments.production be an entry such as {"builtin": "deny"}, or leave it out`,
	}} with input as inputs.builtin with data.org.environments as {"production": "deny"}
}

test_deny_entry_with_a_key_that_is_not_read if {
	findings == {{
		"code": "source.rule_data",
		"subject": "data.org.environments.production.built_in",
		"path": [],
		"message": "data.org.environments.production.built_in is no key that this version reads",
		"fix": "correct the key, or use a version of flowyml-policy that reads it",
	}} with input as inputs.builtin with data.org.environments as {"production": {"built_in": "deny"}}
}

test_deny_entry_with_a_word_that_is_none if {
	findings == {{
		"code": "source.rule_data",
		"subject": "data.org.environments.production.builtin",
		"path": [],
		"message": `data.org.environments.production.builtin must be allow or deny, but it is "Deny"`,
		"fix": "let data.org.environments.production.builtin be allow or deny",
	}} with input as inputs.builtin with data.org.environments as {"production": {"builtin": "Deny"}}
}

test_deny_entry_whose_word_is_no_text if {
	every word in [true, false, null, ["deny"]] {
		found := findings with input as inputs.builtin with data.org.environments as {"production": {"builtin": word}}
		{finding.subject | some finding in found} == {"data.org.environments.production.builtin"}
	}
}
