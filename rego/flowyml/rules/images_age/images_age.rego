# METADATA
# title: Ages of images
# description: |
#   Images were built lately. An image says itself when it was built, by the clock of whoever built it; a date before 2013,
#   as builds write that give equal bytes for equal sources, says nothing.
package flowyml.rules.images_age

import data.flowyml.lib.images
import data.flowyml.lib.instants
import data.flowyml.lib.rule_data

# METADATA
# title: The image is not old
# description: No platform of an image was built longer ago than rule_data.images_age.old_seconds, as shipped half a year.
# related_resources:
#   - ref: https://docs.docker.com/build/building/best-practices/#rebuild-your-images-often
#     description: Why images are built again often
# custom:
#   code: images_age.old
#   enforcement: advisory
#   needs: facts
#   why: An image keeps the faults of the day on which it was built. What was mended since is not in it.
findings contains finding if {
	some created, age in _ages
	age > _old
	some image in images.inspected
	some platform in image.platforms
	platform.created == created
	some path in images.paths(image)
	finding := {
		"code": "images_age.old",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%s was built at %s, more than %s ago", [images.named(image, platform), created, _days(_old)]),
		"fix": _advice,
	}
}

# METADATA
# title: The image is younger than the limit
# description: |
#   Where the company (rule_data.images_age.max_age_seconds) or the project (policies.image_policy.max_age) limits the age
#   of images, every platform of every image was built within it. The smallest limit counts. An image that does not say
#   when it was built, or says a day that is still to come, does not keep to any.
# related_resources:
#   - ref: https://docs.docker.com/build/building/best-practices/#rebuild-your-images-often
#     description: Why images are built again often
# custom:
#   code: images_age.limit
#   enforcement: hard
#   needs: facts
#   why: A limit on the age of images bounds how long a known fault can stay in use.
findings contains finding if {
	limit := min(images.age_limits)
	some created in _created
	excess := _excess(created, limit)
	some image in images.inspected
	some platform in image.platforms
	platform.created == created
	some path in images.paths(image)
	finding := {
		"code": "images_age.limit",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%s must be at most %s old, but %s", [images.named(image, platform), _days(limit), excess]),
		"fix": _advice,
	}
}

# METADATA
# title: The image says when it was built
# description: |
#   Every platform of every image has an instant of its build that can be read, and that is not before 2013.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/config.md
#     description: What an image says of itself
#   - ref: https://reproducible-builds.org/docs/source-date-epoch/
#     description: How a reproducible build can carry the date of its sources
# custom:
#   code: images_age.unknown
#   enforcement: advisory
#   needs: facts
#   why: Of an image whose age nobody knows nobody can say what has been mended since it was built.
findings contains finding if {
	some created in _created
	not _ages[created]
	some image in images.inspected
	some platform in image.platforms
	platform.created == created
	some path in images.paths(image)
	finding := {
		"code": "images_age.unknown",
		"subject": image.ref,
		"path": path,
		"message": sprintf("nobody knows how old %s is: %s", [images.named(image, platform), _silence(created)]),
		"fix": "build it with the date of its sources as SOURCE_DATE_EPOCH, or with a tool that writes the date of the build, and push it",
	}
}

# METADATA
# title: The image was not built in the future
# description: No platform of an image says that it was built more than a day after the decision.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/config.md
#     description: What an image says of itself
# custom:
#   code: images_age.future
#   enforcement: advisory
#   needs: facts
#   why: By such a date an image would stay young for ever. One of the two clocks is wrong.
findings contains finding if {
	some created, age in _ages
	_ahead(age)
	some image in images.inspected
	some platform in image.platforms
	platform.created == created
	some path in images.paths(image)
	finding := {
		"code": "images_age.future",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%s says that it was built in the future, %s", [images.named(image, platform), created]),
		"fix": "check the clocks of this machine and of the one that built it, then build it again",
	}
}

# METADATA
# title: The data of this rule can be used
# description: What the company or the project gives as rule_data.images_age has keys and values that the rule reads.
# related_resources:
#   - ref: https://github.com/opencontainers/image-spec/blob/main/config.md
#     description: What an image says of itself
# custom:
#   code: images_age.rule_data
#   enforcement: hard
#   why: Data that cannot be read is a demand that cannot be checked.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.images_age, {
		"max_age_seconds": {
			"number": {"least": 1},
			"wanted": "a number of seconds, at least 1",
		},
		"old_seconds": {
			"number": {"least": 1},
			"wanted": "a number of seconds, at least 1",
		},
	})
	finding := {
		"code": "images_age.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

_created := {created | created := images.inspected[_].platforms[_].created}

# How many seconds ago that was, where it is known. Negative where it is still to come. There were no images of this kind
# before 2013.
_ages := {created: age |
	some created in _created
	built := instants.nanoseconds(created)
	built >= 1356998400000000000
	age := (_now - built) / 1000000000
}

_now := instants.nanoseconds(input.evaluated_at)

_old := min({seconds | some seconds in rule_data.said("images_age", "old_seconds"); is_number(seconds)})

_ahead(age) if age < -86400

# Why an age does not keep to a limit.
_excess(created, limit) := sprintf("it was built at %s", [created]) if {
	_ages[created] > limit
} else := sprintf("it says that it was built in the future, %s", [created]) if {
	_ahead(_ages[created])
} else := sprintf("nobody knows how old it is: %s", [_silence(created)]) if {
	not _ages[created]
}

_silence(null) := "it does not say when it was built"

_silence(created) := sprintf("it says that it was built %q", [created]) if is_string(created)

_days(seconds) := sprintf("%d days", [days]) if {
	days := seconds / 86400
	days == floor(days)
} else := sprintf("%d hours", [floor(seconds / 3600)])

_advice := "build it again, on a base that is up to date, push it, and name the new image"
