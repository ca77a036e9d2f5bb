# METADATA
# title: Signatures of images
# description: |
#   Every image for which the settings name public keys (policy.images.cosign_keys) is signed by them.
#
#   Each entry of cosign_keys that matches an image is a demand: so many of its keys have signed each platform, by a
#   signature on the platform's digest or on that of the image. Where enough have, nothing else counts. Else the one code
#   is reported that says most of why.
package flowyml.rules.images_signature

import data.flowyml.lib.images
import data.flowyml.lib.rule_data
import data.flowyml.lib.text

# METADATA
# title: The image is signed
# description: |
#   As many keys of each entry of policy.images.cosign_keys that matches the image as the entry needs have signed every
#   platform of it. Reported where too few have, every place where signatures lie was read, and none of them is odd.
# related_resources:
#   - ref: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
#     description: How an image is signed
# custom:
#   code: images_signature.missing
#   enforcement: hard
#   needs: facts
#   why: Only a signature shows that an image is what the company's own pipeline built, and not what somebody else pushed there.
findings contains finding if {
	some case in _unsigned
	case.verdict == "missing"
	some path in images.paths(case.image)
	finding := {
		"code": "images_signature.missing",
		"subject": case.image.ref,
		"path": path,
		"message": _wanting(case),
		"fix": sprintf("sign it, for example with `cosign sign --key %s %s`", _to_sign(case)),
	}
}

# METADATA
# title: The image's signatures are good
# description: |
#   Too few keys have signed, and there is a signature that does not count: it does not verify, it is about another image,
#   or a key made it that is not asked for.
# related_resources:
#   - ref: https://github.com/sigstore/cosign/blob/main/specs/BUNDLE_SPEC.md
#     description: What a signature must hold
# custom:
#   code: images_signature.invalid
#   enforcement: hard
#   needs: facts
#   why: A signature that does not verify is worse than none. It may have been taken from another image, or forged.
findings contains finding if {
	some case in _unsigned
	case.verdict == "invalid"
	some path in images.paths(case.image)
	finding := {
		"code": "images_signature.invalid",
		"subject": case.image.ref,
		"path": path,
		"message": sprintf("%s; what is there does not count: %s", [_wanting(case), _reasons(case.odd)]),
		"fix": sprintf("find out who made it, then sign the image, for example with `cosign sign --key %s %s`", _to_sign(case)),
	}
}

# METADATA
# title: The image's signatures could be looked for
# description: Too few keys have signed, as far as is known, and a place where signatures may lie could not be read.
# related_resources:
#   - ref: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
#     description: How a registry lists what refers to an image
# custom:
#   code: images_signature.unknown
#   enforcement: hard
#   needs: facts
#   why: |
#     A registry that does not answer is not one that holds no signature. To take one for the other would let it decide what
#     is looked at.
findings contains finding if {
	some case in _unsigned
	case.verdict == "unknown"
	some path in images.paths(case.image)
	finding := {
		"code": "images_signature.unknown",
		"subject": case.image.ref,
		"path": path,
		"message": sprintf("%s; not every place could be read: %s", [_wanting(case), _reasons(case.odd)]),
		"fix": "try again; check that you may read the registry's referrers and tags",
	}
}

# METADATA
# title: The image is signed with a key
# description: |
#   Too few keys have signed, and there is a signature without a key, whose certificate names an identity (keyless). It is
#   recognised, and not accepted.
# related_resources:
#   - ref: https://docs.sigstore.dev/cosign/signing/overview/
#     description: Signing with and without a key
# custom:
#   code: images_signature.keyless
#   enforcement: hard
#   needs: facts
#   why: Anybody can sign without a key, under an identity of their own. Which identities may sign is not said here.
findings contains finding if {
	some case in _unsigned
	case.verdict == "keyless"
	some path in images.paths(case.image)
	finding := {
		"code": "images_signature.keyless",
		"subject": case.image.ref,
		"path": path,
		"message": sprintf("%s; it is signed without a key, which is not accepted: %s", [_wanting(case), _reasons(case.odd)]),
		"fix": sprintf("sign it with a key as well, for example with `cosign sign --key %s %s`", _to_sign(case)),
	}
}

# METADATA
# title: The data of this rule can be used
# description: The rule reads no data; which keys are asked for stands in the settings, under policy.images.cosign_keys.
# related_resources:
#   - ref: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
#     description: How an image is signed
# custom:
#   code: images_signature.rule_data
#   enforcement: hard
#   why: Data that nobody reads is a demand that nobody checks.
findings contains finding if {
	some problem in rule_data.problems(rule_data.given.images_signature, {})
	finding := {
		"code": "images_signature.rule_data",
		"subject": problem.subject,
		"path": [],
		"message": problem.message,
		"fix": problem.fix,
	}
}

# Each platform for which a demand is not satisfied, with what is reported of it, who has signed and what is odd.
_unsigned := [case |
	some image in images.inspected
	some demand in image.signing
	keys := {key.id | some key in demand.keys}
	some platform in image.platforms
	digests := {digest | some digest in [image.digest, platform.digest]; digest != null}
	signers := {found.key |
		some found in image.signatures
		found.ok
		found.key in keys
		found.digest in digests
	}
	count(signers) < demand.need
	[verdict, odd] := _verdict(image.signatures, digests, keys)
	case := {
		"image": image,
		"platform": platform,
		"demand": demand,
		"signers": signers,
		"verdict": verdict,
		"odd": odd,
	}
]

# What says most of why. A place that could not be read may hold a signature on any digest.
_verdict(signatures, digests, keys) := ["unknown", odd] if {
	odd := {found | some found in signatures; found.problem == "unknown"}
	odd != set()
} else := ["keyless", odd] if {
	odd := {found | some found in _about(signatures, digests); found.problem == "keyless"}
	odd != set()
	{found | some found in _about(signatures, digests); _is_broken(found)} == set()
} else := ["invalid", odd] if {
	odd := {found | some found in _about(signatures, digests); _is_odd(found, keys)}
	odd != set()
} else := ["missing", set()]

# Signatures on one of these digests, and those of which nobody can say what they are on.
_about(signatures, digests) := [found |
	some found in signatures
	not _is_elsewhere(found, digests)
]

_is_elsewhere(found, digests) if {
	found.digest != null
	not found.digest in digests
}

_is_broken(found) if {
	not found.ok
	found.problem != "keyless"
}

_is_odd(found, _) if _is_broken(found)

# By a key that another demand may ask for.
_is_odd(found, keys) if {
	found.ok
	not found.key in keys
}

_wanting(case) := sprintf("%s needs signatures by %v of the keys %s (policy.images.cosign_keys, %q) and has %d", [
	images.named(case.image, case.platform),
	case.demand.need,
	text.listing({key.name | some key in case.demand.keys}),
	case.demand.entry,
	count(case.signers),
])

_reasons(odd) := concat("; ", {_reason(found) | some found in odd})

_reason(found) := found.reason if {
	is_string(found.reason)
} else := sprintf("the key %v is not asked for", [found.key]) if {
	found.ok
} else := "no reason is known"

# A key that has not signed yet, and what it is to sign: the image as a whole.
_to_sign(case) := [array.concat(others, ["cosign.key"])[0], _pinned(case.image)] if {
	others := [replace(key.name, ".pub", ".key") |
		some key in case.demand.keys
		not key.id in case.signers
	]
}

_pinned(image) := sprintf("%s/%s@%s", [image.registry, image.repository, image.digest]) if {
	image.digest != null
} else := image.ref
