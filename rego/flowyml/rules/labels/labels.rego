# METADATA
# title: Labels of stacks
# description: A stack carries the labels that the company and the project ask for.
package flowyml.rules.labels

import data.flowyml.lib.rule_data
import data.flowyml.lib.stack
import data.flowyml.lib.text

# METADATA
# title: Every required label is there
# description: |
#   metadata.labels has every key that the company (rule_data.labels.required) or the project
#   (policies.required_labels) asks for, and its value shows something. Both lists count.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
#     description: What labels are good for
# custom:
#   code: labels.required
#   enforcement: hard
#   why: Labels say who answers for a stack and who pays for it. A stack without them belongs to nobody.
findings contains finding if {
	labels := input.stack.labels
	some demand in _demands
	key := split(demand, "=")[0]
	not text.shows(object.get(labels, key, ""))
	not stack.builtin
	finding := {
		"code": "labels.required",
		"subject": key,
		"path": ["metadata", "labels", key],
		"message": sprintf("the label %q is required, but it %s", [key, _state(key)]),
		"fix": _advice(key),
	}
}

# METADATA
# title: Every required label has the required value
# description: |
#   Where the company or the project asks for a label with its value (`approved=true`), the label has exactly that
#   value.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
#     description: What labels are good for
# custom:
#   code: labels.value
#   enforcement: hard
#   why: A label such as `approved` means something only if its value is the one that was agreed on.
findings contains finding if {
	some demand in _demands
	contains(demand, "=")
	key := split(demand, "=")[0]
	value := input.stack.labels[key]
	text.shows(value)
	concat("=", [key, value]) != demand
	not stack.builtin
	finding := {
		"code": "labels.value",
		"subject": key,
		"path": ["metadata", "labels", key],
		"message": sprintf("the label %q must be %q, but it is %q", [key, _value(demand), value]),
		"fix": sprintf("if it is true of this stack, set `%s: %q` under metadata.labels", [key, _value(demand)]),
	}
}

# METADATA
# title: The data of this rule can be used
# description: What the company or the project gives as rule_data.labels has keys and values that the rule reads.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
#     description: What labels are good for
# custom:
#   code: labels.rule_data
#   enforcement: hard
#   why: Data that cannot be read is a demand that cannot be checked.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.labels, {"required": {
		"pattern": `^[^=\s]([^=]*[^=\s])?(=\S(.*\S)?)?$`,
		"wanted": "a list of labels, each as `key` or as `key=value`",
	}})
	finding := {
		"code": "labels.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

# What every list asks for, each as `key` or as `key=value`. Other values are what rule_data is about.
_demands := {demand |
	demand := [
		object.get(rule_data.company, ["labels", "required"], []),
		input.project.policies.required_labels,
		object.get(input.project.policies.rule_data, ["labels", "required"], []),
	][_][_]
	is_string(demand)
}

_value(demand) := substring(demand, indexof(demand, "=") + 1, -1)

_state(key) := "is missing" if not input.stack.labels[key]

_state(key) := "is blank" if input.stack.labels[key]

_advice(key) := sprintf("add `%s: %q` under metadata.labels, if it is true of this stack", [key, min(_values(key))])

_advice(key) := sprintf("add `%s` under metadata.labels, with a value that is true of this stack", [key]) if {
	count(_values(key)) == 0
}

_values(key) := {_value(demand) |
	some demand in _demands
	startswith(demand, concat("", [key, "="]))
}
