package conventions

# Syntax trees as small as the conventions look at them; tests/rego hands them real ones.

_file := "rules/own/own.rego"

_block(code) := {
	"scope": "rule",
	"title": "t",
	"description": "d",
	"related_resources": [{"ref": "https://example.com", "description": "l"}],
	"custom": {"code": code, "enforcement": "soft", "why": "w"},
}

_about := {"scope": "package", "title": "t", "description": "d"}

_builds(code) := {"type": "object", "value": [
	[{"type": "string", "value": "subject"}, {"type": "string", "value": "own.not_a_code"}],
	[{"type": "string", "value": "code"}, {"type": "string", "value": code}],
]}

_rule(row, name, codes, blocks) := {
	"location": {"row": row},
	"head": {"name": name, "key": {}, "ref": [{"type": "var", "value": name}]},
	"annotations": blocks,
	"body": [{"index": 0, "terms": [_builds(code)]} | some code in codes],
}

_finding(row, code) := _rule(row, "findings", [code], [_block(code)])

_module(file, folder, rules) := {
	"file": file,
	"tree": {
		"package": {"path": array.concat([{"type": "var", "value": "data"}], [{"type": "string", "value": key} | some key in folder])},
		"annotations": [_about],
		"rules": rules,
	},
}

_own(rules) := _module(_file, ["flowyml", "rules", "own"], rules)

_tests(names) := _module("rules/own/own_test.rego", ["flowyml", "rules", "own"], [_rule(row, name, [], []) |
	some row, name in names
])

_of(modules) := found if {
	found := problems with input as {"modules": modules}
}

_of_rules(rules) := _of([_own(rules), _tests(["test_allow_a"])])

_with_block(block) := _of_rules([_rule(1, "findings", ["own.a"], [block])])

test_rule_that_keeps_to_all_of_them if {
	_of_rules([_finding(1, "own.a"), _finding(2, "own.b"), _rule(3, "_inner", [], [])]) == set()
}

test_library_that_keeps_to_all_of_them if {
	path := ["flowyml", "lib", "words"]
	_of([
		_module("lib/words/words.rego", path, [_rule(1, "listing", [], [])]),
		_module("lib/words/words_test.rego", path, [_rule(1, "test_listing", [], [])]),
	]) == set()
}

test_nothing if {
	_of([]) == {"nothing was handed over to be judged"}
}

test_code_without_a_block if {
	_of_rules([_rule(7, "findings", ["own.a"], [])]) == {"rules/own/own.rego:7: the code own.a has no METADATA block on the body that reports it"}
}

test_code_with_the_block_of_another if {
	_of_rules([_rule(7, "findings", ["own.a"], [_block("own.b")])]) == {
		"rules/own/own.rego:7: the code own.a has no METADATA block on the body that reports it",
		"rules/own/own.rego:7: the METADATA block of own.b stands on a body that does not report it",
	}
}

test_block_on_an_inner_rule if {
	_of_rules([_finding(1, "own.a"), _rule(2, "_inner", [], [_block("own.b")])]) == {"rules/own/own.rego:2: the METADATA block of own.b stands on a body that does not report it"}
}

test_block_of_the_whole_document_is_no_block_of_a_body if {
	_with_block(object.union(_block("own.a"), {"scope": "document"})) == {"rules/own/own.rego:1: the code own.a has no METADATA block on the body that reports it"}
}

test_body_without_a_code if {
	_of_rules([_rule(1, "findings", [], []), _rule(2, "findings", ["plain"], [])]) == {
		"rules/own/own.rego:1: a body of findings reports no code of its own",
		"rules/own/own.rego:2: a body of findings reports no code of its own",
	}
}

test_body_with_two_codes if {
	_of_rules([_rule(1, "findings", ["own.a", "own.b"], [_block("own.a"), _block("own.b")])]) == {"rules/own/own.rego:1: a body of findings reports no code of its own"}
}

test_code_with_two_blocks if {
	_of_rules([_finding(1, "own.a"), _finding(5, "own.a")]) == {"the code own.a has a METADATA block in more than one place: rules/own/own.rego:1, rules/own/own.rego:5"}
}

test_block_that_lacks_a_text if {
	every key, words in {"title": "a title", "description": "a description"} {
		expected := {sprintf("rules/own/own.rego:1: the METADATA block lacks %s", [words])}
		_with_block(object.remove(_block("own.a"), [key])) == expected
		_with_block(object.union(_block("own.a"), {key: " "})) == expected
	}
	_with_block(object.union(_block("own.a"), {"custom": {"why": ""}})) == {"rules/own/own.rego:1: the METADATA block lacks custom.why"}
}

test_block_with_an_odd_key if {
	_with_block(object.union(_block("own.a"), {"custom": {"level": "hard"}})) == {"rules/own/own.rego:1: the METADATA block has custom.level, which nobody reads"}
}

test_block_with_an_odd_level if {
	every level in ["disabled", "Hard", "", null] {
		_with_block(object.union(_block("own.a"), {"custom": {"enforcement": level}})) == {"rules/own/own.rego:1: custom.enforcement is not advisory, soft or hard"}
	}
	_with_block(object.union(_block("own.a"), {"custom": {"needs": "facts"}})) == set()
	_with_block(object.union(_block("own.a"), {"custom": {"needs": "images"}})) == {"rules/own/own.rego:1: custom.needs is not facts"}
	_with_block(json.remove(_block("own.a"), ["custom/enforcement"])) == {"rules/own/own.rego:1: custom.enforcement is not advisory, soft or hard"}
}

test_block_without_a_link if {
	every links in [[], [{"ref": "http://example.com", "description": "l"}], [{"ref": "https://example.com", "description": ""}], [{"ref": "https://example.com"}]] {
		_with_block(object.union(_block("own.a"), {"related_resources": links})) == {"rules/own/own.rego:1: the METADATA block has no link with a description"}
	}
	_with_block(object.remove(_block("own.a"), ["related_resources"])) == {"rules/own/own.rego:1: the METADATA block has no link with a description"}
}

test_code_of_another_rule if {
	every code in ["other.a", "own.a.b", "own.A", "owner.a", "own.", "xown.a"] {
		_of_rules([_finding(1, code)]) == {sprintf("rules/own/own.rego:1: the code %s is not own.<check>", [code])}
	}
}

test_package_of_another_folder if {
	path := ["flowyml", "rules", "own", "deeper"]
	found := _of([_module(_file, path, [_rule(1, "a", [], [])]), _tests(["test_allow_a"])])
	found == {
		"rules/own/own.rego: the package is flowyml.rules.own.deeper, but the folder says flowyml.rules.own",
		"rules/own/own.rego: the file is not named after its package",
	}
}

test_package_outside_of_the_root if {
	_of([
		_module("lib/words/words.rego", ["other", "lib", "words"], []),
		_module("lib/words/words_test.rego", ["flowyml", "lib", "words"], []),
	]) == {"lib/words/words.rego: the package is other.lib.words, but the folder says flowyml.lib.words"}
}

test_file_of_another_name if {
	path := ["flowyml", "lib", "words"]
	_of([
		_module("lib/words/otherwords.rego", path, []),
		_module("lib/words/otherwords_test.rego", path, []),
	]) == {
		"lib/words/otherwords.rego: the file is not named after its package",
		"lib/words/otherwords_test.rego: the file is not named after its package",
	}
}

test_package_without_a_block if {
	every annotations in [[], [{"scope": "package", "title": "t", "description": ""}], [{"scope": "package", "title": "", "description": "d"}], [object.union(_about, {"scope": "rule"})]] {
		bare := object.union(_own([_finding(1, "own.a")]), {"tree": {"annotations": annotations}})
		_of([bare, _tests(["test_allow_a"])]) == {"rules/own/own.rego: the package has no METADATA block with a title and a description"}
	}
}

test_rule_without_findings if {
	_of_rules([_rule(1, "_inner", [], [])]) == {"rules/own/own.rego: the rule does not export `findings`"}
}

test_findings_that_are_no_set if {
	scalar := json.remove(_finding(3, "own.a"), ["head/key"])
	_of_rules([scalar]) == {
		"rules/own/own.rego: the rule does not export `findings`",
		"rules/own/own.rego:3: `findings` is not a set",
	}
}

test_second_export if {
	_of_rules([_finding(1, "own.a"), _rule(4, "allowed", [], [])]) == {"rules/own/own.rego:4: allowed is exported; only `findings` is, other names begin with `_`"}
}

test_package_without_tests if {
	_of([_own([_finding(1, "own.a")])]) == {"rules/own/own.rego: the package has no test beside it"}
}

test_test_of_another_name if {
	every name in ["test_works", "test_deny", "test_denyx", "test_allow_A"] {
		_of([_own([_finding(1, "own.a")]), _tests([name, "inner"])]) == {sprintf("rules/own/own_test.rego:0: %s is neither test_allow_* nor test_deny_*", [name])}
	}
}

test_two_tests_of_one_name if {
	_of([_own([_finding(1, "own.a")]), _tests(["test_deny_a", "inner", "inner", "test_deny_a"])]) == {"rules/own/own_test.rego:3: test_deny_a is there twice"}
}

test_one_name_in_two_files if {
	path := ["flowyml", "lib", "words"]
	_of([
		_own([_finding(1, "own.a")]),
		_tests(["test_deny_a"]),
		_module("lib/words/words.rego", path, []),
		_module("lib/words/words_test.rego", path, [_rule(9, "test_deny_a", [], [])]),
	]) == set()
}

_ref(keys) := {"type": "ref", "value": [{"type": "string", "value": key} | some key in keys]}

_calling(terms) := object.union(_finding(1, "own.a"), {"body": [{"terms": [_builds("own.a")]}, {"terms": terms}]})

test_builtin_that_is_not_for_policy if {
	every name in ["http.send", "net.lookup_ip_addr", "opa.runtime", "time.now_ns", "rand.intn", "uuid.rfc4122", "trace"] {
		_of_rules([_calling([_ref(split(name, "."))])]) == {sprintf("rules/own/own.rego:1: %s is not for policy: it does I/O, reads a clock or rolls dice", [name])}
	}
	_of_rules([_calling([_ref(["time", "parse_rfc3339_ns"])])]) == set()
}

test_builtin_whose_result_has_no_bound if {
	every path in [["bits", "lsh"], ["net", "cidr_expand"], ["numbers", "range"], ["numbers", "range_step"], ["strings", "render_template"]] {
		_of_rules([_calling([_ref(path), {"type": "number", "value": 1}])]) == {sprintf(
			"rules/own/own.rego:1: %s can make more than memory holds",
			[concat(".", path)],
		)}
	}
	_of_rules([_calling([_ref(["bits", "rsh"]), {"type": "number", "value": 1}])]) == set()
}

test_format_that_is_not_bounded if {
	every format in [{"type": "var", "value": "format"}, {"type": "string", "value": "%*d"}, {"type": "string", "value": "%.[1]*f"}] {
		_of_rules([_calling([_ref(["sprintf"]), format])]) == {"rules/own/own.rego:1: sprintf has a format that is no literal, or one with `*`: its input could ask for any width"}
	}
	_of_rules([_calling([_ref(["sprintf"]), {"type": "string", "value": "%05d %s"}])]) == set()
}

test_glob_with_other_delimiters if {
	_of_rules([_calling([_ref(["glob", "match"]), {"type": "string", "value": "*"}, {"type": "array", "value": []}])]) == {"rules/own/own.rego:1: glob.match has delimiters other than null"}
	_of_rules([_calling([_ref(["glob", "match"]), {"type": "string", "value": "*"}, {"type": "null", "value": null}])]) == set()
	_of_rules([_calling([_ref(["regex", "match"]), {"type": "string", "value": "*"}, {"type": "string", "value": ""}])]) == set()
}
