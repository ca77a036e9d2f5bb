# METADATA
# title: Registries of images
# description: Every image that a stack names comes from a registry that is allowed.
package flowyml.rules.images_registry

import data.flowyml.lib.rule_data
import data.flowyml.lib.text

# METADATA
# title: The image reference can be read
# description: |
#   Every image that the stack names is a reference as the Docker Engine reads it: an optional registry, a path in lower
#   case, an optional tag, an optional digest.
# related_resources:
#   - ref: https://github.com/distribution/reference
#     description: The grammar of references
# custom:
#   code: images_registry.reference
#   enforcement: hard
#   why: |
#     Tools read an odd reference in different ways. The registry that was checked would not be the one that is pulled
#     from.
findings contains finding if {
	some image in _images
	image.registry == null

	# Where no place is known, the one path is []: asked for an empty path, object.get gives the object itself.
	some path in object.get({0: []}, image.paths, image.paths)
	finding := {
		"code": "images_registry.reference",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%q is not an image reference%s", [image.ref, _reason(image.error)]),
		"fix": "write it as registry/path:tag in lower case, for example `myregistry.azurecr.io/team/train:1.4.0`",
	}
}

# METADATA
# title: The image comes from an allowed registry
# description: |
#   The registry and path of every image are in every list of allowed registries that is set: the company's
#   (rule_data.images_registry.allowed_registries) and the project's (policies.image_policy.allowed_registries). An entry
#   is a host or host/path; it allows that path and what lies below it. `*.` before a host stands for exactly one label.
#   An image without a registry is Docker Hub's, `docker.io/library/...`. An empty list allows no image. The repository
#   that an image is pushed to which is built for a run (`run.builds`) is judged alike.
#
#   In what a deployer or a live object is told (spec.deployment.config, spec.instance) an image is looked for by its key,
#   read by its letters alone (`image`, `Image URI`, `image.uri`, `image_1`), by the name of a pair (`name: IMAGE`), a flag
#   (`--image`) or what stands before `=`. A word of any other text counts as an image where it reads as a reference with a
#   host and a tag or digest; where it is none, rule_data.images_registry.not_images takes its place out (the company's, or
#   the project's where no platform settings exist). Nothing else is found.
# related_resources:
#   - ref: https://csrc.nist.gov/pubs/sp/800/190/final
#     description: NIST SP 800-190 on registries of container images
# custom:
#   code: images_registry.not_allowed
#   enforcement: hard
#   why: |
#     An image is code that runs with the stack's data and secrets. Registries that the company does not keep can change
#     what stands behind a name at any time.
findings contains finding if {
	some place, entries in [
		object.get(rule_data.company, ["images_registry", "allowed_registries"], null),
		input.project.policies.image_policy.allowed_registries,
		object.get(input.project.policies.rule_data, ["images_registry", "allowed_registries"], null),
	]
	is_array(entries)
	some image in _images
	image.registry != null
	not _in(image, entries)
	some path in object.get({0: []}, image.paths, image.paths)
	not _taken_out(image, path)
	finding := {
		"code": "images_registry.not_allowed",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%s %q %s %s/%s, but %s allows %s", [
			_what(image),
			image.ref,
			_comes(image),
			image.registry,
			image.repository,
			_owners[place],
			text.listing(entries),
		]),
		"fix": concat("", [_advice(image, entries), _doubt(image, path)]),
	}
}

# METADATA
# title: The data of this rule can be used
# description: What the company or the project gives as rule_data.images_registry has keys and values that the rule reads.
# related_resources:
#   - ref: https://github.com/distribution/reference
#     description: The grammar of references
# custom:
#   code: images_registry.rule_data
#   enforcement: hard
#   why: Data that cannot be read is a demand that cannot be checked.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.images_registry, {
		"allowed_registries": {
			"pattern": _entry,
			"wanted": "a list of registries, each as `host` or `host/path` without scheme, tag or digest",
		},
		"not_images": {
			"pattern": `^spec\..+$`,
			"wanted": "a list of places of a stack, each as `spec.deployment.config.args.0`",
		},
	})
	finding := {
		"code": "images_registry.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

# The images that are named, and the one that would be built and pushed for the run, which has no tag and no place yet.
_images := array.concat(input.images, [built |
	input.run.builds.is_pushed
	built := object.union(input.run.builds, {"certainty": "built", "paths": [["run", "builds"]], "tag": null})
])

# What a list may hold: a host as a reference would take it for one (a dot, a port, or localhost), then a path.
_entry := concat("", [
	`^(`,
	`(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+(:[0-9]+)?`,
	`|[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?:[0-9]+`,
	`|localhost`,
	`|\[[0-9A-Fa-f:]+\](:[0-9]+)?`,
	`)`,
	`(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`,
	`(/|/\*|/\*\*)?$`,
])

_in(image, entries) if image.registry in entries

# An entry may call a host by its name, with `*.` for the first label, or by Docker Hub's other name, which references
# lose when they are normalised. Both sides end in a slash, so that an entry covers whole segments and nothing that
# merely begins like it.
_in(image, entries) if strings.any_prefix_match(
	[
		concat("/", [image.registry, image.repository, ""]),
		concat("/", [regex.replace(image.registry, `^[^.]+\.`, "*."), image.repository, ""]),
		concat("/", [object.get({"docker.io": "index.docker.io"}, image.registry, image.registry), image.repository, ""]),
	],
	{regex.replace(entry, `(/\*{0,2})?$`, "/") | some entry in entries; is_string(entry)},
)

# What nothing but its look says is an image may be something else.
_guessed(image) if image.certainty == "guessed"

default _what(_) := "the image"

_what(image) := "what looks like an image," if _guessed(image)

default _comes(_) := "comes from"

_comes(image) := "would be pushed to" if image.certainty == "built"

default _doubt(_, _) := ""

_doubt(image, path) := sprintf("; if it is none, name its place %q in rule_data.images_registry.not_images", [_dotted(path)]) if {
	_guessed(image)
}

# The project may take out what is only guessed, where nobody else gives the rules.
_taken_out(image, path) if {
	_guessed(image)
	_dotted(path) in [
		object.get(rule_data.company, ["images_registry", "not_images"], []),
		[place |
			input.authority == "project"
			some place in object.get(input.project.policies.rule_data, ["images_registry", "not_images"], [])
		],
	][_]
}

_dotted(path) := concat(".", [sprintf("%v", [key]) | some key in path])

default _reason(_) := ""

_reason(error) := sprintf(": %s", [error.message])

_advice(_, []) := "use a stack without this image, or have a registry added to the list"

_advice(image, entries) := sprintf("%s an allowed registry%s, or have its registry added to the list", [_use(image), _example(image, entries)]) if {
	count(entries) > 0
}

default _use(_) := "use an image from"

_use(image) := "let registry_uri lead to" if image.certainty == "built"

# The same image where it would be allowed, on its own host if that can be, else in the registry that is listed first.
# It has to be copied there first, which only the user can know.
default _example(_, _) := ""

_example(image, entries) := sprintf(", for example `%s/%s%s`", [place, name, _ending(image)]) if {
	not image.certainty == "built"
	places := [bare |
		some entry in entries
		is_string(entry)
		regex.match(_entry, entry)
		not startswith(entry, "*")
		bare := trim_right(entry, "/*")
	]
	near := [place | some place in places; split(place, "/")[0] == image.registry]
	place := array.concat(near, places)[0]
	segments := split(image.repository, "/")
	name := segments[count(segments) - 1]
}

default _ending(_) := ""

_ending(image) := concat("", [":", image.tag]) if is_string(image.tag)

# Who gives each list of registries.
_owners := [
	"the company's policy (images_registry.allowed_registries)",
	"the project (policies.image_policy.allowed_registries)",
	"the project (policies.rule_data.images_registry.allowed_registries)",
]
