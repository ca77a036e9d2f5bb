# METADATA
# title: The shape of the input
# description: |
#   Whether the input is a policy input of schema version 1, as far as any rule relies on it. The schema says more, and
#   the builder of the input keeps to all of it; this stands between the rules and any other client of OPA. An evaluator
#   that takes validated records only asks for decisions `with data.flowyml.lib.shape.valid as true`.
#
#   A value that is missing leaves the rule undefined, also within an array or a set, but not within a comprehension.
package flowyml.lib.shape

# METADATA
# description: The rules can rely on the input.
valid if {
	input.schema_version == 1
	is_object(input.stack.spec)
	is_object(input.stack.labels)
	is_object(input.project.policies.levels)
	is_object(input.project.policies.rule_data)
	is_array(input.environments)
	is_array(input.images)
	is_string(input.evaluated_at)
	{
		type_name(input.project.policies.allowed_stacks),
		type_name(input.project.policies.required_labels),
		type_name(input.project.policies.image_policy.allowed_registries),
		type_name(input.project.policies.image_policy.required_labels),
		type_name(input.project.policies.image_policy.allowed_bases),
		type_name(input.project.policies.image_policy.deny_tags),
	} - {"array", "null"} == set()
	type_name(input.project.policies.image_policy.max_age_seconds) in {"number", "null"}
	type_name(input.project.policies.image_policy.require_digest) in {"boolean", "null"}
	texts := [
		[input.stack.name, input.source.kind],
		input.environments,
		input.stack.labels,
		input.project.policies.allowed_stacks,
		input.project.policies.required_labels,
		input.project.policies.image_policy.allowed_registries,
		input.project.policies.image_policy.required_labels,
		input.project.policies.image_policy.allowed_bases,
		input.project.policies.image_policy.deny_tags,
	]
	{text | text := texts[_][_]; not is_string(text)} == set()
	type_name(input.stack.version) in {"string", "null"}
	_all(input.images, _image)
	{type_name(path) | path := input.images[_].paths[_]} - {"array"} == set()
	{image | some image in input.images; image.registry != null; image.repository == null} == set()
	{key | key := input.images[_].paths[_][_]; not is_string(key); not is_index(key)} == set()
	_all([error | error := input.images[_].error; error != null], {"code": _text, "message": _text})
	_platforms
	_evidence
	is_array(input.bases)
	_all(input.bases, {"ref": _text, "digest": _maybe, "platform": _text, "diff_ids": _list})
	_lock(input.lock)
}

# METADATA
# description: Whether a step of a path is a place in a list, as JSON writes it. 1.0 is none.
is_index(key) if regex.match(`^[0-9]{1,9}$`, json.marshal(key))

# What is in the images.
_platforms if {
	platforms := [platform | platform := input.images[_].platforms[_]]
	_all(platforms, {
		"platform": _text,
		"digest": _maybe,
		"labels": {"object"},
		"user": _maybe,
		"created": _maybe,
		"size": {"number", "null"},
		"base": {"object", "null"},
		"diff_ids": _list,
	})
	{text | text := platforms[_].labels[_]; not is_string(text)} == set()
	_all([base | base := platforms[_].base; base != null], {"ref": _text, "digest": _maybe, "how": _text})
}

# What others say of them.
_evidence if {
	demands := [demand | demand := input.images[_].signing[_]]
	_all(demands, {"entry": _text, "need": {"number"}, "keys": _list})
	_all([key | key := demands[_].keys[_]], {"id": _text, "name": _text})
	_all([found | found := input.images[_].signatures[_]], {
		"key": _maybe,
		"form": _text,
		"digest": _maybe,
		"ok": {"boolean"},
		"reason": _maybe,
		"problem": _maybe,
	})
	scans := [scan | scan := input.images[_].scan; scan != null]
	_all(scans, {
		"tool": _text,
		"db_at": _maybe,
		"findings": _list,
		"digests": _list,
		"signed": {"boolean"},
		"signed_digests": _list,
	})
	{digest | digest := [scans[_].digests, scans[_].signed_digests][_][_]; not is_string(digest)} == set()
	_all([finding | finding := scans[_].findings[_]], {"id": _text, "severity": _text, "package": _text, "fixed_in": _maybe})
}

_lock(null)

_lock(lock) if {
	is_object(lock.images)
	{digest | some digest in lock.images; not is_string(digest)} == set()
}

_image := {
	"ref": _text,
	"registry": _maybe,
	"repository": _maybe,
	"tag": _maybe,
	"digest": _maybe,
	"paths": _list,
	"inspected": {"boolean"},
	"via": _maybe,
	"certainty": _text,
	"endpoint": _maybe,
	"error": {"object", "null"},
	"platforms": _list,
	"signing": _list,
	"signatures": _list,
	"scan": {"object", "null"},
	"scan_problem": _maybe,
}

_text := {"string"}

_maybe := {"string", "null"}

_list := {"array"}

# Every one of them has these keys, each with a value of one of these types.
_all(items, form) if {
	every item in items {
		every key, types in form {
			type_name(item[key]) in types
		}
	}
}
