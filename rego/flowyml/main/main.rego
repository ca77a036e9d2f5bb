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

import data.flowyml.lib.images
import data.flowyml.lib.instants
import data.flowyml.lib.levels
import data.flowyml.lib.rule_data
import data.flowyml.lib.shape
import data.flowyml.lib.text

# METADATA
# title: No rule is loaded
# description: |
#   No root has a rule in its catalogue, so that nothing is checked. This is the answer wherever there is no other: it
#   denies, and it names no rule, so that nobody takes it for a judgement.
# related_resources:
#   - ref: https://www.openpolicyagent.org/docs/management-bundles
#     description: How a bundle is made and loaded
# custom:
#   code: main.no_rules
#   enforcement: hard
#   why: A policy without rules finds nothing wrong with anything, and must not be taken for an approval.
default decision := {
	"schema_version": 1,
	"allow": false,
	"findings": [{
		"code": "main.no_rules",
		"severity": "deny",
		"enforcement": "hard",
		"subject": "policy",
		"path": [],
		"message": "the policy that is loaded holds no rules, so nothing was checked",
		"fix": "load the policy that ships with flowyml-policy, or a bundle built with it",
		"waiver": null,
		"override": null,
		"effective_on": null,
	}],
	"waivers": {"applied": [], "expired": []},
	"rules": [],
}

# METADATA
# title: The decision on one stack
# description: Every key is always present. `allow` says that no finding denies.
# entrypoint: true
decision := {
	"schema_version": 1,
	"allow": {finding | some finding in found; finding.severity == "deny"} == set(),
	"findings": sort(found),
	"waivers": {"applied": [], "expired": []},
	"rules": rules,
} if {
	rules := _rules
	rules != []
	found := _findings
}

# METADATA
# title: Every code that can be found
# description: |
#   By code: its root, its rule, what it means and the level in force. Levels of the company and, where input is
#   given, of the project are applied. Where two roots use one code, the entry is that of what ships, else the
#   company's.
catalogue := object.union_n([entries |
	some root in ["project", "org", "flowyml"]
	entries := {code: described |
		some code, entry in _codes[root]
		described := object.union(entry, {"root": root, "enforcement": _in_force(root, code)})
	}
])

# METADATA
# title: Every glob in company and shipped data
# description: So that each can be compiled before the first decision. See rule_data for where globs may stand.
patterns := rule_data.patterns

# METADATA
# title: What has to be read before the first decision
# description: |
#   `bases`: the references of images that images may be built on, by every list of them: the company's and, where input
#   has project.policies, the project's. Rego does no I/O, so whoever asks for a decision reads them, and hands in what
#   they are as input.bases.
wanted := {"bases": sort({reference |
	some list in images.base_lists
	some reference in list
	is_string(reference)
})}

# METADATA
# title: Those of some globs that OPA cannot read
# description: |
#   For an input {globs: [...]}, the patterns of it that glob.match refuses: in a rule it would be undefined for them. It
#   is asked of a server, whose own glob.match must say so; without strict builtin errors, by which it would say nothing.
unreadable_globs contains pattern if {
	some pattern in object.get(input, "globs", []) # not a part of any policy input
	not _readable(pattern)
}

_readable(pattern) if is_boolean(glob.match(pattern, null, ""))

# The rules, and what looks at data that is given to them, are asked only where the input has the agreed shape, so that
# they may rely on it; what is wrong with the policy itself is found beside any input.
_findings := _in_valid_input | _in_any_input if {
	shape.valid
} else := {_malformed_input} | _in_any_input

# A key at the depth of a rule without `findings`, or a rule that only the catalogue knows, is refused when a policy is
# built or loaded: to look for them would cost half of each decision. The shape of what shipped rules report is shown by
# their tests; what others report is looked at.
_in_valid_input contains finding if {
	some name
	some reported in data.flowyml.rules[name].findings
	level := object.get(levels.in_force, [reported.code, "enforcement"], "hard")
	level != "disabled"
	finding := object.union(reported, {
		"severity": object.get({"advisory": "warn"}, level, "deny"),
		"enforcement": level,
		"waiver": null,
		"override": null,
		"effective_on": null,
	})
}

_in_valid_input contains finding if {
	some name
	some finding in _foreign("org", name, data.org.rules[name].findings)
}

_in_valid_input contains finding if {
	some name
	some finding in _foreign("project", name, data.project.rules[name].findings)
}

_foreign(root, name, found) := {finding |
	some reported in found
	finding := _at_level(root, name, reported)
	finding.severity != null
} if {
	is_set(found)
} else := {_malformed(root, name, found)}

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
_malformed(root, name, reported) := _denial({
	"code": "main.invalid_finding",
	"subject": rule,
	"message": sprintf("the rule %s reported something that is no finding: %s", [rule, json.marshal(reported)]),
	"fix": concat(" ", [
		"let `findings` be a set of objects with exactly the keys code (the name of the rule, a dot, the name of the check),",
		"subject, path (a list of keys, each a text or a place in a list), message and fix",
	]),
}) if {
	rule := sprintf("%s.rules.%s", [root, name])
}

# A finding at its level. One that is disabled has no severity.
_at_level(root, name, reported) := finding if {
	is_string(reported.code)
	parts := split(reported.code, ".")
	parts[0] == name
	count(parts) > 1
	is_string(reported.subject)
	is_array(reported.path)
	{part | some part in reported.path; not is_string(part); not shape.is_index(part)} == set()
	is_string(reported.message)
	is_string(reported.fix)
	count(reported) == 5
	level := levels.level(root, reported.code)
	finding := object.union(reported, {
		"severity": object.get({"advisory": "warn", "soft": "deny", "hard": "deny"}, level, null),
		"enforcement": level,
		"waiver": null,
		"override": null,
		"effective_on": null,
	})
} else := _malformed(root, name, reported)

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
_malformed_input := _denial({
	"code": "main.invalid_input",
	"subject": "input",
	"message": "the document that was handed to the policy is not a policy input of schema version 1",
	"fix": "hand over what `flowyml-policy schema input` describes, made by a flowyml-policy as new as the policy",
})

# METADATA
# title: A level is malformed
# description: |
#   What data.org.levels gives is no level, or is no mapping of codes to levels; or it, or policies.levels of the
#   project, names a code that is not in the catalogue or begins with `main.`, which always denies.
# related_resources:
#   - ref: https://www.openpolicyagent.org/docs/management-bundles
#     description: How data reaches the policy in a bundle
# custom:
#   code: main.levels
#   enforcement: hard
#   why: A misspelt level could switch a rule off, or leave one off that was meant to deny. Under a misspelt code it does nothing.
_in_any_input contains finding if {
	some problem in levels.problems
	finding := _denial(object.union(problem, {"code": "main.levels"}))
}

# METADATA
# title: The company gives what nobody reads
# description: |
#   data.org is no mapping, or has a key other than environments, levels, rule_data, rules, lib (what the rules share)
#   and catalogue, which are all that this version reads.
# related_resources:
#   - ref: https://www.openpolicyagent.org/docs/management-bundles
#     description: How data reaches the policy in a bundle
# custom:
#   code: main.company
#   enforcement: hard
#   why: Under a misspelt key, or one for a later version, a demand of the company is one that nobody checks.
_not_read(subject, message, fix) := _denial({"code": "main.company", "subject": subject, "message": message, "fix": fix})

_in_any_input contains finding if some finding in _company

# With rules of the company, which have a catalogue, to mention data.org would run all that stands beside them.
_company := found if {
	data.org.catalogue
	found := _of_company(data.org) with data.org.rules as null with data.org.lib as null with data.org.catalogue as null
} else := _of_company(data.org)

_of_company(company) := {finding |
	some key in (object.keys(company) - {"catalogue", "environments", "levels", "lib", "rule_data", "rules"})
	finding := _not_read(
		sprintf("data.org.%s", [key]),
		sprintf("data.org.%s of the company's policy is no key that this version reads", [key]),
		"correct the key, or use a version of flowyml-policy that reads it; this one reads environments, levels and rule_data",
	)
} if {
	is_object(company)
} else := {_not_read(
	"data.org",
	"data.org, the company's policy, is no mapping",
	"let data.org be a mapping, for example {\"levels\": {}}, or leave it out",
)}

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
_unread(subject, message, fix) := _denial({"code": "main.rule_data", "subject": subject, "message": message, "fix": fix})

_in_valid_input contains finding if {
	some rule, sources in rule_data.given
	not rule in _rules
	some source in sources
	finding := _unread(
		source.place,
		sprintf("%s gives data to a rule that is not loaded", [source.place]),
		sprintf("correct the name of the rule; these are loaded: %s", [text.listing(_rules)]),
	)
}

_in_any_input contains finding if {
	said := data.org.rule_data
	not is_object(said)
	finding := _unread(
		"data.org.rule_data",
		"data.org.rule_data of the company's policy is no mapping of rules to their data",
		"let data.org.rule_data map names of rules to their data, or leave it out",
	)
}

# METADATA
# title: A bundle has expired
# description: |
#   A loaded bundle states in its manifest that it is not to be used from an instant on, `metadata.expires`, and the
#   decision is not before that instant; or what it states is no instant.
# related_resources:
#   - ref: https://www.openpolicyagent.org/docs/management-bundles#bundle-file-format
#     description: What a bundle says of itself
# custom:
#   code: main.expired
#   enforcement: hard
#   why: Somebody may keep a newer policy from arriving. Past its time the old one must not go on allowing.
_in_valid_input contains finding if {
	some name
	expires := data.system.bundles[name].manifest.metadata.expires
	not _is_before(input.evaluated_at, expires)
	finding := _denial({
		"code": "main.expired",
		"subject": sprintf("bundle %s", [name]),
		"message": sprintf("the bundle %s is not to be used from %s on", [name, json.marshal(expires)]),
		"fix": "let a newer bundle be published, and see that it can be reached from here",
	})
}

_is_before(one, another) if instants.nanoseconds(one) < instants.nanoseconds(another)

# The names of the rules, by the catalogues.
_rules := data.flowyml.catalogue.rules if {
	not data.org.catalogue
	not data.project.catalogue
} else := sort({name | some name in data.flowyml.catalogue.rules} | ({name | some name in data.org.catalogue.rules} | {name | some name in data.project.catalogue.rules}))

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

_codes["flowyml"] := data.flowyml.catalogue.codes

_codes["org"] := data.org.catalogue.codes

_codes["project"] := data.project.catalogue.codes

_in_force(root, code) := levels.level(root, code) if not startswith(code, "main.")

_in_force(_, code) := "hard" if startswith(code, "main.")
