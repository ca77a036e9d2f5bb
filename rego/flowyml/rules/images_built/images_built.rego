# METADATA
# title: Images that are built
# description: An image that a stack or a run has built is named, so that it can be judged.
package flowyml.rules.images_built

import data.flowyml.lib.images
import data.flowyml.lib.rule_data

# METADATA
# title: The image that is built is named
# description: |
#   What says how to build an image also names the image. A build is `runtime.dockerfile`, a Dockerfile or a build context
#   (`dockerfile`, `build_context`) among what a deployer or a live object is told (spec.deployment, spec.instance), and a
#   run's Docker configuration without `image`. `auto_build: false` switches a build off. The base image of a build is not
#   its result.
# related_resources:
#   - ref: https://docs.docker.com/build/concepts/overview/
#     description: How an image is built
# custom:
#   code: images_built.unnamed
#   enforcement: advisory
#   why: |
#     What is built after policy was asked is an image that nobody judged: no list of registries, labels or bases can be
#     checked against it.
findings contains finding if {
	some build in _unnamed
	finding := {
		"code": "images_built.unnamed",
		"subject": input.stack.name,
		"path": build.path,
		"message": sprintf("%s, and nothing names the image that is built%s", [build.said, _unchecked]),
		"fix": "build and push the image beforehand, and name it in place of the build, best by its digest",
	}
}

# METADATA
# title: The data of this rule can be used
# description: The rule reads no data, so that neither the company nor the project gives it any.
# related_resources:
#   - ref: https://docs.docker.com/build/concepts/overview/
#     description: How an image is built
# custom:
#   code: images_built.rule_data
#   enforcement: hard
#   why: Data that nobody reads is a demand that nobody checks.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.images_built, {})
	finding := {
		"code": "images_built.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

# FlowyML's own schema has a key for the base of the image, which is docker_image here, and none for the image itself.
_unnamed contains {"path": path, "said": _tells(path)} if {
	runtime := input.stack.spec.runtime
	_says(runtime.dockerfile)
	_is_built(runtime)
	path := ["spec", "runtime", "dockerfile"]
}

_unnamed contains {"path": path, "said": _tells(path)} if {
	some section in ["deployment", "instance"]
	walk(input.stack.spec[section], [at, node])
	keys := [key |
		some key, value in node
		_says(value)
		_letters(key) in {"buildcontext", "dockerfile"}
	]
	key := keys[count(keys) - 1]
	_is_built(node)
	not _names_image(node)
	not _named_around(input.stack.spec[section], at)
	path := array.concat(["spec", section], array.concat(at, [key]))
}

# What a run is told stands in no definition.
_unnamed contains {"path": [], "said": "the run's Docker configuration says to build an image"} if {
	is_object(input.run.docker_config)
	_is_built(input.run.docker_config)
	not _names_image(input.run.docker_config)
}

_tells(path) := sprintf("%s says to build an image", [concat(".", [sprintf("%v", [key]) | some key in path])])

_says(value) if not value in {null, false, ""}

_is_built(node) if object.get(node, "auto_build", true) != false

# A base image is what a build begins with.
_names_image(node) if {
	some key, value in node
	is_string(value)
	value != ""
	regex.match(`image(uri|ref|reference)?$`, _letters(key))
	not contains(_letters(key), "baseimage")
}

# As in a compose file: `build` beside `image`.
_named_around(section, at) if {
	_letters(at[count(at) - 1]) == "build"
	_names_image(object.get({0: section}, array.concat([0], array.slice(at, 0, count(at) - 1)), null))
}

# A key by its letters alone, so that dockerFile and docker_file are one. A place in a list has none.
_letters(key) := lower(regex.replace(key, `[^A-Za-z]+`, "")) if is_string(key)

_unchecked := sprintf("; it cannot be checked against %s", [concat(", ", _lists)]) if {
	_lists != set()
} else := ""

_lists contains "allowed_registries" if {
	some list in array.concat(
		[input.project.policies.image_policy.allowed_registries],
		rule_data.said("images_registry", "allowed_registries"),
	)
	is_array(list)
}

_lists contains "required_labels" if images.required_labels != set()

_lists contains "allowed_bases" if images.base_lists != {}
