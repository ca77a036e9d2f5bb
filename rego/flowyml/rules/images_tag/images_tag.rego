# METADATA
# title: Tags of images
# description: |
#   The tags by which a stack names its images say which image is meant. A digest makes a tag not count. The reference alone
#   is judged, so that no image has to be inspected.
package flowyml.rules.images_tag

import data.flowyml.lib.globs
import data.flowyml.lib.images
import data.flowyml.lib.rule_data
import data.flowyml.lib.text

# METADATA
# title: The tag is none that moves
# description: |
#   The tag of every image that is named without a digest is not one of rule_data.images_tag.mutable, tags that are moved
#   with each build or release. An image without a tag has the tag `latest`.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/containers/images/#image-names
#     description: Why Kubernetes advises against the tag latest
# custom:
#   code: images_tag.mutable
#   enforcement: advisory
#   why: Such a tag means another image every week, so that two runs of one stack are not the same.
findings contains finding if {
	some image in images.unpinned
	tag := _tag(image)
	tag in _mutable
	some path in images.paths(image)
	finding := {
		"code": "images_tag.mutable",
		"subject": image.ref,
		"path": path,
		"message": sprintf("the image %q has %s, which moves from one image to the next", [image.ref, _words(image, tag)]),
		"fix": _advice,
	}
}

# METADATA
# title: The tag is allowed
# description: |
#   The tag of every image that is named without a digest matches no pattern of the company
#   (rule_data.images_tag.denied) or the project (policies.image_policy.deny_tags). In a pattern `*` stands for any
#   characters; one that cannot be read denies every tag. An image without a tag has the tag `latest`.
# related_resources:
#   - ref: https://www.openpolicyagent.org/docs/policy-reference/builtins/glob
#     description: What a pattern may hold
# custom:
#   code: images_tag.denied
#   enforcement: hard
#   why: Tags that the company denies stand for images that it does not want to run, such as builds of branches.
findings contains finding if {
	some image in images.unpinned
	tag := _tag(image)
	patterns := {pattern | some pattern in _denied; _denies(pattern, tag)}
	patterns != set()
	some path in images.paths(image)
	finding := {
		"code": "images_tag.denied",
		"subject": image.ref,
		"path": path,
		"message": sprintf("the image %q has %s, and tags that match %s are denied", [image.ref, _words(image, tag), text.listing(patterns)]),
		"fix": _advice,
	}
}

# METADATA
# title: The data of this rule can be used
# description: What the company or the project gives as rule_data.images_tag has keys and values that the rule reads.
# related_resources:
#   - ref: https://www.openpolicyagent.org/docs/policy-reference/builtins/glob
#     description: What a pattern may hold
# custom:
#   code: images_tag.rule_data
#   enforcement: hard
#   why: Data that cannot be read is a demand that cannot be checked.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.images_tag, {
		"denied": {
			"pattern": globs.form,
			"wanted": "a list of patterns for tags",
		},
		"mutable": {
			"pattern": `^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`,
			"wanted": "a list of tags",
		},
	})
	finding := {
		"code": "images_tag.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

_denied := {pattern |
	pattern := array.concat(
		[input.project.policies.image_policy.deny_tags],
		rule_data.said("images_tag", "denied"),
	)[_][_]
	is_string(pattern)
}

# A pattern that cannot be read denies every tag.
_denies(pattern, tag) if globs.matches(pattern, tag)

_denies(pattern, _) if not globs.readable(pattern)

_mutable := {tag | tag := rule_data.said("images_tag", "mutable")[_][_]}

_tag(image) := object.get({null: "latest"}, image.tag, image.tag)

_words(image, tag) := sprintf("the tag %q", [tag]) if image.tag != null

_words(image, tag) := sprintf("no tag, which means %q", [tag]) if image.tag == null

_advice := "name the image by a tag that stays where it is, such as a version, or by its digest"
