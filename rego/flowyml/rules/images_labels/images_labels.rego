# METADATA
# title: Labels of images
# description: Every image that a stack names carries the labels that the company and the project ask for.
package flowyml.rules.images_labels

import data.flowyml.lib.images
import data.flowyml.lib.rule_data
import data.flowyml.lib.text

# METADATA
# title: Every required label of an image is there
# description: |
#   Every platform of every image has the labels that the company (rule_data.images_labels.required_labels) or the project
#   (policies.image_policy.required_labels) asks for, and their values show something. All lists count, also
#   rule_data.images_inspected.required_labels, where they stood before. Labels of the image itself count, not those of a
#   stack, a manifest or an index.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/annotations.md
#     description: Labels that images commonly have
# custom:
#   code: images_labels.missing
#   enforcement: hard
#   needs: facts
#   why: Labels say who answers for an image and what it was built from. An image without them belongs to nobody.
findings contains finding if {
	some demand in images.required_labels
	key := split(demand, "=")[0]
	some image in images.inspected
	some platform in image.platforms
	not text.shows(object.get(platform.labels, key, ""))
	some path in images.paths(image)
	finding := {
		"code": "images_labels.missing",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%s must have the label %q, but it %s", [images.named(image, platform), key, _state(platform, key)]),
		"fix": _advice(key),
	}
}

# METADATA
# title: Every required label of an image has the required value
# description: |
#   Where the company or the project asks for a label with its value (`approved=true`), every platform of every image has
#   exactly that value.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/annotations.md
#     description: Labels that images commonly have
# custom:
#   code: images_labels.value
#   enforcement: hard
#   needs: facts
#   why: A label such as `approved` means something only if its value is the one that was agreed on.
findings contains finding if {
	some demand in images.required_labels
	contains(demand, "=")
	key := split(demand, "=")[0]
	some image in images.inspected
	some platform in image.platforms
	value := platform.labels[key]
	text.shows(value)
	concat("=", [key, value]) != demand
	some path in images.paths(image)
	finding := {
		"code": "images_labels.value",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%s must have the label %q with the value %q, but it is %q", [
			images.named(image, platform),
			key,
			_value(demand),
			value,
		]),
		"fix": sprintf("write `LABEL %s=%q` in its Dockerfile, if it is true of this image, %s", [key, _value(demand), _again]),
	}
}

# METADATA
# title: The data of this rule can be used
# description: What the company or the project gives as rule_data.images_labels has keys and values that the rule reads.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/annotations.md
#     description: Labels that images commonly have
# custom:
#   code: images_labels.rule_data
#   enforcement: hard
#   why: Data that cannot be read is a demand that cannot be checked.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.images_labels, {"required_labels": {
		"pattern": `^[^=\s]([^=]*[^=\s])?(=\S(.*\S)?)?$`,
		"wanted": "a list of labels, each as `key` or as `key=value`",
	}})
	finding := {
		"code": "images_labels.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

_value(demand) := substring(demand, indexof(demand, "=") + 1, -1)

_state(platform, key) := "is missing" if not platform.labels[key]

_state(platform, key) := "is blank" if platform.labels[key]

_advice(key) := sprintf("add a line `LABEL %s=%q` to its Dockerfile, if it is true of this image, %s", [key, min(_values(key)), _again])

_advice(key) := sprintf("add a line `LABEL %s=...` to its Dockerfile, with a value that is true of this image, %s", [key, _again]) if {
	count(_values(key)) == 0
}

_again := "build it again and push it"

_values(key) := {_value(demand) |
	some demand in images.required_labels
	startswith(demand, concat("", [key, "="]))
}
