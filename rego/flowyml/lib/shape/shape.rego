# METADATA
# title: The shape of the input
# description: |
#   Whether the input is a policy input of schema version 1, as far as any rule relies on it. The schema says more, and
#   the builder of the input keeps to all of it; this is what stands between the rules and any other client of OPA.
package flowyml.lib.shape

# METADATA
# description: The rules can rely on the input.
valid if {
	input.schema_version == 1
	is_string(input.evaluated_at)
	_is_strings(input.environments)
	_is_stack(input.stack)
	is_string(input.source.kind)
	_is_policies(input.project.policies)
	is_array(input.images)
	every image in input.images {
		_is_image(image)
	}
}

_is_stack(stack) if {
	is_string(stack.name)
	_is_string_or_null(stack.version)
	is_object(stack.labels)
	every value in stack.labels {
		is_string(value)
	}
	is_object(stack.spec)
}

_is_policies(policies) if {
	_is_strings_or_null(policies.allowed_stacks)
	_is_strings_or_null(policies.required_labels)
	_is_strings_or_null(policies.image_policy.allowed_registries)
	_is_strings_or_null(policies.image_policy.required_labels)
	is_object(policies.levels)
	is_object(policies.rule_data)
}

_is_image(image) if {
	is_string(image.ref)
	_is_string_or_null(image.registry)
	_is_string_or_null(image.repository)
	_is_string_or_null(image.tag)
	_is_string_or_null(image.error)
	_is_string_or_null(image.via)
	is_boolean(image.inspected)
	is_array(image.paths)
}

_is_string_or_null(null)

_is_string_or_null(value) if is_string(value)

_is_strings_or_null(null)

_is_strings_or_null(values) if _is_strings(values)

_is_strings(values) if {
	is_array(values)
	every value in values {
		is_string(value)
	}
}
