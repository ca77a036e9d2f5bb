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
# description: What the company says for a key of a rule, else what ships.
company(rule, key) := value if {
	value := data.org.rule_data[rule][key]
} else := data.flowyml.rule_data[rule][key]

# METADATA
# description: |
#   Who a source of data is, to be read by the user: `company`, or the key of policies in the project's flowyml.yaml.
owner("company", rule, key) := sprintf("the company's policy (%s.%s)", [rule, key])

owner(source, _, _) := sprintf("the project (policies.%s)", [source]) if source != "company"

# METADATA
# description: |
#   What is wrong with the data given for a rule: keys that it does not read, values that are no lists, entries that do
#   not match. `known` maps each key that the rule reads to `pattern`, which every entry must match, and `wanted`,
#   which says so in words.
problems(rule, known) := {problem |
	some given in _given[rule]
	some problem in _problems(given.place, given.value, known)
}

# METADATA
# description: What is wrong with rule data as a whole, or given for a rule that is not among `rules`.
unread(rules) := _no_mapping | {problem |
	some rule, sources in _given
	not rule in rules
	some given in sources
	problem := {
		"subject": given.place,
		"message": sprintf("%s gives data to a rule that is not loaded", [given.place]),
		"fix": sprintf("correct the name of the rule; these are loaded: %s", [text.listing(rules)]),
	}
}

# METADATA
# description: Every glob in company and shipped data.
patterns contains pattern if {
	some source in [data.flowyml.rule_data, _company]
	walk(source, [path, list])
	regex.match(`(^|_)stacks$`, path[count(path) - 1])
	some pattern in list
	is_string(pattern)
}

default _company := {}

_company := data.org.rule_data

# By rule: the data that the company and the project give it.
_given[rule] contains {"place": sprintf("data.org.rule_data.%s", [rule]), "value": value} if {
	some rule, value in data.org.rule_data
}

_given[rule] contains {"place": sprintf("policies.rule_data.%s", [rule]), "value": value} if {
	some rule, value in input.project.policies.rule_data
}

_no_mapping contains problem if {
	not is_object(_company)
	problem := {
		"subject": "data.org.rule_data",
		"message": "data.org.rule_data of the company's policy is no mapping of rules to their data",
		"fix": "let data.org.rule_data map names of rules to their data, or leave it out",
	}
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
