# METADATA
# title: Sizes of images
# description: Images are no larger than machines can pull in a bearable time.
package flowyml.rules.images_size

import data.flowyml.lib.images
import data.flowyml.lib.rule_data

# METADATA
# title: The image is not large
# description: |
#   No platform of an image is larger than rule_data.images_size.max_bytes, as shipped 20 GiB; the smaller of the company's
#   and the project's counts. The size is what a pull brings, or, from a daemon, what the image takes there.
# related_resources:
#   - ref: https://docs.docker.com/build/building/best-practices/
#     description: How images are kept small
# custom:
#   code: images_size.large
#   enforcement: advisory
#   needs: facts
#   why: Every machine that runs the stack pulls the image. It costs time, money and disks that run full.
findings contains finding if {
	some image in images.inspected
	some platform in image.platforms
	platform.size > _limit
	some path in images.paths(image)
	finding := {
		"code": "images_size.large",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%s has %s, more than %s", [images.named(image, platform), _gibibytes(platform.size), _gibibytes(_limit)]),
		"fix": "build it in stages, leave out what only the build needs, and keep data and models out of it",
	}
}

# METADATA
# title: The data of this rule can be used
# description: What the company or the project gives as rule_data.images_size has keys and values that the rule reads.
# related_resources:
#   - ref: https://docs.docker.com/build/building/best-practices/
#     description: How images are kept small
# custom:
#   code: images_size.rule_data
#   enforcement: hard
#   why: Data that cannot be read is a demand that cannot be checked.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.images_size, {"max_bytes": {
		"number": {"least": 1},
		"wanted": "a number of bytes, at least 1",
	}})
	finding := {
		"code": "images_size.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

_limit := min({bytes | some bytes in rule_data.said("images_size", "max_bytes"); is_number(bytes)})

_gibibytes(bytes) := sprintf("%v GiB", [round((bytes * 100) / 1073741824) / 100])
