# METADATA
# title: The shape of the input
# description: |
#   Whether the input is a policy input of schema version 1, as far as any rule relies on it. The schema says more, and
#   the builder of the input keeps to all of it; this stands between the rules and any other client of OPA. An evaluator
#   that takes validated records only asks for decisions `with data.flowyml.lib.shape.valid as true`.
#
#   A value that is missing leaves the rule undefined, also within an array or a set, but not within a comprehension.
#   Where a rule does not mind the type of a value it only has to be there: each look is a twentieth of a small decision.
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
	{
		type_name(input.project.policies.allowed_stacks),
		type_name(input.project.policies.required_labels),
		type_name(input.project.policies.image_policy.allowed_registries),
		type_name(input.project.policies.image_policy.required_labels),
	} - {"array", "null"} == set()
	texts := [
		[input.stack.name, input.source.kind],
		input.environments,
		input.stack.labels,
		input.project.policies.allowed_stacks,
		input.project.policies.required_labels,
		input.project.policies.image_policy.allowed_registries,
		input.project.policies.image_policy.required_labels,
	]
	{text | text := texts[_][_]; not is_string(text)} == set()
	type_name(input.stack.version) in {"string", "null"}
	images := [image |
		some facts in input.images
		is_array(facts.paths)
		is_string(facts.ref)
		{type_name(facts.registry), type_name(facts.repository), type_name(facts.tag)} - {"string", "null"} == set()
		image := [facts.via, facts.inspected, facts.error]
	]
	count(images) == count(input.images)
	{type_name(path) | path := input.images[_].paths[_]} - {"array"} == set()
	{type_name(key) | key := input.images[_].paths[_][_]} - {"string", "number"} == set()
}
