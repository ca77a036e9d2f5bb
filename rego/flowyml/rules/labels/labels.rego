# METADATA
# title: Labels of stacks
# description: A stack carries the labels that the company and the project ask for.
package flowyml.rules.labels

import data.flowyml.lib.rule_data
import data.flowyml.lib.stack

# METADATA
# title: Every required label is there
# description: |
#   metadata.labels has every key that the company (rule_data.labels.required) or the project
#   (policies.required_labels) asks for, and its value is not blank. Both lists count.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
#     description: What labels are good for
# custom:
#   code: labels.required
#   enforcement: hard
#   why: Labels say who answers for a stack and who pays for it. A stack without them belongs to nobody.
findings contains finding if {
	not stack.builtin
	some key, values in _required
	not key in _filled
	finding := {
		"code": "labels.required",
		"subject": key,
		"path": ["metadata", "labels", key],
		"message": sprintf("the label %q is required, but it %s", [key, _state(key)]),
		"fix": _advice(key, values),
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
	not stack.builtin
	some key in _filled
	some value in _required[key]
	value != ""
	input.stack.labels[key] != value
	finding := {
		"code": "labels.value",
		"subject": key,
		"path": ["metadata", "labels", key],
		"message": sprintf("the label %q must be %q, but it is %q", [key, value, input.stack.labels[key]]),
		"fix": sprintf("if it is true of this stack, set `%s: %q` under metadata.labels", [key, value]),
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

# By key of each required label: the values asked for, "" where any value will do.
_required[key] contains value if {
	some demand in _demands
	is_string(demand)
	key := split(demand, "=")[0]
	value := trim_prefix(substring(demand, count(key), -1), "=")
}

_demands contains demand if some demand in rule_data.company.labels.required

_demands contains demand if some demand in input.project.policies.required_labels

_demands contains demand if some demand in input.project.policies.rule_data.labels.required

# The keys of the labels that say something.
_filled contains key if {
	some key, value in input.stack.labels
	trim_space(value) != ""
}

_state(key) := "is missing" if not input.stack.labels[key]

_state(key) := "is blank" if input.stack.labels[key]

_advice(key, values) := sprintf("add `%s` under metadata.labels, with a value that is true of this stack", [key]) if {
	values == {""}
}

_advice(key, values) := sprintf("add `%s: %q` under metadata.labels, if it is true of this stack", [key, value]) if {
	value := min(values - {""})
}
