# METADATA
# title: Images
# description: |
#   What more than one rule asks about the images of a stack: which of them were inspected, where they stand, how messages
#   name them, and which codes need to know what is in them.
#
#   A code that reads what an inspection found says `custom.needs: facts`. It judges the images that were inspected;
#   about any other it counts as a demand that nobody could check, which images_inspected.required denies.
package flowyml.lib.images

import data.flowyml.lib.levels
import data.flowyml.lib.rule_data

# METADATA
# description: The images that the stack names, without those that only look like one, or that cannot be read.
judged := [image |
	some image in input.images
	image.registry != null
	image.certainty != "guessed"
]

# METADATA
# description: |
#   Images of which something is known, also what only looks like one: its inspection shows that it is an image. One that
#   found no platform tells nothing.
inspected := [image |
	some image in input.images
	_known(image)
]

# METADATA
# description: Those of which nothing is known.
uninspected := [image |
	some image in judged
	not _known(image)
]

_known(image) if {
	image.inspected
	image.platforms != []
}

# METADATA
# description: Those that are named by a tag, or by nothing, so that the registry says from day to day what they are.
unpinned := [image |
	some image in judged
	not contains(image.ref, "@")
]

# METADATA
# description: Where an image stands. A finding needs a place, so that without one it is [], the stack itself.
paths(image) := image.paths if {
	image.paths != []
} else := [[]]

# METADATA
# description: |
#   An image in a message: its reference, the digest that was judged, and who was asked. `platform` is one of its
#   platforms, or null where a message is about none.
named(image, platform) := sprintf("the image %q (%s)", [image.ref, concat(", ", parts)]) if {
	parts := _parts(image, platform)
	parts != []
} else := sprintf("the image %q", [image.ref])

# METADATA
# description: Labels that every image has, as `key` or as `key=value`, by whoever asks for them.
required_labels := {label |
	label := array.concat(
		[input.project.policies.image_policy.required_labels],
		# Where labels of images were asked for before there was a rule for them.
		array.concat(rule_data.said("images_labels", "required_labels"), rule_data.said("images_inspected", "required_labels")),
	)[_][_]
	is_string(label)
}

# METADATA
# description: |
#   How many seconds old an image may be, by each of those who say so. The smallest counts; where nobody says it, there is
#   none.
age_limits := {seconds |
	some seconds in array.concat(
		[input.project.policies.image_policy.max_age_seconds],
		rule_data.said("images_age", "max_age_seconds"),
	)
	is_number(seconds)
}

# METADATA
# description: |
#   The lists of bases that images may be built on: 0 that of policies.image_policy, 1 the company's, 2 that of the
#   project's rule_data. An image needs a base of every list.
base_lists := {owner: list |
	some owner, list in array.concat(
		[input.project.policies.image_policy.allowed_bases],
		rule_data.said("images_base", "allowed"),
	)
	is_array(list)
}

# METADATA
# description: Platforms that an image must have, as os/arch or os/arch/variant, for the backend that the stack runs on.
required_platforms := {platform |
	backend := input.stack.spec.compute.backend
	some required in rule_data.said("images_platform", "required")
	is_object(required)
	some platform in required[backend]
	is_string(platform)
}

# METADATA
# description: Somebody requires that every image was scanned for vulnerabilities.
scans_required if true in rule_data.said("images_vulnerabilities", "required")

# METADATA
# description: |
#   The codes that have to know what is in an image: those that read facts and deny, but for rules of which nobody asks
#   anything here.
demanded(image) := {code |
	some code in _reading
	not _idle(code, image)
}

# Codes that read facts, at a level that denies, of all three roots. One without a level is hard.
_reading contains code if {
	some code, entry in data.flowyml.catalogue.codes
	entry.needs == "facts"
	not levels.in_force[code].enforcement in {"advisory", "disabled"}
}

_reading contains code if {
	some code, entry in data.org.catalogue.codes
	entry.needs == "facts"
	not levels.level("org", code) in {"advisory", "disabled"}
}

_reading contains code if {
	some code, entry in data.project.catalogue.codes
	entry.needs == "facts"
	not levels.level("project", code) in {"advisory", "disabled"}
}

# Codes that find nothing wrong with any image, because nobody asks for what they check. Another one asks always.
_idle("images_labels.missing", _) if required_labels == set()

_idle("images_labels.value", _) if {
	{label | some label in required_labels; contains(label, "=")} == set()
}

_idle("images_age.limit", _) if age_limits == set()

_idle("images_base.not_allowed", _) if base_lists == {}

_idle("images_base.claimed", _) if base_lists == {}

_idle(code, image) if {
	startswith(code, "images_signature.")
	image.signing == []
}

_idle("images_platform.missing", _) if required_platforms == set()

_idle("images_vulnerabilities.missing", _) if not scans_required

_idle("images_lock.moved", image) if not input.lock.images[image.ref]

# What is known of how an image was judged. Of a digest the first twelve digits tell it from others.
_parts(image, platform) := [part |
	some part in [
		substring(_digest(image, platform), 0, 19),
		object.get(_object(platform), "platform", ""),
		_way(image),
	]
	part != ""
]

_digest(image, platform) := [digest |
	some digest in [object.get(_object(platform), "digest", null), image.digest, ""]
	is_string(digest)
][0]

default _way(_) := ""

_way(image) := sprintf("by the %s", [concat(" ", [word | some word in [image.via, image.endpoint]; word != null])]) if {
	image.via in {"daemon", "registry"}
}

_object(null) := {}

_object(value) := value if is_object(value)
