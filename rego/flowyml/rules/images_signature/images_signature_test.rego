package flowyml.rules.images_signature

import data.flowyml.lib.inputs

_index := "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

_other := "sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

_demand := {"entry": "myregistry.azurecr.io", "need": 1, "keys": [{"id": "k1", "name": "keys/one.pub"}]}

_two_of_three := {"entry": "myregistry.azurecr.io/team", "need": 2, "keys": [
	{"id": "k1", "name": "keys/one.pub"},
	{"id": "k2", "name": "keys/two.pub"},
	{"id": "k3", "name": "keys/three.pub"},
]}

_by(key, digest) := {"key": key, "form": "bundle", "digest": digest, "ok": true, "reason": null, "problem": null}

_bad(problem, digest, reason) := {
	"key": null,
	"form": "tag",
	"digest": digest,
	"ok": false,
	"reason": reason,
	"problem": problem,
}

# The image of the stack with these demands and signatures.
_image(demands, signatures) := {"images/0/signing": demands, "images/0/signatures": signatures}

_named := `the image "myregistry.azurecr.io/team/train:1.4.0" (sha256:aaaaaaaaaaaa, linux/amd64, by the registry myregistry.azurecr.io)`

_wants := concat("", [
	_named,
	` needs signatures by 1 of the keys "keys/one.pub" (policy.images.cosign_keys, "myregistry.azurecr.io") and has 0`,
])

_found(code, message, fix) := {
	"code": code,
	"subject": "myregistry.azurecr.io/team/train:1.4.0",
	"path": ["spec", "runtime", "docker_image"],
	"message": message,
	"fix": fix,
}

_sign := concat("", ["`cosign sign --key keys/one.key myregistry.azurecr.io/team/train@", inputs.image.digest, "`"])

_missing := _found("images_signature.missing", _wants, concat("", ["sign it, for example with ", _sign]))

_invalid(reasons) := _found(
	"images_signature.invalid",
	concat("", [_wants, "; what is there does not count: ", reasons]),
	concat("", ["find out who made it, then sign the image, for example with ", _sign]),
)

_unknown(reasons) := _found(
	"images_signature.unknown",
	concat("", [_wants, "; not every place could be read: ", reasons]),
	"try again; check that you may read the registry's referrers and tags",
)

_keyless(reasons) := _found(
	"images_signature.keyless",
	concat("", [_wants, "; it is signed without a key, which is not accepted: ", reasons]),
	concat("", ["sign it with a key as well, for example with ", _sign]),
)

test_allow_image_for_which_no_key_is_named if {
	findings == set() with input as inputs.plain
	findings == set() with input as inputs.changed(_image([], [_bad("unknown", null, "503")]))
}

test_allow_signed_image if {
	findings == set() with input as inputs.changed(_image([_demand], [_by("k1", inputs.image.digest)]))
}

test_allow_whatever_else_is_there_where_enough_have_signed if {
	findings == set() with input as inputs.changed(_image([_demand], [
		_bad("unknown", null, "503"),
		_bad("invalid", inputs.image.digest, "forged"),
		_bad("keyless", inputs.image.digest, "keyless"),
		_by("k9", inputs.image.digest),
		_by("k1", inputs.image.digest),
	]))
}

test_allow_so_many_of_the_keys_as_are_needed if {
	every pair in [["k1", "k2"], ["k1", "k3"], ["k2", "k3"]] {
		findings == set() with input as inputs.changed(_image(
			[_two_of_three],
			[_by(key, inputs.image.digest) | some key in pair],
		))
	}
}

test_deny_one_key_twice_is_one_key if {
	findings == {_found(
		"images_signature.missing",
		concat("", [
			_named,
			` needs signatures by 2 of the keys "keys/one.pub", "keys/three.pub", "keys/two.pub" `,
			`(policy.images.cosign_keys, "myregistry.azurecr.io/team") and has 1`,
		]),
		concat("", ["sign it, for example with `cosign sign --key keys/two.key myregistry.azurecr.io/team/train@", inputs.image.digest, "`"]),
	)} with input as inputs.changed(_image([_two_of_three], [
		_by("k1", inputs.image.digest),
		object.union(_by("k1", inputs.image.digest), {"form": "tag"}),
	]))
}

test_deny_demand_that_no_keys_can_satisfy if {
	every keys in [[], _demand.keys] {
		found := findings with input as inputs.changed(_image(
			[{"entry": "a.io", "need": 2, "keys": keys}],
			[_by(key.id, inputs.image.digest) | some key in keys],
		))
		{[finding.code, contains(finding.fix, "--key cosign.key ")] | some finding in found} == {["images_signature.missing", true]}
	}
}

test_deny_every_demand_is_satisfied if {
	found := findings with input as inputs.changed(_image([_demand, _two_of_three], [_by("k1", inputs.image.digest)]))
	{[finding.code, contains(finding.message, `"myregistry.azurecr.io/team"`)] | some finding in found} == {["images_signature.missing", true]}
}

test_deny_image_that_is_not_signed if {
	findings == {_missing} with input as inputs.changed(_image([_demand], []))
	findings == {_missing} with input as inputs.changed(_image([_demand], [_by("k1", _other)]))
}

test_deny_image_in_each_place if {
	places := [["spec", "a"], ["spec", "b"]]
	every problem, code in {"invalid": "invalid", "unknown": "unknown", "keyless": "keyless", "none": "missing"} {
		facts := [_bad(problem, null, "r") | problem != "none"]
		found := findings with input as inputs.changed(object.union(_image([_demand], facts), {"images/0/paths": places}))
		{[finding.code, finding.path] | some finding in found} == {[concat(".", ["images_signature", code]), place] | some place in places}
	}
}

# An index of two platforms, each signed or not.
_of_two(signatures) := object.union(_image([_demand], signatures), {
	"images/0/digest": _index,
	"images/0/kind": "index",
	"images/0/platforms": [inputs.platform, inputs.arm],
})

test_allow_signature_on_the_index_or_on_each_platform if {
	findings == set() with input as inputs.changed(_of_two([_by("k1", _index)]))
	findings == set() with input as inputs.changed(_of_two([_by("k1", inputs.platform.digest), _by("k1", inputs.arm.digest)]))
}

test_deny_platform_that_is_not_signed if {
	found := findings with input as inputs.changed(_of_two([_by("k1", inputs.platform.digest)]))
	{[finding.code, split(finding.message, ", ")[1]] | some finding in found} == {["images_signature.missing", "linux/arm64"]}
}

test_deny_image_without_digests if {
	found := findings with input as inputs.changed(object.union(
		_image([_demand], [_by("k1", null)]),
		{"images/0/digest": null, "images/0/platforms/0/digest": null},
	))
	{[finding.code, finding.fix] | some finding in found} == {[
		"images_signature.missing",
		"sign it, for example with `cosign sign --key keys/one.key myregistry.azurecr.io/team/train:1.4.0`",
	]}
}

test_deny_invalid_signature if {
	every digest in [null, inputs.image.digest] {
		findings == {_invalid("forged")} with input as inputs.changed(_image([_demand], [_bad("invalid", digest, "forged")]))
	}
	findings == {_invalid("forged; stale")} with input as inputs.changed(_image([_demand], [
		_bad("invalid", null, "stale"),
		_bad("invalid", null, "forged"),
		_bad("keyless", null, "keyless"),
	]))
	findings == {_invalid("no reason is known")} with input as inputs.changed(_image([_demand], [_bad(null, null, null)]))
	findings == {_missing} with input as inputs.changed(_image([_demand], [_bad("invalid", _other, "forged")]))
	findings == {_invalid("forged")} with input as inputs.changed(_image(
		[_demand],
		[object.union(_bad("invalid", inputs.image.digest, "forged"), {"key": "k1"})],
	))
}

test_deny_signature_by_a_key_that_is_not_asked_for if {
	findings == {_invalid("the key k9 is not asked for")} with input as inputs.changed(_image(
		[_demand],
		[_by("k9", inputs.image.digest)],
	))
	findings == {_missing} with input as inputs.changed(_image([_demand], [_by("k9", _other)]))
}

test_deny_what_could_not_be_read_before_all_else if {
	findings == {_unknown("503 Service Unavailable")} with input as inputs.changed(_image([_demand], [
		_bad("invalid", null, "forged"),
		_bad("unknown", _other, "503 Service Unavailable"),
		_bad("keyless", null, "keyless"),
	]))
}

test_deny_keyless_signature if {
	findings == {_keyless("made by ann@example.com")} with input as inputs.changed(_image([_demand], [
		_bad("keyless", inputs.image.digest, "made by ann@example.com"),
		_by("k9", inputs.image.digest),
		_bad("invalid", _other, "forged"),
	]))
	findings == {_missing} with input as inputs.changed(_image([_demand], [_bad("keyless", _other, "keyless")]))
}

test_allow_image_that_was_not_inspected_is_the_business_of_images_inspected if {
	findings == set() with input as inputs.changed({"images/0": object.union(inputs.uninspected, {"signing": [_demand]})})
}

test_deny_rule_data_for_a_rule_that_reads_none if {
	findings == {{
		"code": "images_signature.rule_data",
		"subject": "data.org.rule_data.images_signature.keys",
		"path": [],
		"message": "data.org.rule_data.images_signature.keys is no key that the rule reads",
		"fix": "the rule reads nothing",
	}} with input as inputs.plain with data.org.rule_data as {"images_signature": {"keys": []}}
}
