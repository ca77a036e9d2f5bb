# METADATA
# title: Platforms of images
# description: Every image that a stack names exists for the machines that the stack runs on.
package flowyml.rules.images_platform

import data.flowyml.lib.images
import data.flowyml.lib.rule_data
import data.flowyml.lib.text

# METADATA
# title: The image exists for the machines of the backend
# description: |
#   Every image that was inspected has each platform that the company, else what ships, and the project
#   (rule_data.images_platform.required, by `spec.compute.backend`) require of the stack's backend. A platform is `os/arch`,
#   which any variant of it satisfies, or `os/arch/variant`; linux/arm64 is linux/arm64/v8. A daemon shows one platform of
#   an image only. A backend that is not listed requires none.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/image-index.md
#     description: How one image holds several platforms
# custom:
#   code: images_platform.missing
#   enforcement: advisory
#   needs: facts
#   why: |
#     An image built on a laptop with an ARM processor does not start on a cluster of another kind, and that is found out
#     when the run has waited for its machines.
findings contains finding if {
	some image in images.inspected
	lacking := images.required_platforms - _offered(image)
	lacking != set()
	some path in images.paths(image)
	finding := {
		"code": "images_platform.missing",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%s has the platform %s, but for the backend %q it must have %s", [
			images.named(image, null),
			text.listing({platform.platform | some platform in image.platforms}),
			input.stack.spec.compute.backend,
			text.listing(lacking),
		]),
		"fix": sprintf("build the image for it as well, for example with `docker buildx build --push --platform %s`", [concat(
			",",
			sort({platform.platform | some platform in image.platforms} | lacking),
		)]),
	}
}

# METADATA
# title: The data of this rule can be used
# description: What the company or the project gives as rule_data.images_platform has keys and values that the rule reads.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/image-index.md
#     description: How one image holds several platforms
# custom:
#   code: images_platform.rule_data
#   enforcement: hard
#   why: Data that cannot be read is a demand that cannot be checked.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.images_platform, {"required": {
		"mapping": {"key_pattern": `^\S+$`, "pattern": `^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?$`},
		"wanted": "a mapping of backends to lists of platforms, each as `os/arch` or `os/arch/variant`",
	}})
	finding := {
		"code": "images_platform.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

# What an image has, in every spelling that may be asked for.
_offered(image) := {spelling |
	some platform in image.platforms
	machine := concat("/", array.slice(split(platform.platform, "/"), 0, 2))
	some spelling in [platform.platform, machine, object.get(_with_variant, platform.platform, machine)]
}

_with_variant := {"linux/arm64": "linux/arm64/v8"}
