# METADATA
# title: Cost centres
# description: A stack says who pays for it.
package org.rules.cost_centre

# METADATA
# title: The stack names a cost centre
# description: The label `cost_centre` is two letters, a hyphen and four digits, as in ML-0042.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
#     description: What labels are
# custom:
#   code: cost_centre.format
#   enforcement: hard
#   why: Machines that nobody is billed for are machines that nobody switches off.
findings contains finding if {
	input.source.kind != "builtin"
	centre := object.get(input.stack.labels, "cost_centre", "")
	not regex.match(`^[A-Z]{2}-[0-9]{4}$`, centre)
	finding := {
		"code": "cost_centre.format",
		"subject": "cost_centre",
		"path": ["metadata", "labels", "cost_centre"],
		"message": sprintf("the label cost_centre is %q, which is no cost centre", [centre]),
		"fix": "write the cost centre that pays for it, as ML-0042",
	}
}
