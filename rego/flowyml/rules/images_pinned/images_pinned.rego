# METADATA
# title: Images named by digest
# description: |
#   A stack names its images by digest. The reference alone is judged, so that no image has to be inspected.
package flowyml.rules.images_pinned

import data.flowyml.lib.images
import data.flowyml.lib.rule_data

# METADATA
# title: The image is named by its digest
# description: The reference of every image ends in a digest, as `registry/path@sha256:...` or `registry/path:tag@sha256:...`.
# related_resources:
#   - ref: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
#     description: What a tag and a digest are
# custom:
#   code: images_pinned.digest
#   enforcement: advisory
#   why: A tag names what was pushed last under it. Only a digest says that what was judged is what runs.
findings contains finding if {
	some image in images.unpinned
	some path in images.paths(image)
	finding := {
		"code": "images_pinned.digest",
		"subject": image.ref,
		"path": path,
		"message": sprintf("the image %q is named without a digest", [image.ref]),
		"fix": _advice(image),
	}
}

# METADATA
# title: A digest is required
# description: |
#   Where the company (rule_data.images_pinned.required) or the project (policies.image_policy.require_digest) says so, the
#   reference of every image ends in a digest. One that is built for a run (`run.builds`) has none yet.
# related_resources:
#   - ref: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
#     description: What a tag and a digest are
# custom:
#   code: images_pinned.required
#   enforcement: hard
#   why: A tag that moves brings into production what nobody has judged.
findings contains finding if {
	_required
	some found in _without_digest
	finding := object.union(found, {"code": "images_pinned.required"})
}

# METADATA
# title: The data of this rule can be used
# description: What the company or the project gives as rule_data.images_pinned has keys and values that the rule reads.
# related_resources:
#   - ref: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
#     description: What a tag and a digest are
# custom:
#   code: images_pinned.rule_data
#   enforcement: hard
#   why: Data that cannot be read is a demand that cannot be checked.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.images_pinned, {"required": {
		"boolean": true,
		"wanted": "true or false",
	}})
	finding := {
		"code": "images_pinned.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

_without_digest contains {
	"subject": image.ref,
	"path": path,
	"message": sprintf("the image %q must be named by its digest, which it is not", [image.ref]),
	"fix": _advice(image),
} if {
	some image in images.unpinned
	some path in images.paths(image)
}

_without_digest contains {
	"subject": input.run.builds.ref,
	"path": ["run", "builds"],
	"message": sprintf("an image must be named by its digest, but %q would be built for the run", [input.run.builds.ref]),
	"fix": "build and push it beforehand, and name it by the digest that it was pushed under",
}

_required if input.project.policies.image_policy.require_digest == true

_required if true in rule_data.said("images_pinned", "required")

# The digest that inspection found, behind what the author wrote without its tag.
_advice(image) := sprintf("write `%s@%s`", [trim_suffix(image.ref, concat(":", ["", _tag(image)])), image.digest]) if {
	is_string(image.digest)
} else := "write `@sha256:...` behind it, with the digest that it was pushed under"

_tag(image) := image.tag if is_string(image.tag)

_tag(image) := "" if image.tag == null
