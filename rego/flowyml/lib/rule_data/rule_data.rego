# METADATA
# title: Rule data
# description: |
#   The data that a rule reads, and how its sources meet. What ships (data.flowyml.rule_data.<rule>) is replaced key
#   by key by the company's (data.org.rule_data.<rule>). The project can only tighten: it adds sources, in
#   policies.rule_data.<rule> and in keys of policies, and every source that is set counts.
#
#   Null says nothing, whatever a value else is; an empty list names nothing. Globs stand in lists whose key is
#   `stacks` or ends in `_stacks`, in lists of tags (`denied` of images_tag), and nowhere else.
package flowyml.lib.rule_data

import data.flowyml.lib.text

# METADATA
# description: What the company says for each rule, else what ships.
company := object.union(data.flowyml.rule_data, data.org.rule_data) if {
	is_object(data.org.rule_data)
} else := data.flowyml.rule_data

# METADATA
# description: By rule, for those that have any, the data that the company and the project give it, each with its place.
given := {} if {
	not data.org.rule_data
	input.project.policies.rule_data == {}
} else := {rule: sources |
	some rule in object.keys(object.union(_mapping, input.project.policies.rule_data))
	sources := {source |
		some place, said in {"data.org.rule_data": _mapping, "policies.rule_data": input.project.policies.rule_data}
		source := {"place": sprintf("%s.%s", [place, rule]), "value": said[rule]}
	}
}

# METADATA
# description: |
#   What a key of a rule's data is: first for the company, else for what ships, then for the project. Null where nothing
#   is said, and where a mapping was expected around it. What is no value that the rule reads is told by `problems`.
said(rule, key) := [
	object.get(company, [rule, key], null),
	object.get(input.project.policies.rule_data, [rule, key], null),
]

# METADATA
# description: |
#   What is wrong with data given for a rule: keys that it does not read, and values of another form. `known` maps each
#   key that the rule reads to `wanted`, which says in words what its value must be, and one of
#     pattern: a list of texts that match it
#     text: a text that matches it
#     number: {"least": n}, a number that is not below
#     boolean: true, either of the two
#     mapping: {"key_pattern", "pattern"}, a mapping of texts to lists of texts, which match
#     records: {"key_pattern", "fields"}, a mapping of texts to mappings with exactly these fields, each a text that
#       matches what `fields` says of it
problems(sources, known) := {problem |
	some source in sources
	some problem in _problems(source.place, source.value, known)
}

# METADATA
# description: Every glob in company and shipped data.
patterns contains pattern if {
	some source in [data.flowyml.rule_data, _mapping]
	walk(source, [path, list])
	_of_globs(path)
	some pattern in list
	is_string(pattern)
}

_of_globs(path) if {
	key := path[count(path) - 1]
	is_string(key)
	regex.match(`(^|_)stacks$`, key)
}

_of_globs(["images_tag", "denied"])

default _mapping := {}

_mapping := data.org.rule_data if is_object(data.org.rule_data)

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
	not _fits(value, known[key])
}

_fits(null, _)

_fits(value, form) if _all_match(value, form.pattern)

_fits(value, form) if _matches(value, form.text)

_fits(value, form) if {
	is_number(value)
	value >= form.number.least
}

_fits(value, form) if {
	form.boolean
	is_boolean(value)
}

_fits(value, form) if {
	is_object(value)
	wanted := form.mapping
	every name, list in value {
		_matches(name, wanted.key_pattern)
		_all_match(list, wanted.pattern)
	}
}

_fits(value, form) if {
	is_object(value)
	wanted := form.records
	every name, record in value {
		_matches(name, wanted.key_pattern)
		is_object(record)
		object.keys(record) == object.keys(wanted.fields)
		every field, pattern in wanted.fields {
			_matches(record[field], pattern)
		}
	}
}

_all_match(list, pattern) if {
	is_array(list)
	every entry in list {
		_matches(entry, pattern)
	}
}

_matches(value, pattern) if {
	is_string(value)
	regex.match(pattern, value)
}
