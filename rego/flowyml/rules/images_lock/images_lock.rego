# METADATA
# title: Images and the lockfile
# description: What flowyml.lock pins for the images of the stack is what their references still name.
package flowyml.rules.images_lock

import data.flowyml.lib.images
import data.flowyml.lib.rule_data

# METADATA
# title: The image is the one that was locked
# description: |
#   An image whose reference flowyml.lock pins to a digest is still the image of that digest: the digest that the reference
#   names, or that of one of its platforms.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/descriptor.md
#     description: Digests of images
# custom:
#   code: images_lock.moved
#   enforcement: hard
#   needs: facts
#   why: |
#     A tag can be moved at any time, by mistake or by an attacker. The lockfile says which image was agreed on, and what
#     runs now would be another.
findings contains finding if {
	some image in images.inspected
	pinned := input.lock.images[image.ref]
	not pinned in array.concat([image.digest], [platform.digest | some platform in image.platforms])
	some path in images.paths(image)
	finding := {
		"code": "images_lock.moved",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%s is locked as %s, but is now %s", [
			images.named(image, null),
			pinned,
			_digest(image.digest),
		]),
		"fix": concat(" ", [
			"find out who moved the tag; if the new image is wanted, pin it with `flowyml-policy stack lock`,",
			"else name the locked one by its digest",
		]),
	}
}

# METADATA
# title: The image is locked
# description: |
#   Where the stack is in flowyml.lock, every image that it names is pinned there, or names its digest itself.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/descriptor.md
#     description: Digests of images
# custom:
#   code: images_lock.unpinned
#   enforcement: advisory
#   why: A lockfile that leaves an image out says which definition runs, but not what runs in it.
findings contains finding if {
	input.lock != null
	some image in images.judged
	not contains(image.ref, "@")
	not input.lock.images[image.ref]
	some path in images.paths(image)
	finding := {
		"code": "images_lock.unpinned",
		"subject": image.ref,
		"path": path,
		"message": sprintf("the stack is locked, but the image %q is not: flowyml.lock holds no digest of it", [image.ref]),
		"fix": "pin it with `flowyml-policy stack lock`, or name the image by its digest",
	}
}

# METADATA
# title: The data of this rule can be used
# description: The rule reads no data, so that neither the company nor the project gives it any.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/descriptor.md
#     description: Digests of images
# custom:
#   code: images_lock.rule_data
#   enforcement: hard
#   why: Data that nobody reads is a demand that nobody checks.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.images_lock, {})
	finding := {
		"code": "images_lock.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

default _digest(_) := "an image of no known digest"

_digest(digest) := digest if is_string(digest)
