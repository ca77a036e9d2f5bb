package project.rules.gpu

# METADATA
# title: Nobody waits for this
# description: This rule counts to a thousand million.
# custom:
#   code: gpu.slow
#   enforcement: hard
#   why: To show what a slow rule does.
findings contains finding if {
	some a in numbers.range(1, 1000)
	some b in numbers.range(1, 1000)
	some c in numbers.range(1, 1000)
	((a * b) * c) < 0
	finding := {"code": "gpu.slow", "subject": "x", "path": [], "message": "m", "fix": "f"}
}
