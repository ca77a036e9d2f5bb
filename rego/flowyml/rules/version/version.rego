# METADATA
# title: Versions of stacks
# description: A stack says which version of itself it is, in a form that can be ordered.
package flowyml.rules.version

import data.flowyml.lib.rule_data
import data.flowyml.lib.stack

# METADATA
# title: The stack has a version
# description: metadata.version is given.
# related_resources:
#   - ref: https://semver.org/
#     description: Semantic Versioning 2.0.0
# custom:
#   code: version.missing
#   enforcement: hard
#   why: Without a version nobody can say which definition a run used, nor pin it.
findings contains finding if {
	input.stack.version == null
	not stack.builtin
	finding := {
		"code": "version.missing",
		"subject": input.stack.name,
		"path": ["metadata", "version"],
		"message": sprintf("the stack %q has no version", [input.stack.name]),
		"fix": "add a semantic version to metadata, for example `version: \"1.0.0\"`",
	}
}

# METADATA
# title: The stack's version is semantic
# description: |
#   metadata.version is a version as Semantic Versioning 2.0.0 defines it: MAJOR.MINOR.PATCH without leading zeros,
#   then, if need be, a pre-release after `-` and a build after `+`. A leading `v` is not part of it.
# related_resources:
#   - ref: https://semver.org/
#     description: Semantic Versioning 2.0.0
# custom:
#   code: version.semantic
#   enforcement: hard
#   why: |
#     Only versions of one form can be compared: which is newer, which is a breaking change, which one to pin in
#     production. `latest` or `2.1` says none of it.
findings contains finding if {
	version := input.stack.version
	is_string(version)

	# OPA's own check lets a leading `v` pass, which is no part of a semantic version.
	[semver.is_valid(version), startswith(version, "v")] != [true, false]
	not stack.builtin
	finding := {
		"code": "version.semantic",
		"subject": input.stack.name,
		"path": ["metadata", "version"],
		"message": sprintf("the stack's version %q is not a semantic version", [version]),
		"fix": sprintf("write MAJOR.MINOR.PATCH in quotes, for example `version: %q`", [_nearest]),
	}
}

# METADATA
# title: The data of this rule can be used
# description: The rule reads no data, so that neither the company nor the project gives it any.
# related_resources:
#   - ref: https://semver.org/
#     description: Semantic Versioning 2.0.0
# custom:
#   code: version.rule_data
#   enforcement: hard
#   why: Data that nobody reads is a demand that nobody checks.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.version, {})
	finding := {
		"code": "version.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

# The version that was probably meant: `v1.2.3`, `1.2` and `1` are common ways to miss.
default _nearest := "1.0.0"

_nearest := nearest if {
	bare := trim_left(trim_space(input.stack.version), "vV")
	some ending in ["", ".0", ".0.0"]
	nearest := concat("", [bare, ending])
	semver.is_valid(nearest)
}
