package flowyml.rules.labels

import data.flowyml.lib.inputs

test_allow_where_nothing_is_required if {
	findings == set() with input as inputs.changed({"stack/labels": {}})
}

test_allow_labels_that_are_there if {
	findings == set() with input as inputs.changed({"project/policies/required_labels": ["team", "approved=true"]})
}

test_deny_missing_label if {
	findings == {{
		"code": "labels.required",
		"subject": "cost-centre",
		"path": ["metadata", "labels", "cost-centre"],
		"message": `the label "cost-centre" is required, but it is missing`,
		"fix": "add `cost-centre` under metadata.labels, with a value that is true of this stack",
	}} with input as inputs.changed({"project/policies/required_labels": ["cost-centre", "team"]})
}

test_deny_blank_label if {
	every blank in ["", " ", "\t\n", "\u200b", "\u3164"] {
		findings == {{
			"code": "labels.required",
			"subject": "team",
			"path": ["metadata", "labels", "team"],
			"message": `the label "team" is required, but it is blank`,
			"fix": "add `team` under metadata.labels, with a value that is true of this stack",
		}} with input as inputs.changed({
			"stack/labels": {"team": blank},
			"project/policies/required_labels": ["team"],
		})
	}
}

test_deny_blank_label_where_a_value_is_asked_for if {
	found := findings with input as inputs.changed({
		"stack/labels": {"approved": " "},
		"project/policies/required_labels": ["approved=true"],
	})
	{finding.code | some finding in found} == {"labels.required"}
}

test_deny_missing_label_names_the_value_asked_for if {
	findings == {{
		"code": "labels.required",
		"subject": "approved",
		"path": ["metadata", "labels", "approved"],
		"message": `the label "approved" is required, but it is missing`,
		"fix": "add `approved: \"true\"` under metadata.labels, if it is true of this stack",
	}} with input as inputs.changed({
		"stack/labels": {},
		"project/policies/required_labels": ["approved", "approved=true"],
	})
}

test_deny_other_value if {
	findings == {{
		"code": "labels.value",
		"subject": "approved",
		"path": ["metadata", "labels", "approved"],
		"message": `the label "approved" must be "yes=really", but it is "true"`,
		"fix": "if it is true of this stack, set `approved: \"yes=really\"` under metadata.labels",
	}} with input as inputs.changed({"project/policies/required_labels": ["approved=yes=really", "team"]})
}

test_deny_value_in_another_case if {
	found := findings with input as inputs.changed({
		"stack/labels": {"approved": "True"},
		"project/policies/required_labels": ["approved=true"],
	})
	{finding.code | some finding in found} == {"labels.value"}
}

test_deny_label_whose_key_only_begins_alike if {
	found := findings with input as inputs.changed({
		"stack/labels": {"teams": "a"},
		"project/policies/required_labels": ["team"],
	})
	{finding.subject | some finding in found} == {"team"}
}

test_deny_what_either_list_requires if {
	found := findings with data.org.rule_data as {"labels": {"required": ["owner"]}}
		with input as inputs.changed({
			"project/policies/required_labels": ["cost-centre"],
			"project/policies/rule_data": {"labels": {"required": ["tier"]}},
		})
	{finding.subject | some finding in found} == {"owner", "cost-centre", "tier"}
}

test_deny_what_ships_unless_the_company_replaces_it if {
	shipped := {"labels": {"required": ["shipped"]}}
	found := findings with data.flowyml.rule_data as shipped with input as inputs.plain
	{finding.subject | some finding in found} == {"shipped"}
	findings == set() with data.flowyml.rule_data as shipped
		with data.org.rule_data as {"labels": {"required": []}}
		with input as inputs.plain
}

test_allow_builtin_stack_without_labels if {
	findings == set() with input as object.union(inputs.builtin, {"project": {"policies": {"required_labels": ["team"]}}})
}

test_allow_builtin_stack_with_another_value if {
	findings == set() with input as object.union(inputs.builtin, {
		"project": {"policies": {"required_labels": ["team=a"]}},
		"stack": {"labels": {"team": "b"}},
	})
}

test_deny_rule_data_that_cannot_be_read if {
	findings == {{
		"code": "labels.rule_data",
		"subject": "data.org.rule_data.labels.required",
		"path": [],
		"message": "data.org.rule_data.labels.required must be a list of labels, each as `key` or as `key=value`, but it is \"team\"",
		"fix": "let data.org.rule_data.labels.required be a list of labels, each as `key` or as `key=value`",
	}} with input as inputs.plain with data.org.rule_data as {"labels": {"required": "team"}}
}

test_deny_rule_data_with_an_odd_entry if {
	every entry in ["", " ", "=", "=a", "a=", "a= ", " a", "a =b", "a=b ", 1, null, ["a"]] {
		found := findings with input as inputs.changed({"stack/labels": {"a": "b"}})
			with data.org.rule_data as {"labels": {"required": [entry]}}
		"data.org.rule_data.labels.required" in {finding.subject | some finding in found; finding.code == "labels.rule_data"}
	}
}

test_allow_rule_data_with_labels_of_every_form if {
	every entry in ["a", "a b", "a=b", "a=b c", "a=b=c", "example.com/team"] {
		found := findings with input as inputs.plain with data.org.rule_data as {"labels": {"required": [entry]}}
		{finding | some finding in found; finding.code == "labels.rule_data"} == set()
	}
}
