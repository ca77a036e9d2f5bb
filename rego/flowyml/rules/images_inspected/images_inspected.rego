# METADATA
# title: Inspection of images
# description: |
#   What an image really is has been looked at, wherever policy has to know. A reference that cannot be read is the
#   business of images_registry: behind it is nothing to inspect.
package flowyml.rules.images_inspected

import data.flowyml.lib.images
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
	some image in images.uninspected
	image.via == "off"
	some path in images.paths(image)
	finding := {
		"code": "images_inspected.off",
		"subject": image.ref,
		"path": path,
		"message": sprintf("the image %q was not inspected: inspection is switched off", [image.ref]),
		"fix": _switched_on,
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
	some image in images.uninspected
	image.via != "off"
	some path in images.paths(image)
	finding := {
		"code": "images_inspected.failed",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%s could not be inspected: %s", [images.named(image, null), _reason(image.error)]),
		"fix": _remedy(image),
	}
}

# METADATA
# title: An image was inspected where rules have to know it
# description: |
#   Every image that the stack names was inspected, wherever a code is in force, at soft or hard, that judges what is in an
#   image. A code of a rule that nobody asks anything of, such as images_labels.missing where no label is required, does
#   not count. A rule of the company or the project says `custom.needs: facts` in the METADATA of such a code.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/config.md
#     description: What an image says of itself
# custom:
#   code: images_inspected.required
#   enforcement: hard
#   why: Such a rule finds nothing wrong with an image that nobody has looked at, and must not let it pass for that.
findings contains finding if {
	some image in images.uninspected
	codes := images.demanded(image)
	codes != set()
	some path in images.paths(image)
	finding := {
		"code": "images_inspected.required",
		"subject": image.ref,
		"path": path,
		"message": sprintf("the image %q was not inspected, but what is in it must be known for %s", [image.ref, text.listing(codes)]),
		"fix": _remedy(image),
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

default _reason(_) := "no reason is known"

_reason(error) := error.message

_switched_on := "set policy.images.inspect to auto in the settings, and the image is looked at in its registry"

# What most often helps, by the kind of the error.
_remedy(image) := _switched_on if {
	image.via == "off"
} else := object.get(_remedies, _code(image.error), "check that the image exists and that you may pull it, then try again")

default _code(_) := ""

_code(error) := error.code

_remedies := {
	"image_not_asked": "have the server's operator name the registry in `inspect_hosts` of its settings",
	"image_missing": "push the image, or correct its name, tag or digest",
	"image_access_denied": "log in with `docker login`, or name credentials under policy.images.credentials",
	"image_credentials_unusable": "correct the login, or name credentials under policy.images.credentials",
	"image_unreachable": "check the registry's name and the network, and try again",
	"image_rate_limited": "log in for a larger quota, or try again later",
	"image_invalid": "name a container image, built and pushed by a current tool",
	"image_digest_mismatch": "do not use this registry or mirror before its owner has explained it; then try again",
	"image_too_large": "name an image with smaller metadata",
	"image_offline": "examine the image once while there is a network, by digest if it is to be remembered for ever",
	"daemon_unavailable": "start the daemon, or set DOCKER_HOST; or set policy.images.inspect to registry",
	"signing_key_unusable": "name a PEM file with a public key, as `cosign generate-key-pair` writes cosign.pub",
}
