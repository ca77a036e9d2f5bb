# METADATA
# title: Rule data
# description: |
#   The data that a rule reads, and how its sources meet. What ships (data.flowyml.rule_data.<rule>) is replaced key
#   by key by the company's (data.org.rule_data.<rule>). The project can only tighten: it adds sources, in
#   policies.rule_data.<rule> and in keys of policies, and every source that is set counts.
#
#   Every value is a list or null: null says nothing, an empty list names nothing. Globs stand in lists whose key is
#   `stacks` or ends in `_stacks`, and nowhere else.
package flowyml.lib.rule_data

import data.flowyml.lib.text

# METADATA
# description: |
#   Every list that is set for a key of a rule, with its place. `own` is what the project says in the key of its
#   policies that belongs to this rule: a list, or null where it says nothing.
lists(rule, key, own) := {source |
	some place, values in {
		"company": object.get(_company, [rule, key], object.get(_shipped, [rule, key], null)),
		"policies": own,
		"rule_data": object.get(input.project.policies.rule_data, [rule, key], null),
	}
	is_array(values)
	source := {"place": place, "values": values}
}

# METADATA
# description: Everything that any list for a key of a rule names.
union_of(rule, key, own) := {value |
	some source in lists(rule, key, own)
	some value in source.values
}

# METADATA
# description: Who says so, to be read by the user. `own` is the key of policies that belongs to this rule.
owner("company", rule, key, _) := sprintf("the company's policy (%s.%s)", [rule, key])

owner("policies", _, _, own) := sprintf("the project (policies.%s)", [own])

owner("rule_data", rule, key, _) := sprintf("the project (policies.rule_data.%s.%s)", [rule, key])

# METADATA
# description: |
#   What is wrong with the data given for a rule: keys that it does not read, values that are no lists, entries that do
#   not match. `known` maps each key that the rule reads to `pattern`, which every entry must match, and `wanted`,
#   which says so in words.
problems(rule, known) := {problem |
	some place, given in {
		"data.org.rule_data": object.get(_company, rule, {}),
		"policies.rule_data": object.get(input.project.policies.rule_data, rule, {}),
	}
	some problem in _wrong(concat(".", [place, rule]), given, known)
}

# METADATA
# description: What is wrong with rule data as a whole, or given for a rule that is not among `rules`.
unread(rules) := {problem |
	some place, given in {
		"data.org.rule_data": _given,
		"policies.rule_data": input.project.policies.rule_data,
	}
	some problem in _unread(place, given, rules)
}

# METADATA
# description: Every glob in company and shipped data.
patterns contains pattern if {
	some source in [_shipped, _company]
	walk(source, [path, list])
	regex.match(`(^|_)stacks$`, _last(path))
	some pattern in list
	is_string(pattern)
}

_last(path) := key if {
	key := path[count(path) - 1]
	is_string(key)
}

_wrong(place, given, _) := {{
	"subject": place,
	"message": sprintf("%s is no mapping of keys to values", [place]),
	"fix": sprintf("let %s map each key of the rule to its value, or leave it out", [place]),
}} if {
	not is_object(given)
}

_wrong(place, given, known) := {problem |
	some key, value in given
	some problem in _wrong_value(sprintf("%s.%s", [place, key]), value, object.get(known, [key], null), known)
} if {
	is_object(given)
}

_wrong_value(place, _, null, known) := {{
	"subject": place,
	"message": sprintf("%s is no key that the rule reads", [place]),
	"fix": sprintf("the rule reads %s", [text.listing(object.keys(known))]),
}}

_wrong_value(place, value, expected, _) := {{
	"subject": place,
	"message": sprintf("%s must be %s, but it is %s", [place, expected.wanted, json.marshal(value)]),
	"fix": sprintf("let %s be %s", [place, expected.wanted]),
}} if {
	expected != null
	not _fits(value, expected.pattern)
}

_wrong_value(_, value, expected, _) := set() if _fits(value, expected.pattern)

_fits(null, _)

_fits(value, pattern) if {
	is_array(value)
	every entry in value {
		is_string(entry)
		regex.match(pattern, entry)
	}
}

_unread(place, given, _) := {{
	"subject": place,
	"message": sprintf("%s is no mapping of rules to their data", [place]),
	"fix": sprintf("let %s map names of rules to their data, or leave it out", [place]),
}} if {
	not is_object(given)
}

_unread(place, given, rules) := {problem |
	some rule in (object.keys(given) - {rule | some rule in rules})
	problem := {
		"subject": sprintf("%s.%s", [place, rule]),
		"message": sprintf("%s.%s gives data to a rule that is not loaded", [place, rule]),
		"fix": sprintf("correct the name of the rule; these are loaded: %s", [text.listing(rules)]),
	}
} if {
	is_object(given)
}

default _shipped := {}

_shipped := data.flowyml.rule_data

default _given := {}

_given := data.org.rule_data

default _company := {}

_company := _given if is_object(_given)
