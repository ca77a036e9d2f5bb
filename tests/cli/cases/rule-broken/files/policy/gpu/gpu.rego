package project.rules.gpu

# METADATA
# title: Nobody gets through
# description: This rule fails while it is evaluated.
# custom:
#   code: gpu.nodes
#   enforcement: hard
#   why: To show what a failing rule does.
findings contains finding if {
	nodes := to_number(input.stack.name)
	nodes > 2
	finding := {"code": "gpu.nodes", "subject": "x", "path": [], "message": "m", "fix": "f"}
}
