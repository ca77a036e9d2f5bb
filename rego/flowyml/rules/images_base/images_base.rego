# METADATA
# title: Bases of images
# description: Every image that a stack names is built on an image that is allowed, and its layers prove it.
package flowyml.rules.images_base

import data.flowyml.lib.images
import data.flowyml.lib.rule_data
import data.flowyml.lib.text

# METADATA
# title: The image is built on an allowed base
# description: |
#   Every platform of every image that was inspected is built on an image of every list of bases that is set: the company's
#   (rule_data.images_base.allowed) and the project's (policies.image_policy.allowed_bases,
#   policies.rule_data.images_base.allowed). An entry is `repo@sha256:...` or `repo:tag`, which means what the tag names
#   today. What proves it is that the platform's layers begin with all layers of the base for the same machine, or signed
#   provenance that names the base's digest. An annotation of the image itself is a claim, and proves nothing. An empty list
#   allows no image; a base that cannot be read makes none pass.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/config.md
#     description: The digests of an image's layers
# custom:
#   code: images_base.not_allowed
#   enforcement: hard
#   needs: facts
#   why: |
#     Most of what is in an image comes from its base, and so do most of its vulnerabilities. A base that the company keeps
#     is one that somebody patches.
findings contains finding if {
	some [image, platform, owner, entries] in _unproved
	some path in images.paths(image)
	finding := {
		"code": "images_base.not_allowed",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%s is not shown to be built on a base that %s allows: %s%s", [
			images.named(image, platform),
			_owners[owner],
			text.listing(entries),
			_unread(entries),
		]),
		"fix": concat(" ", [
			"build it anew on an allowed base as that is today and push it; its first layers must be all layers of the base,",
			"so do not squash them",
		]),
	}
}

# METADATA
# title: The image only claims its base
# description: |
#   An image of which no allowed base is proved says by its annotation `org.opencontainers.image.base.name` what it is built
#   on. Asked only where bases are listed.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/annotations.md
#     description: The annotation that names a base
# custom:
#   code: images_base.claimed
#   enforcement: advisory
#   needs: facts
#   why: Whoever builds an image can write any annotation on it.
findings contains finding if {
	some [image, platform, _, _] in _unproved
	platform.base.how == "claim"
	some path in images.paths(image)
	finding := {
		"code": "images_base.claimed",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%s claims to be built on %q, but nothing proves that it is built on an allowed base", [
			images.named(image, platform),
			platform.base.ref,
		]),
		"fix": "do not rely on the annotation: an allowed base is proved by its layers, or by signed provenance",
	}
}

# METADATA
# title: The data of this rule can be used
# description: What the company or the project gives as rule_data.images_base has keys and values that the rule reads.
# related_resources:
#   - ref: https://github.com/distribution/reference
#     description: The grammar of references
# custom:
#   code: images_base.rule_data
#   enforcement: hard
#   why: Data that cannot be read is a demand that cannot be checked.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.images_base, {"allowed": {
		"pattern": _reference,
		"wanted": "a list of image references, each as `repo:tag` or `repo@sha256:...`",
	}})
	finding := {
		"code": "images_base.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

# What the engine can ask a registry for. A reference with neither tag nor digest would name whatever is newest.
_reference := concat("", [
	`^([A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?/|\[[0-9A-Fa-f:]+\](:[0-9]+)?/)?`,
	`[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`,
	`(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?@sha256:[0-9a-f]{64})$`,
])

# Each platform that a list does not allow, with who gives the list.
_unproved contains [image, platform, owner, entries] if {
	some owner, entries in images.base_lists
	some image in images.inspected
	some platform in image.platforms
	not _proved(platform, entries)
}

_proved(platform, entries) if {
	some base in input.bases
	base.ref in entries
	_is_base(base, platform)
}

_is_base(base, platform) if {
	base.diff_ids != []
	_machine(base.platform) == _machine(platform.platform)
	array.slice(platform.diff_ids, 0, count(base.diff_ids)) == base.diff_ids
}

_is_base(base, platform) if {
	platform.base.how == "provenance"
	base.digest == platform.base.digest
	base.digest != null
}

# The variant of a processor is often left out.
_machine(platform) := array.slice(split(platform, "/"), 0, 2)

default _unread(_) := ""

_unread(entries) := sprintf("; %s could not be read, so that no image can be shown to be built on it", [text.listing(unread)]) if {
	unread := {entry | some entry in entries} - {base.ref |
		some base in input.bases
		base.diff_ids != []
	}
	unread != set()
}

# Who gives each list of bases.
_owners := [
	"the project (policies.image_policy.allowed_bases)",
	"the company's policy (images_base.allowed)",
	"the project (policies.rule_data.images_base.allowed)",
]
