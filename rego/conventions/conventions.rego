# METADATA
# title: Conventions of the shipped policy
# description: |
#   What every Rego file below rego/flowyml keeps to, judged on the syntax trees that `opa parse` prints:
#   `{"modules": [{"file": path below rego/flowyml, "tree": ...}]}`. This package is part of no bundle.
package conventions

# METADATA
# description: Everything that breaks a convention, each with its file and row.
problems contains "nothing was handed over to be judged" if count(input.modules) == 0

# Blocks and codes

problems contains _at(place, sprintf("the code %s has no METADATA block on the body that reports it", [code])) if {
	some place in _bodies
	some code in _codes(place.rule)
	not code in {block.custom.code | some block in _blocks(place.rule)}
}

problems contains _at(place, sprintf("the METADATA block of %s stands on a body that does not report it", [code])) if {
	some place in _bodies
	some block in _blocks(place.rule)
	code := block.custom.code
	not code in _codes(place.rule)
}

problems contains _at(place, "a body of findings reports no code of its own") if {
	some place in _bodies
	place.rule.head.name == "findings"
	count(_codes(place.rule)) != 1
}

problems contains sprintf("the code %s has a METADATA block in more than one place: %s", [code, concat(", ", places)]) if {
	some code, places in _described
	count(places) > 1
}

problems contains _at(place, sprintf("the METADATA block lacks %s", [key])) if {
	some place in _reporting
	some block in _blocks(place.rule)
	some key, text in {
		"a title": object.get(block, "title", ""),
		"a description": object.get(block, "description", ""),
		"custom.why": object.get(block, ["custom", "why"], ""),
	}
	trim_space(text) == ""
}

problems contains _at(place, sprintf("the METADATA block has custom.%s, which nobody reads", [key])) if {
	some place in _reporting
	some block in _blocks(place.rule)
	some key, _ in block.custom
	not key in {"code", "enforcement", "needs", "why"}
}

problems contains _at(place, "custom.needs is not facts") if {
	some place in _reporting
	some block in _blocks(place.rule)
	block.custom.needs != "facts"
}

problems contains _at(place, "custom.enforcement is not advisory, soft or hard") if {
	some place in _reporting
	some block in _blocks(place.rule)
	not object.get(block, ["custom", "enforcement"], null) in {"advisory", "soft", "hard"}
}

problems contains _at(place, "the METADATA block has no link with a description") if {
	some place in _reporting
	some block in _blocks(place.rule)
	links := [link |
		some link in block.related_resources
		startswith(link.ref, "https://")
		link.description != ""
	]
	links == []
}

problems contains _at(place, sprintf("the code %s is not %s.<check>", [code, name])) if {
	some place in _bodies
	name := place.path[count(place.path) - 1]
	some code in _codes(place.rule)
	not regex.match(sprintf(`^%s\.[a-z][a-z0-9_]*$`, [name]), code)
}

# Packages and exports

problems contains sprintf("%s: the package is %s, but the folder says %s", [module.file, concat(".", path), concat(".", folder)]) if {
	some module in input.modules
	path := _path(module)
	parts := split(module.file, "/")
	folder := array.concat(["flowyml"], array.slice(parts, 0, count(parts) - 1))
	path != folder
}

problems contains sprintf("%s: the file is not named after its package", [module.file]) if {
	some module in input.modules
	path := _path(module)
	name := path[count(path) - 1]
	not regex.match(sprintf(`(^|/)%s(_test)?\.rego$`, [name]), module.file)
}

problems contains sprintf("%s: the package has no METADATA block with a title and a description", [module.file]) if {
	some module in input.modules
	not _is_test(module.file)
	blocks := [block |
		some block in module.tree.annotations
		block.scope == "package"
		block.title != ""
		block.description != ""
	]
	blocks == []
}

problems contains sprintf("%s: the rule does not export `findings`", [module.file]) if {
	some module in input.modules
	not _is_test(module.file)
	_is_rule(_path(module))
	not "findings" in {rule.head.name | some rule in module.tree.rules; rule.head.key}
}

problems contains _at(place, "`findings` is not a set") if {
	some place in _bodies
	place.rule.head.name == "findings"
	not place.rule.head.key
}

problems contains _at(place, sprintf("%s is exported; only `findings` is, other names begin with `_`", [name])) if {
	some place in _bodies
	_is_rule(place.path)
	name := place.rule.head.ref[0].value
	name != "findings"
	not startswith(name, "_")
}

# Tests

problems contains sprintf("%s: the package has no test beside it", [module.file]) if {
	some module in input.modules
	not _is_test(module.file)
	not replace(module.file, ".rego", "_test.rego") in {other.file | some other in input.modules}
}

problems contains _at(place, sprintf("%s is neither test_allow_* nor test_deny_*", [name])) if {
	some place in _test_bodies
	_is_rule(place.path)
	name := place.rule.head.name
	startswith(name, "test_")
	not regex.match(`^test_(allow|deny)_[a-z0-9_]+$`, name)
}

# Two tests of one name are one test with two bodies, of which one has to pass.
problems contains _at(place, sprintf("%s is there twice", [name])) if {
	some place in _test_bodies
	name := place.rule.head.name
	startswith(name, "test_")
	some other in _test_bodies
	other.file == place.file
	other.rule.head.name == name
	other.rule.location.row < place.rule.location.row
}

# Builtins

problems contains _at(place, sprintf("%s is not for policy: it does I/O, reads a clock or rolls dice", [name])) if {
	some place in _bodies
	some name in _called(place.rule)
	regex.match(`^(http\.send|net\.lookup_ip_addr|opa\.runtime|time\.now_ns|rand\.intn|uuid\.rfc4122|trace)$`, name)
}

# Other delimiters would give one pattern two meanings, and OPA's cache can mix them up.
problems contains _at(place, "glob.match has delimiters other than null") if {
	some place in _bodies
	walk(place.rule, [_, terms])
	is_array(terms)
	_name(terms[0]) == "glob.match"
	terms[2].type != "null"
}

# No deadline and no limit of memory reaches into a call of a builtin, and this policy is judged in the process that asks.
problems contains _at(place, sprintf("%s can make more than memory holds", [name])) if {
	some place in _bodies
	some name in _called(place.rule)
	name in {"bits.lsh", "net.cidr_expand", "numbers.range", "numbers.range_step", "strings.render_template"}
}

problems contains _at(place, "sprintf has a format that is no literal, or one with `*`: its input could ask for any width") if {
	some place in _bodies
	walk(place.rule, [_, terms])
	is_array(terms)
	_name(terms[0]) == "sprintf"
	not _is_bounded(terms[1])
}

_is_bounded(format) if {
	format.type == "string"
	not contains(format.value, "*")
}

# The bodies of all rules, with where they stand: those of the policy, those of them that report a code, those of tests.
_bodies := [place | some place in _places; not _is_test(place.file)]

_test_bodies := [place | some place in _places; _is_test(place.file)]

_reporting := [place | some place in _bodies; _codes(place.rule) != set()]

_places := [{"file": module.file, "path": _path(module), "rule": rule} |
	some module in input.modules
	some rule in module.tree.rules
]

_described[code] contains sprintf("%s:%d", [place.file, place.rule.location.row]) if {
	some place in _bodies
	some block in _blocks(place.rule)
	code := block.custom.code
}

_at(place, message) := sprintf("%s:%d: %s", [place.file, place.rule.location.row, message])

_path(module) := [key.value | some index, key in module.tree.package.path; index > 0]

_is_test(file) if endswith(file, "_test.rego")

_is_rule(["flowyml", "rules", _])

# Blocks on a body itself: one on an entry point counts for the whole document.
_blocks(rule) := [block |
	some block in rule.annotations
	block.scope == "rule"
]

# The codes of the objects that a rule builds. A code has a dot.
_codes(rule) := {pair[1].value |
	walk(rule, [_, node])
	node.type == "object"
	some pair in node.value
	pair[0].value == "code"
	pair[1].type == "string"
	contains(pair[1].value, ".")
}

# The builtins that a rule calls.
_called(rule) := {_name(node) |
	walk(rule, [_, node])
	node.type == "ref"
}

_name(term) := concat(".", [key.value | some key in term.value; is_string(key.value)]) if term.type == "ref"
