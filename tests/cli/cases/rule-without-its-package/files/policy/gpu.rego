package project.gpu

findings contains {
	"code": "gpu.nodes",
	"subject": input.stack.name,
	"path": [],
	"message": "this is never asked",
	"fix": "name the package project.rules.gpu",
}
