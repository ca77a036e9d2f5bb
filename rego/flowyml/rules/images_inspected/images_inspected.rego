# METADATA
# title: Inspection of images
# description: |
#   What an image really is has been looked at, wherever policy has to know. A reference that cannot be read is the
#   business of images_registry: behind it is nothing to inspect.
package flowyml.rules.images_inspected

import data.flowyml.lib.rule_data
import data.flowyml.lib.text

# METADATA
# title: Images are not inspected
# description: The settings switch the inspection of images off, so that nothing is known of them but their names.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/config.md
#     description: What an image says of itself
# custom:
#   code: images_inspected.off
#   enforcement: advisory
#   why: A name says where an image comes from, not what is in it, who it runs as, or whether it exists at all.
findings contains finding if {
	some image in input.images
	image.via == "off"
	image.registry != null
	not _guessed(image)

	# Where no place is known, the one path is []: asked for an empty path, object.get gives the object itself.
	some path in object.get({0: []}, image.paths, image.paths)
	finding := {
		"code": "images_inspected.off",
		"subject": image.ref,
		"path": path,
		"message": sprintf("the image %q was not inspected: inspection is switched off", [image.ref]),
		"fix": "look at the image yourself, for example with `docker image inspect`: this version inspects none",
	}
}

# METADATA
# title: The image could be inspected
# description: The inspection of every image that the stack names succeeded, unless inspection is switched off.
# related_resources:
#   - ref: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
#     description: How a registry answers
# custom:
#   code: images_inspected.failed
#   enforcement: hard
#   why: An image that cannot be looked at cannot be judged, and most often cannot be pulled either.
findings contains finding if {
	some image in input.images
	image.via != "off"
	image.registry != null
	image.inspected != true
	not _guessed(image)
	some path in object.get({0: []}, image.paths, image.paths)
	finding := {
		"code": "images_inspected.failed",
		"subject": image.ref,
		"path": path,
		"message": sprintf("the image %q could not be inspected: %s", [image.ref, _reason(image.error)]),
		"fix": "check that the image exists and that you may pull it, for example with `docker pull`, then try again",
	}
}

# METADATA
# title: An image whose labels count was inspected
# description: |
#   Where the company (rule_data.images_inspected.required_labels) or the project (policies.image_policy.required_labels)
#   requires labels of images, every image that the stack names was inspected.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/annotations.md
#     description: Labels that images commonly have
# custom:
#   code: images_inspected.required
#   enforcement: hard
#   why: Labels stand in the image. Without an inspection nobody can say that the required ones are there.
findings contains finding if {
	labels := {label |
		label := [
			object.get(rule_data.company, ["images_inspected", "required_labels"], []),
			input.project.policies.image_policy.required_labels,
			object.get(input.project.policies.rule_data, ["images_inspected", "required_labels"], []),
		][_][_]
	}
	labels != set()
	some image in input.images
	image.registry != null
	image.inspected != true
	not _guessed(image)
	some path in object.get({0: []}, image.paths, image.paths)
	finding := {
		"code": "images_inspected.required",
		"subject": image.ref,
		"path": path,
		"message": sprintf("the image %q must have the labels %s, but it was not inspected", [image.ref, text.listing(labels)]),
		"fix": _advice(image.via),
	}
}

# METADATA
# title: The data of this rule can be used
# description: |
#   What the company or the project gives as rule_data.images_inspected has keys and values that the rule reads.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/annotations.md
#     description: Labels that images commonly have
# custom:
#   code: images_inspected.rule_data
#   enforcement: hard
#   why: Data that cannot be read is a demand that cannot be checked.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.images_inspected, {"required_labels": {
		"pattern": `^[^=\s]([^=]*[^=\s])?(=\S(.*\S)?)?$`,
		"wanted": "a list of labels, each as `key` or as `key=value`",
	}})
	finding := {
		"code": "images_inspected.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

# What only looks like an image may be none, and no registry is asked about it.
_guessed(image) if image.certainty == "guessed"

default _reason(_) := "no reason is known"

_reason(error) := error.message

_advice("off") := "use a stack without this image, or have the labels taken off the list: this version inspects no images"

_advice(via) := "make the image one that can be inspected: it must exist, and you must be allowed to pull it" if {
	via != "off"
}
