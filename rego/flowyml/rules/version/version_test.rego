package flowyml.rules.version

import data.flowyml.lib.inputs

test_allow_semantic_versions if {
	every version in ["0.0.0", "2.1.0", "10.20.30", "1.0.0-rc.1", "1.0.0-0.3.7", "1.0.0+build.5", "1.0.0-x-y-z.-+001"] {
		findings == set() with input as inputs.changed({"stack/version": version})
	}
}

test_deny_other_versions if {
	every version in [
		"", " ", "latest", "1", "1.2", "v1.2.3", "1.2.3.4", "01.2.3", "1.02.3", "1.2.3-", "1.2.3-01", "1.2.3+", "1.2.3 ", " 1.2.3",
		"1.2.3-a..b", "1.2.3+a_b", "1.2.x", "-1.2.3", "1.2.3\n", "１.2.3",
	] {
		found := findings with input as inputs.changed({"stack/version": version})
		{finding.code | some finding in found} == {"version.semantic"}
	}
}

test_deny_version_says_the_nearest_semantic_one if {
	every version, nearest in {
		"1": "1.0.0", "2.1": "2.1.0", "v2.1.7": "2.1.7", "V3": "3.0.0", " 4.5.6 ": "4.5.6", "latest": "1.0.0",
	} {
		findings == {{
			"code": "version.semantic",
			"subject": "prod-gpu-large",
			"path": ["metadata", "version"],
			"message": sprintf("the stack's version %q is not a semantic version", [version]),
			"fix": sprintf("write MAJOR.MINOR.PATCH in quotes, for example `version: %q`", [nearest]),
		}} with input as inputs.changed({"stack/version": version})
	}
}

test_deny_missing_version if {
	findings == {{
		"code": "version.missing",
		"subject": "prod-gpu-large",
		"path": ["metadata", "version"],
		"message": `the stack "prod-gpu-large" has no version`,
		"fix": "add a semantic version to metadata, for example `version: \"1.0.0\"`",
	}} with input as inputs.changed({"stack/version": null})
}

test_allow_builtin_stack_without_version if {
	findings == set() with input as inputs.builtin
}

test_allow_builtin_stack_with_any_version if {
	findings == set() with input as object.union(inputs.builtin, {"stack": {"version": "latest"}})
}

test_deny_rule_data if {
	findings == {{
		"code": "version.rule_data",
		"subject": "policies.rule_data.version.minimum",
		"path": [],
		"message": "policies.rule_data.version.minimum is no key that the rule reads",
		"fix": "the rule reads nothing",
	}} with input as inputs.changed({"project/policies/rule_data": {"version": {"minimum": "1.0.0"}}})
}
