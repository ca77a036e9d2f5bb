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
# description: What the company says for each rule, else what ships.
company := object.union(data.flowyml.rule_data, _mapping)

# METADATA
# description: |
#   Who a source of data is, to be read by the user: `company`, or the key of policies in the project's flowyml.yaml.
owner("company", rule, key) := sprintf("the company's policy (%s.%s)", [rule, key])

owner(source, _, _) := sprintf("the project (policies.%s)", [source]) if source != "company"

# METADATA
# description: By rule, for those that have any, the data that the company and the project give it, each with its place.
given := {rule: sources | some rule, sources in _given}

# METADATA
# description: The company's rule data is no mapping of rules to their data, so that it cannot be read at all.
unreadable if not is_object(_said)

# METADATA
# description: |
#   What is wrong with data given for a rule: keys that it does not read, values that are no lists, entries that do not
#   match. `known` maps each key that the rule reads to `pattern`, which every entry must match, and `wanted`, which
#   says so in words.
problems(sources, known) := {problem |
	some source in sources
	some problem in _problems(source.place, source.value, known)
}

# METADATA
# description: Every glob in company and shipped data.
patterns contains pattern if {
	some source in [data.flowyml.rule_data, _mapping]
	walk(source, [path, list])
	key := path[count(path) - 1]
	is_string(key)
	regex.match(`(^|_)stacks$`, key)
	some pattern in list
	is_string(pattern)
}

default _said := {}

_said := data.org.rule_data

default _mapping := {}

_mapping := _said if is_object(_said)

# By rule: the data that the company and the project give it.
_given[rule] contains {"place": sprintf("data.org.rule_data.%s", [rule]), "value": value} if {
	some rule, value in data.org.rule_data
}

_given[rule] contains {"place": sprintf("policies.rule_data.%s", [rule]), "value": value} if {
	some rule, value in input.project.policies.rule_data
}

_problems(place, given, _) := {{
	"subject": place,
	"message": sprintf("%s is no mapping of keys to values", [place]),
	"fix": sprintf("let %s map each key that the rule reads to its value, or leave it out", [place]),
}} if {
	not is_object(given)
}

_problems(place, given, known) := {problem |
	some key, value in given
	some problem in _problem(sprintf("%s.%s", [place, key]), key, value, known)
} if {
	is_object(given)
}

_problem(place, key, _, known) := {{
	"subject": place,
	"message": sprintf("%s is no key that the rule reads", [place]),
	"fix": sprintf("the rule reads %s", [text.listing(object.keys(known))]),
}} if {
	not known[key]
}

_problem(place, key, value, known) := {{
	"subject": place,
	"message": sprintf("%s must be %s, but it is %s", [place, known[key].wanted, json.marshal(value)]),
	"fix": sprintf("let %s be %s", [place, known[key].wanted]),
}} if {
	not _fits(value, known[key].pattern)
}

_fits(null, _)

_fits(value, pattern) if {
	is_array(value)
	every entry in value {
		is_string(entry)
		regex.match(pattern, entry)
	}
}
