# METADATA
# title: Names of stacks
# description: A stack's name is plain enough to be written anywhere, and it is one that is allowed here.
package flowyml.rules.naming

import data.flowyml.lib.globs
import data.flowyml.lib.rule_data
import data.flowyml.lib.stack
import data.flowyml.lib.text

# METADATA
# title: The stack's name is plain
# description: |
#   metadata.name is 1 to 128 letters, digits, dots, underscores and hyphens, and it begins and ends with a letter or a
#   digit.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
#     description: Why names that reach many systems are kept plain
# custom:
#   code: naming.safe
#   enforcement: hard
#   why: |
#     The name becomes part of paths, labels, log lines and glob matches. Blanks, slashes or invisible characters break
#     them, or make one name pass for another.
findings contains finding if {
	not regex.match(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$`, input.stack.name)
	finding := {
		"code": "naming.safe",
		"subject": input.stack.name,
		"path": ["metadata", "name"],
		"message": sprintf("the stack's name %q is not plain", [input.stack.name]),
		"fix": sprintf("use letters, digits, `.`, `_` and `-`, at most 128, with a letter or digit at both ends%s", [_example]),
	}
}

# METADATA
# title: The stack's name is allowed
# description: |
#   metadata.name matches a pattern of every list of allowed stacks that is set: the company's
#   (rule_data.naming.allowed_stacks) and the project's (policies.allowed_stacks). In a pattern `*` stands for any
#   characters. An empty list allows no stack.
# related_resources:
#   - ref: https://www.openpolicyagent.org/docs/policy-reference/builtins/glob
#     description: What a pattern may hold
# custom:
#   code: naming.allowed_stacks
#   enforcement: hard
#   why: |
#     The platform team vouches for the stacks it names. Any other stack runs with machines, images and secrets that
#     nobody has looked at.
findings contains finding if {
	name := input.stack.name
	some place, patterns in [
		object.get(rule_data.company, ["naming", "allowed_stacks"], null),
		input.project.policies.allowed_stacks,
		object.get(input.project.policies.rule_data, ["naming", "allowed_stacks"], null),
	]
	is_array(patterns)
	{pattern | some pattern in patterns; globs.matches(pattern, name)} == set()
	not stack.builtin
	listing := text.listing(patterns)
	[owner, remedy] := _places[place]
	finding := {
		"code": "naming.allowed_stacks",
		"subject": name,
		"path": ["metadata", "name"],
		"message": sprintf("the stack's name %q is not allowed: %s allows %s", [name, owner, listing]),
		"fix": object.get(
			{0: "have a pattern for this stack added to the list"}, count(patterns),
			sprintf("use a stack whose name matches %s, or %s", [listing, remedy]),
		),
	}
}

# METADATA
# title: The data of this rule can be used
# description: What the company or the project gives as rule_data.naming has keys and values that the rule reads.
# related_resources:
#   - ref: https://www.openpolicyagent.org/docs/policy-reference/builtins/glob
#     description: What a pattern may hold
# custom:
#   code: naming.rule_data
#   enforcement: hard
#   why: Data that cannot be read is a demand that cannot be checked.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.naming, {"allowed_stacks": {
		"pattern": globs.form,
		"wanted": "a list of patterns for names of stacks",
	}})
	finding := {
		"code": "naming.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

# The nearest plain name, if anything of the name can be kept.
default _example := ""

_example := sprintf(", for example %q", [nearest]) if {
	plain := regex.replace(input.stack.name, `[^A-Za-z0-9._-]+`, "-")
	nearest := trim(substring(trim(plain, "-._"), 0, 128), "-._")
	nearest != ""
}

# Who gives each list of patterns, and how to have one more added.
_places := [
	["the company's policy (naming.allowed_stacks)", "ask the platform team to allow this one"],
	["the project (policies.allowed_stacks)", "add a pattern for this one to the list in flowyml.yaml"],
	["the project (policies.rule_data.naming.allowed_stacks)", "add a pattern for this one to the list in flowyml.yaml"],
]
