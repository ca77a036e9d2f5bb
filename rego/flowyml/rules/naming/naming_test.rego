package flowyml.rules.naming

import data.flowyml.lib.inputs

test_allow_plain_names if {
	every name in ["a", "7", "prod-gpu-large", "a.b_c-D9", _letters(128)] {
		findings == set() with input as inputs.changed({"stack/name": name})
	}
}

test_deny_odd_names if {
	every name in ["", "-a", "a-", ".a", "a_", "a b", " a", "a ", "a/b", "a\n", "a\u0000", "ä", "a\u200bb", _letters(129)] {
		found := findings with input as inputs.changed({"stack/name": name})
		[[finding.code, finding.subject] | some finding in found] == [["naming.safe", name]]
	}
}

test_deny_name_says_the_nearest_plain_one if {
	findings == {{
		"code": "naming.safe",
		"subject": " my stack/v2 ",
		"path": ["metadata", "name"],
		"message": `the stack's name " my stack/v2 " is not plain`,
		"fix": "use letters, digits, `.`, `_` and `-`, at most 128, with a letter or digit at both ends, for example \"my-stack-v2\"",
	}} with input as inputs.changed({"stack/name": " my stack/v2 "})
}

test_deny_name_of_which_nothing_can_be_kept if {
	findings == {{
		"code": "naming.safe",
		"subject": "¿?",
		"path": ["metadata", "name"],
		"message": `the stack's name "¿?" is not plain`,
		"fix": "use letters, digits, `.`, `_` and `-`, at most 128, with a letter or digit at both ends",
	}} with input as inputs.changed({"stack/name": "¿?"})
}

test_deny_long_name_is_shortened_to_a_plain_one if {
	found := findings with input as inputs.changed({"stack/name": concat("", [_letters(127), "-", "b"])})
	{finding.fix | some finding in found} == {sprintf("use letters, digits, `.`, `_` and `-`, at most 128, with a letter or digit at both ends, for example %q", [_letters(127)])}
}

test_allow_stack_that_the_project_names if {
	every patterns in [["prod-*"], ["dev-*", "prod-gpu-large"], ["*"], ["prod-gpu-[kl]*"], ["{prod,staging}-*"]] {
		findings == set() with input as inputs.changed({"project/policies/allowed_stacks": patterns})
	}
}

# With OPA's default delimiters a star would stop at a dot.
test_allow_star_passes_dots if {
	findings == set() with input as inputs.changed({
		"stack/name": "prod-1.2.x",
		"project/policies/allowed_stacks": ["prod-*"],
	})
}

test_deny_stack_that_the_project_does_not_name if {
	findings == {{
		"code": "naming.allowed_stacks",
		"subject": "prod-gpu-large",
		"path": ["metadata", "name"],
		"message": `the stack's name "prod-gpu-large" is not allowed: the project (policies.allowed_stacks) allows "staging-*", "prod-gpu"`,
		"fix": `use a stack whose name matches "staging-*", "prod-gpu", or add a pattern for this one to the list in flowyml.yaml`,
	}} with input as inputs.changed({"project/policies/allowed_stacks": ["staging-*", "prod-gpu"]})
}

test_deny_every_stack_where_the_list_is_empty if {
	findings == {{
		"code": "naming.allowed_stacks",
		"subject": "prod-gpu-large",
		"path": ["metadata", "name"],
		"message": "the stack's name \"prod-gpu-large\" is not allowed: the project (policies.allowed_stacks) allows nothing",
		"fix": "have a pattern for this stack added to the list",
	}} with input as inputs.changed({"project/policies/allowed_stacks": []})
}

test_deny_stack_that_the_company_does_not_name if {
	findings == {{
		"code": "naming.allowed_stacks",
		"subject": "prod-gpu-large",
		"path": ["metadata", "name"],
		"message": `the stack's name "prod-gpu-large" is not allowed: the company's policy (naming.allowed_stacks) allows "approved-*"`,
		"fix": `use a stack whose name matches "approved-*", or ask the platform team to allow this one`,
	}} with input as inputs.plain with data.org.rule_data as {"naming": {"allowed_stacks": ["approved-*"]}}
}

test_deny_every_stack_where_the_list_of_the_company_is_empty if {
	found := findings with input as inputs.plain with data.org.rule_data as {"naming": {"allowed_stacks": []}}
	{finding.fix | some finding in found} == {"have a pattern for this stack added to the list"}
}

test_deny_unless_every_list_that_is_set_names_the_stack if {
	found := findings with data.org.rule_data as {"naming": {"allowed_stacks": ["prod-*"]}}
		with input as inputs.changed({
			"project/policies/allowed_stacks": ["prod-gpu-*"],
			"project/policies/rule_data": {"naming": {"allowed_stacks": ["prod-cpu-*"]}},
		})
	{finding.message | some finding in found} == {`the stack's name "prod-gpu-large" is not allowed: the project (policies.rule_data.naming.allowed_stacks) allows "prod-cpu-*"`}
}

test_allow_stack_that_every_list_names if {
	findings == set() with data.org.rule_data as {"naming": {"allowed_stacks": ["prod-*"]}}
		with input as inputs.changed({
			"project/policies/allowed_stacks": ["prod-gpu-*"],
			"project/policies/rule_data": {"naming": {"allowed_stacks": ["*-large"]}},
		})
}

test_allow_builtin_stack_whatever_the_lists if {
	findings == set() with input as object.union(inputs.builtin, {"project": {"policies": {"allowed_stacks": []}}})
}

test_deny_stack_of_an_author_that_calls_itself_builtin if {
	found := findings with input as inputs.changed({
		"source/kind": "builtin",
		"stack/name": "not local",
		"project/policies/allowed_stacks": [],
	})
	{finding.code | some finding in found} == {"naming.safe", "naming.allowed_stacks"}
}

test_deny_rule_data_that_cannot_be_read if {
	findings == {{
		"code": "naming.rule_data",
		"subject": "data.org.rule_data.naming.allowed_stacks",
		"path": [],
		"message": `data.org.rule_data.naming.allowed_stacks must be a list of patterns for names of stacks, but it is "prod-*"`,
		"fix": "let data.org.rule_data.naming.allowed_stacks be a list of patterns for names of stacks",
	}} with input as inputs.plain with data.org.rule_data as {"naming": {"allowed_stacks": "prod-*"}}
}

test_deny_rule_data_with_a_blank_pattern if {
	found := findings with input as inputs.changed({"project/policies/rule_data": {"naming": {"allowed_stacks": ["prod-*", " "]}}})
	{finding.subject | some finding in found} == {"policies.rule_data.naming.allowed_stacks"}
}

test_deny_rule_data_with_a_pattern_that_cannot_be_read if {
	found := findings with input as inputs.changed({"project/policies/rule_data": {"naming": {"allowed_stacks": ["*", "[a-z0-9]"]}}})
	{finding.subject | some finding in found} == {"policies.rule_data.naming.allowed_stacks"}
}

test_deny_stack_by_patterns_that_cannot_be_read if {
	found := findings with input as inputs.changed({"project/policies/allowed_stacks": ["[", "[z-a]", "{prod-gpu-large"]})
	{finding.code | some finding in found} == {"naming.allowed_stacks"}
}

_letters(length) := concat("", [letter | some _ in numbers.range(1, length); letter := "a"])

test_deny_lists_with_entries_that_are_no_text if {
	found := findings with input as inputs.plain with data.org.rule_data as {"naming": {"allowed_stacks": [7, null, ["prod-*"]]}}
	{finding.code | some finding in found} == {"naming.allowed_stacks", "naming.rule_data"}
}
