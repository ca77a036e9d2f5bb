# METADATA
# title: Vulnerabilities of images
# description: |
#   What reports of scanners (Trivy, Grype) say of the images that a stack names, which were matched by digest.
package flowyml.rules.images_vulnerabilities

import data.flowyml.lib.images
import data.flowyml.lib.instants
import data.flowyml.lib.rule_data

# METADATA
# title: No grave vulnerability is known
# description: |
#   No scan report of the image names a vulnerability that is as severe as `severity` of rule_data.images_vulnerabilities
#   or more (critical, high, medium, low, negligible, unknown), the company's or the project's, whichever is stricter. An
#   entry of `ignore` takes one out by its id until it expires: the company's, and the project's where no platform settings
#   exist. A severity that nobody knows counts as the worst.
# related_resources:
#   - ref: https://csrc.nist.gov/pubs/sp/800/190/final
#     description: NIST SP 800-190 on vulnerabilities of images
# custom:
#   code: images_vulnerabilities.found
#   enforcement: hard
#   why: A vulnerability that is known has most often an exploit that is known, and a fix that only has to be taken.
findings contains finding if {
	some image in input.images
	reported := image.scan.findings
	found := _grave(reported, _severity)
	found != []
	some path in images.paths(image)
	finding := {
		"code": "images_vulnerabilities.found",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%s has vulnerabilities that are %s or worse, by %s: %s", [
			images.named(image, null),
			_words[_severity],
			image.scan.tool,
			_first(found, [sprintf("%s (%s) in %s", [entry.id, entry.severity, entry.package]) | some entry in found]),
		]),
		"fix": sprintf("%s; or have an exception that expires added to rule_data.images_vulnerabilities.ignore", [_advice(found)]),
	}
}

# METADATA
# title: The image was scanned
# description: |
#   Where `required` of rule_data.images_vulnerabilities is true, the company's or the project's, a scan report covers every
#   platform of the image. A report given by `--scan-report` counts for that only where no platform settings exist, else
#   one that a key of policy.images.cosign_keys signed. Whether it is required or not, where keys are named everything
#   that may be a signed report attached to the image could be read.
# related_resources:
#   - ref: https://csrc.nist.gov/pubs/sp/800/190/final
#     description: NIST SP 800-190 on vulnerabilities of images
# custom:
#   code: images_vulnerabilities.missing
#   enforcement: hard
#   needs: facts
#   why: |
#     Of an image that nobody scanned nobody can say that it has no known vulnerability, nor of one whose report is
#     hidden behind others or withheld by the registry.
findings contains finding if {
	some image in images.inspected
	some lack in array.concat(_not_covered(image), _not_read(image))
	some path in images.paths(image)
	finding := {
		"code": "images_vulnerabilities.missing",
		"subject": image.ref,
		"path": path,
		"message": lack.message,
		"fix": lack.fix,
	}
}

# METADATA
# title: The scan is recent
# description: |
#   What a scan report knows of vulnerabilities is no older than `max_age_seconds` of rule_data.images_vulnerabilities, the
#   smaller of the company's and the project's. A report that does not say how old that is, or names a later day, is
#   too old.
# related_resources:
#   - ref: https://csrc.nist.gov/pubs/sp/800/190/final
#     description: NIST SP 800-190 on vulnerabilities of images
# custom:
#   code: images_vulnerabilities.old
#   enforcement: hard
#   why: New vulnerabilities become known every day. An old report does not name them.
findings contains finding if {
	some image in input.images
	known_at := image.scan.db_at
	most := min(_max_ages)
	not _is_recent(known_at, most)
	some path in images.paths(image)
	finding := {
		"code": "images_vulnerabilities.old",
		"subject": image.ref,
		"path": path,
		"message": sprintf("%s was scanned by %s with what was known at %s, but %v days is as old as that may be at %s", [
			images.named(image, null),
			image.scan.tool,
			_instant(known_at),
			round((most * 10) / 86400) / 10,
			input.evaluated_at,
		]),
		"fix": "scan the image again, after the scanner has brought its database up to date",
	}
}

# METADATA
# title: The data of this rule can be used
# description: |
#   What the company or the project gives as rule_data.images_vulnerabilities has keys and values that the rule reads.
# related_resources:
#   - ref: https://csrc.nist.gov/pubs/sp/800/190/final
#     description: NIST SP 800-190 on vulnerabilities of images
# custom:
#   code: images_vulnerabilities.rule_data
#   enforcement: hard
#   why: Data that cannot be read is a demand that cannot be checked.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.images_vulnerabilities, {
		"severity": {
			"text": `^(critical|high|medium|low|negligible|unknown)$`,
			"wanted": "critical, high, medium, low, negligible or unknown",
		},
		"max_age_seconds": {"number": {"least": 0}, "wanted": "a number of seconds"},
		"ignore": {
			"records": {"key_pattern": `\S`, "fields": {"expires": _expires, "reason": `\S`}},
			"wanted": "a mapping of ids to `expires` (as 2027-01-31 or 2027-01-31T12:00:00Z) and `reason`",
		},
		"required": {"boolean": true, "wanted": "true or false"},
	})
	finding := {
		"code": "images_vulnerabilities.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

_expires := `^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z)?$`

_words := ["unknown", "negligible", "low", "medium", "high", "critical"]

_ranks := {word: rank | some rank, word in _words}

# The lowest severity that counts, by its rank; undefined where nobody says one.
_severity := min({_ranks[word] | some word in rule_data.said("images_vulnerabilities", "severity")})

# What is so severe and not excepted, the worst first. A word that nobody knows is none of those that are not.
_grave(reported, least) := [entry |
	harmless := array.slice(_words, 0, least)
	some [_, _, _, entry] in sort([[0 - object.get(_ranks, found.severity, count(_words)), found.id, found.package, found] |
		some found in reported
		not found.severity in harmless
		not found.id in _excepted
	])
]

# Ids that are taken out today. What the project takes out counts where nobody else gives the rules.
_excepted contains id if {
	some place, exceptions in rule_data.said("images_vulnerabilities", "ignore")
	_counts(place)
	is_object(exceptions)
	some id, exception in exceptions
	instants.nanoseconds(input.evaluated_at) < instants.nanoseconds(exception.expires)
}

_counts(0)

_counts(1) if input.authority == "project"

_max_ages := {seconds |
	some seconds in rule_data.said("images_vulnerabilities", "max_age_seconds")
	is_number(seconds)
}

# Clocks of two machines differ a little.
_is_recent(text, most) if {
	age := instants.nanoseconds(input.evaluated_at) - instants.nanoseconds(text)
	age <= most * 1000000000
	age >= -3600000000000
}

# The platforms of an image that must have been scanned and were not.
_not_covered(image) := [{"message": message, "fix": _remedy} |
	images.scans_required
	some platform in image.platforms
	why := _not_scanned(image.scan, platform.digest)
	message := sprintf("%s must have been scanned, but %s", [images.named(image, platform), why])
]

# That a report may be attached to an image which nobody could read.
_not_read(image) := [{"message": message, "fix": fix} |
	image.scan_problem != null
	message := sprintf("scan reports may be attached to %s that could not be read: %s", [images.named(image, null), image.scan_problem])
	fix := "let the registry answer, detach old reports from the image, or attach a report that can be read with `cosign attest --type vuln`"
]

# Why a report does not say that a platform was scanned.
_not_scanned(null, _) := "no scan report speaks of it"

_not_scanned(scan, digest) := "no scan report speaks of this platform" if not digest in scan.digests

_not_scanned(scan, digest) := "what speaks of it is a file given by the project, which counts only where no platform settings exist" if {
	digest in scan.digests
	not digest in scan.signed_digests
	input.authority != "project"
}

_remedy := "scan every platform of it with Trivy or Grype, and hand the report in with `--scan-report`" if {
	input.authority == "project"
} else := "scan every platform of it, and attach the report signed, for example with `cosign attest --type vuln`"

default _instant(_) := "no known time"

_instant(text) := text if is_string(text)

# The first eight of what is said of all that was found.
_first(found, said) := concat(", ", said) if {
	count(found) <= 8
} else := sprintf("%s and %d more", [concat(", ", array.slice(said, 0, 8)), count(found) - 8])

_advice(found) := sprintf("build the image anew with %s", [_first(fixes, fixes)]) if {
	fixes := sort({sprintf("%s %s", [entry.package, entry.fixed_in]) |
		some entry in found
		entry.fixed_in != null
	})
	fixes != []
} else := "build the image without it, since no fixed version is known"
