# METADATA
# title: The decision
# description: |
#   The one entry point. It gathers the findings of every rule of the three roots (flowyml: what ships, org: the
#   company's, project: the project's own), gives each its level, and answers allow or deny. A new rule is a new
#   folder: nothing here names one.
#
#   Malformed input, malformed findings, data that nobody reads and a policy without rules deny, whatever the
#   levels say.
package flowyml.main

import data.flowyml.lib.levels
import data.flowyml.lib.rule_data
import data.flowyml.lib.shape

# The answer where there is none: it denies, and it names no rule, so that nobody takes it for a judgement.
default decision := {
	"schema_version": 1,
	"allow": false,
	"findings": [],
	"waivers": {"applied": [], "expired": []},
	"rules": [],
}

# METADATA
# title: The decision on one stack
# description: Every key is always present. `allow` says that no finding denies.
# entrypoint: true
decision := {
	"schema_version": 1,
	"allow": {finding | some finding in _findings; finding.severity == "deny"} == set(),
	"findings": [finding | some finding in _findings],
	"waivers": {"applied": [], "expired": []},
	"rules": [name | some name in _rules],
}

# METADATA
# title: Every code that can be found
# description: |
#   By code: its root, its rule, what it means and the level in force. Levels of the company and, where input is
#   given, of the project are applied. Where two roots use one code, the entry is that of what ships, else the
#   company's.
catalogue := object.union_n([_described(root, codes) |
	some [root, codes] in [
		["project", _project_codes],
		["org", _org_codes],
		["flowyml", _flowyml_codes],
	]
])

# METADATA
# title: Every glob in company and shipped data
# description: So that each can be compiled before the first decision. See rule_data for where globs may stand.
patterns := rule_data.patterns

default _flowyml_codes := {}

_flowyml_codes := data.flowyml.catalogue.codes

default _org_codes := {}

_org_codes := data.org.catalogue.codes

default _project_codes := {}

_project_codes := data.project.catalogue.codes

_described(root, codes) := {code: described |
	some code, entry in codes
	described := object.union(entry, {"root": root, "enforcement": levels.level(root, code)})
}

# The names of the rules, by the catalogues.
_rules contains name if some name in data.flowyml.catalogue.rules

_rules contains name if some name in data.org.catalogue.rules

_rules contains name if some name in data.project.catalogue.rules

# What the rules reported, by root and rule. It is asked for only where the input has the agreed shape, so that a rule
# may rely on it. A key at the depth of a rule without `findings` is not seen here: to look for one would cost half of
# the decision, and it is refused when a bundle is built or loaded.
_reports["flowyml"] := {name: found | found := data.flowyml.rules[name].findings}

_reports["org"] := {name: found | found := data.org.rules[name].findings}

_reports["project"] := {name: found | found := data.project.rules[name].findings}

_findings contains finding if {
	shape.valid
	some root, name
	some reported in _reports[root][name]
	_well_formed(name, reported)
	level := levels.level(root, reported.code)
	level != "disabled"
	finding := {
		"code": reported.code,
		"severity": levels.severity[level],
		"enforcement": level,
		"subject": reported.subject,
		"path": reported.path,
		"message": reported.message,
		"fix": reported.fix,
		"waiver": null,
		"override": null,
		"effective_on": null,
	}
}

# METADATA
# title: The policy input is malformed
# description: The document handed to the policy is not a policy input of schema version 1.
# related_resources:
#   - ref: https://www.openpolicyagent.org/docs/philosophy
#     description: How OPA decides on a document that is handed to it
# custom:
#   code: main.invalid_input
#   enforcement: hard
#   why: Rules look for values where the schema promises them. In another document they would find nothing wrong.
_findings contains finding if {
	not shape.valid
	finding := _denial({
		"code": "main.invalid_input",
		"subject": "input",
		"message": "the document that was handed to the policy is not a policy input of schema version 1",
		"fix": "hand over a document that `flowyml-policy schema input` describes, made by a flowyml-policy of the same version as the policy",
	})
}

# METADATA
# title: No rule is loaded
# description: No root has a rule in its catalogue, so that nothing was checked.
# related_resources:
#   - ref: https://www.openpolicyagent.org/docs/management-bundles
#     description: How a bundle is made and loaded
# custom:
#   code: main.no_rules
#   enforcement: hard
#   why: A policy without rules finds nothing wrong with anything, and must not be taken for an approval.
_findings contains finding if {
	count(_rules) == 0
	finding := _denial({
		"code": "main.no_rules",
		"subject": "policy",
		"message": "the policy that is loaded holds no rules, so nothing was checked",
		"fix": "load the policy that ships with flowyml-policy, or a bundle built with it",
	})
}

# METADATA
# title: A rule of the catalogue is not loaded
# description: The catalogue of a root names a rule that has no findings set.
# related_resources:
#   - ref: https://www.openpolicyagent.org/docs/management-bundles
#     description: How a bundle is made and loaded
# custom:
#   code: main.missing_rule
#   enforcement: hard
#   why: A rule that is announced but absent checks nothing, and nobody would notice.
_findings contains finding if {
	shape.valid
	some root
	some name in _missing[root]
	finding := _denial({
		"code": "main.missing_rule",
		"subject": sprintf("%s.rules.%s", [root, name]),
		"message": sprintf("the catalogue names the rule %s.rules.%s, but it is not loaded", [root, name]),
		"fix": "load a bundle that was built whole, or generate its catalogue again",
	})
}

# METADATA
# title: A rule reported a malformed finding
# description: |
#   What a rule exports is no set of findings, or a finding has not exactly the keys code, subject, path, message
#   and fix with values of their types, or its code does not start with the name of its rule.
# related_resources:
#   - ref: https://www.openpolicyagent.org/docs/policy-language#generating-sets
#     description: How Rego builds a set
# custom:
#   code: main.invalid_finding
#   enforcement: hard
#   why: A finding that cannot be read is still a finding. Dropped, it would let the stack pass.
_findings contains finding if {
	shape.valid
	some [root, name, reported] in _malformed
	finding := _denial({
		"code": "main.invalid_finding",
		"subject": sprintf("%s.rules.%s", [root, name]),
		"message": sprintf("the rule %s.rules.%s reported something that is no finding: %s", [root, name, json.marshal(reported)]),
		"fix": "let `findings` hold objects with exactly the keys code (a string that starts with the name of the rule and a dot), subject, path (a list of keys), message and fix",
	})
}

# METADATA
# title: A level is malformed
# description: What data.org.levels gives is no level, or is no mapping of codes to levels.
# related_resources:
#   - ref: https://www.openpolicyagent.org/docs/management-bundles
#     description: How data reaches the policy in a bundle
# custom:
#   code: main.levels
#   enforcement: hard
#   why: A misspelt level could switch a rule off, or leave one off that was meant to deny.
_findings contains finding if {
	some problem in levels.problems
	finding := _denial(object.union(problem, {"code": "main.levels"}))
}

# METADATA
# title: Rule data that no rule reads
# description: The company or the project gives data for a rule that is not loaded, or the data is no mapping.
# related_resources:
#   - ref: https://www.openpolicyagent.org/docs/management-bundles
#     description: How data reaches the policy in a bundle
# custom:
#   code: main.rule_data
#   enforcement: hard
#   why: Data that nobody reads is a demand that nobody checks. Often the name of the rule is misspelt.
_findings contains finding if {
	shape.valid
	some problem in rule_data.unread(_rules)
	finding := _denial(object.union(problem, {"code": "main.rule_data"}))
}

_missing["flowyml"] := {name | some name in data.flowyml.catalogue.rules} - object.keys(_reports.flowyml)

_missing["org"] := {name | some name in data.org.catalogue.rules} - object.keys(_reports.org)

_missing["project"] := {name | some name in data.project.catalogue.rules} - object.keys(_reports.project)

_malformed contains [root, name, found] if {
	some root, name
	found := _reports[root][name]
	not is_set(found)
}

_malformed contains [root, name, reported] if {
	some root, name
	some reported in _reports[root][name]
	not _well_formed(name, reported)
}

_well_formed(name, reported) if {
	is_object(reported)
	object.keys(reported) == {"code", "subject", "path", "message", "fix"}
	is_string(reported.code)
	startswith(reported.code, concat("", [name, "."]))
	is_string(reported.subject)
	is_string(reported.message)
	is_string(reported.fix)
	is_array(reported.path)
	every key in reported.path {
		_is_key(key)
	}
}

_is_key(key) if is_string(key)

_is_key(key) if {
	is_number(key)
	key >= 0
	floor(key) == key
}

# A finding of this package: about the policy itself, so that no level applies to it.
_denial(reported) := object.union(
	{
		"path": [],
		"severity": "deny",
		"enforcement": "hard",
		"waiver": null,
		"override": null,
		"effective_on": null,
	},
	reported,
)
