package project.rules.gpu

findings contains finding if {
	input.stack.name == "prod"
	finding := {"code": "gpu.name", "subject": "x", "path": [], "message": "prod is taken", "fix": "find another"}
}
