# METADATA
# title: Where stacks come from
# description: The stack that comes with the program is used only where the company lets it be used.
package flowyml.rules.source

import data.flowyml.lib.rule_data
import data.flowyml.lib.stack

# METADATA
# title: The built-in stack may be used here
# description: |
#   The stack that comes with the program, `local`, is not used in an environment whose entry in data.org.environments
#   says `builtin: deny`. Where nothing is said, it is allowed.
# related_resources:
#   - ref: https://12factor.net/dev-prod-parity
#     description: Why development and production are kept apart, and alike
# custom:
#   code: source.builtin
#   enforcement: hard
#   why: |
#     The built-in stack runs on the machine at hand with whatever is installed there. In production nobody could say
#     later what a model was trained with.
findings contains finding if {
	stack.builtin
	some environment in input.environments
	object.get(_environments, [environment, "builtin"], "allow") == "deny"
	finding := {
		"code": "source.builtin",
		"subject": environment,
		"path": [],
		"message": sprintf("the built-in stack %q may not be used in the environment %q", [input.stack.name, environment]),
		"fix": sprintf("name a stack for it, in flowyml.yaml under `environments.%s.stack` or where you run", [environment]),
	}
}

# METADATA
# title: The data of this rule can be used
# description: |
#   data.org.environments maps names of environments to entries, and `builtin` of an entry is allow or deny. The rule
#   reads no other data.
# related_resources:
#   - ref: https://www.openpolicyagent.org/docs/management-bundles
#     description: How data reaches the policy in a bundle
# custom:
#   code: source.rule_data
#   enforcement: hard
#   why: A misspelt word would let the built-in stack into production.
findings contains finding if {
	some problem in _problems
	finding := {
		"code": "source.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

_problems contains problem if some problem in rule_data.problems(rule_data.given.source, {})

default _given := {}

_given := data.org.environments

default _environments := {}

_environments := _given if is_object(_given)

_problems contains problem if {
	not is_object(_given)
	problem := {
		"subject": "data.org.environments",
		"message": "data.org.environments is no mapping of environments to entries",
		"fix": "let data.org.environments map each name to an entry such as {\"builtin\": \"deny\"}, or leave it out",
	}
}

_problems contains problem if {
	some environment, entry in _environments
	not is_object(entry)
	place := sprintf("data.org.environments.%s", [environment])
	problem := {
		"subject": place,
		"message": sprintf("%s is no mapping", [place]),
		"fix": sprintf("let %s be an entry such as {\"builtin\": \"deny\"}, or leave it out", [place]),
	}
}

_problems contains problem if {
	some environment, entry in _environments
	some key, _ in entry
	key != "builtin"
	place := sprintf("data.org.environments.%s.%s", [environment, key])
	problem := {
		"subject": place,
		"message": sprintf("%s is no key that this version reads", [place]),
		"fix": "correct the key, or use a version of flowyml-policy that reads it",
	}
}

_problems contains problem if {
	some environment, entry in _environments
	word := entry.builtin
	not word in {"allow", "deny"}
	place := sprintf("data.org.environments.%s.builtin", [environment])
	problem := {
		"subject": place,
		"message": sprintf("%s must be allow or deny, but it is %s", [place, json.marshal(word)]),
		"fix": sprintf("let %s be allow or deny", [place]),
	}
}
