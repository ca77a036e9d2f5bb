# METADATA
# title: Users of images
# description: No image runs as root.
package flowyml.rules.images_user

import data.flowyml.lib.images
import data.flowyml.lib.rule_data

# METADATA
# title: The image does not run as root
# description: |
#   Every platform of every image names a user that is not root: not `root`, not 0, whatever its group, and not none, which
#   means root.
# related_resources:
#   - ref: https://docs.docker.com/build/building/best-practices/#user
#     description: How a Dockerfile names a user
#   - ref: https://csrc.nist.gov/pubs/sp/800/190/final
#     description: NIST SP 800-190 on images that run as root
# custom:
#   code: images_user.root
#   enforcement: advisory
#   needs: facts
#   why: What breaks out of a container of root is root on the machine, with all that runs there.
findings contains finding if {
	some user in _users
	_is_root(user)
	some image in images.inspected
	some platform in image.platforms
	platform.user == user
	some path in images.paths(image)
	finding := {
		"code": "images_user.root",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%s runs as root: %s", [images.named(image, platform), _reason(user)]),
		"fix": _advice,
	}
}

# METADATA
# title: The number of the image's user is known
# description: |
#   Every platform of every image names its user by a number. What number a name has stands in the image's files, which
#   are not read: a name other than `root` can still be number 0.
# related_resources:
#   - ref: https://kubernetes.io/docs/tasks/configure-pod-container/security-context/
#     description: Why Kubernetes cannot tell by a name that an image does not run as root
# custom:
#   code: images_user.unknown
#   enforcement: advisory
#   needs: facts
#   why: Where nobody can tell that a user is not root, Kubernetes refuses to run an image as one that must not be.
findings contains finding if {
	some user in _users
	not _is_root(user)
	not regex.match(`^[0-9]+(:|$)`, user)
	some image in images.inspected
	some platform in image.platforms
	platform.user == user
	some path in images.paths(image)
	finding := {
		"code": "images_user.unknown",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%s runs as %q, and nobody can tell that this name is not root's", [images.named(image, platform), user]),
		"fix": _advice,
	}
}

# METADATA
# title: The data of this rule can be used
# description: The rule reads no data, so that neither the company nor the project gives it any.
# related_resources:
#   - ref: https://docs.docker.com/build/building/best-practices/#user
#     description: How a Dockerfile names a user
# custom:
#   code: images_user.rule_data
#   enforcement: hard
#   why: Data that nobody reads is a demand that nobody checks.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.images_user, {})
	finding := {
		"code": "images_user.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

# Most images run as one of few users.
_users := {user | user := images.inspected[_].platforms[_].user}

# Nothing, the name, or 0 as Docker reads numbers, before a group or the end.
_is_root(null)

_is_root(user) if regex.match(`^\s*(root|[+-]?0+)?\s*(:|$)`, user)

_reason(null) := "it names no user"

_reason(user) := sprintf("its user is %q", [user]) if is_string(user)

_advice := "let its Dockerfile end with a line such as `USER 1000`, build it again and push it"
