# METADATA
# title: The shape of the input
# description: |
#   Whether the input is a policy input of schema version 1, as far as any rule relies on it. The schema says more, and
#   the builder of the input keeps to all of it; this stands between the rules and any other client of OPA.
#
#   A value that is missing leaves the rule undefined, also within an array, but not within a comprehension. Types are
#   gathered and compared as sets, which is several times cheaper than to look at one value after the other.
package flowyml.lib.shape

# METADATA
# description: The rules can rely on the input.
valid if {
	input.schema_version == 1
	is_string(input.stack.name)
	is_object(input.stack.spec)
	is_object(input.stack.labels)
	is_string(input.source.kind)
	is_array(input.environments)
	is_array(input.images)
	is_object(input.project.policies.levels)
	is_object(input.project.policies.rule_data)
	lists := [
		input.project.policies.allowed_stacks,
		input.project.policies.required_labels,
		input.project.policies.image_policy.allowed_registries,
		input.project.policies.image_policy.required_labels,
	]
	images := [image |
		some facts in input.images
		is_array(facts.paths)
		is_boolean(facts.inspected)
		is_string(facts.ref)
		image := [facts.registry, facts.repository, facts.tag, facts.via, facts.error]
	]
	count(images) == count(input.images)
	{type_name(list) | some list in lists} - {"array", "null"} == set()
	texts := array.concat([input.environments, input.stack.labels], lists)
	{type_name(text) | some text in texts[_]} - {"string"} == set()
	known := array.concat(images, [[input.stack.version]])
	{type_name(text) | some text in known[_]} - {"string", "null"} == set()
}
