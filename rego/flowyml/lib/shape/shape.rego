# METADATA
# title: The shape of the input
# description: |
#   Whether the input is a policy input of schema version 1, as far as any rule relies on it. The schema says more, and
#   the builder of the input keeps to all of it; this stands between the rules and any other client of OPA.
package flowyml.lib.shape

# METADATA
# description: The rules can rely on the input.
valid if {
	input.schema_version == 1
	is_string(input.stack.name)
	is_object(input.stack.spec)
	is_object(input.stack.labels)
	is_string(input.source.kind)
	is_object(input.project.policies.levels)
	is_object(input.project.policies.rule_data)
	type_name(input.stack.version) in {"string", "null"}
	lists := [
		input.project.policies.allowed_stacks,
		input.project.policies.required_labels,
		input.project.policies.image_policy.allowed_registries,
		input.project.policies.image_policy.required_labels,
	]
	every list in lists {
		type_name(list) in {"array", "null"}
	}
	is_array(input.environments)
	texts := array.concat([input.environments, input.stack.labels], lists)
	{type_name(text) | some text in texts[_]} - {"string"} == set()
	is_array(input.images)
	every image in input.images {
		is_string(image.ref)
		is_boolean(image.inspected)
		is_array(image.paths)
		every value in [image.registry, image.repository, image.tag, image.via, image.error] {
			type_name(value) in {"string", "null"}
		}
	}
}
