package flowyml.main

import data.flowyml.lib.inputs
import data.flowyml.lib.text

_shipped := data.flowyml.catalogue.rules

# An input that no rule has anything to say about: its image is named by digest.
_plain := inputs.changed({"images/0/ref": sprintf("myregistry.azurecr.io/team/train@%s", [inputs.image.digest])})

_changed(values) := json.patch(_plain, [{"op": "replace", "path": path, "value": value} |
	some path, value in values
])

_decision(allow, findings) := {
	"schema_version": 1,
	"allow": allow,
	"findings": findings,
	"waivers": {"applied": [], "expired": []},
	"rules": _shipped,
}

_found(code, level, severity) := {
	"code": code,
	"severity": severity,
	"enforcement": level,
	"subject": "s",
	"path": ["metadata", 0],
	"message": "m",
	"fix": "f",
	"waiver": null,
	"override": null,
	"effective_on": null,
}

_reported(code) := {"code": code, "subject": "s", "path": ["metadata", 0], "message": "m", "fix": "f"}

_reported_at(path) := object.union(_reported("own.a"), {"path": path})

_fault(code, subject, message, fix) := {
	"code": code,
	"severity": "deny",
	"enforcement": "hard",
	"subject": subject,
	"path": [],
	"message": message,
	"fix": fix,
	"waiver": null,
	"override": null,
	"effective_on": null,
}

test_allow_stack_that_nothing_is_wrong_with if {
	decision == _decision(true, []) with input as _plain
}

test_allow_builtin_stack if {
	decision == _decision(true, []) with input as inputs.builtin
}

test_deny_stack_by_a_shipped_rule if {
	decision == _decision(false, [{
		"code": "version.missing",
		"severity": "deny",
		"enforcement": "hard",
		"subject": "prod-gpu-large",
		"path": ["metadata", "version"],
		"message": `the stack "prod-gpu-large" has no version`,
		"fix": "add a semantic version to metadata, for example `version: \"1.0.0\"`",
		"waiver": null,
		"override": null,
		"effective_on": null,
	}]) with input as _changed({"stack/version": null})
}

test_deny_by_every_shipped_rule if {
	image := object.union(inputs.image, {
		"ref": "gcr.io/a:latest",
		"registry": "gcr.io",
		"tag": "latest",
		"platforms": [object.union(inputs.platform, {"user": null, "created": "2020-01-01T00:00:00Z", "size": 1e12})],
		"signing": [{"entry": "gcr.io", "need": 1, "keys": []}],
		"scan": {"tool": "t", "db_at": null, "findings": [], "digests": [], "signed": false, "signed_digests": []},
	})
	lock := {"commit": null, "definition_digest": inputs.image.digest, "images": {image.ref: "sha256:1"}, "bundles": {}}
	found := decision.findings with data.org.environments as {"production": {"builtin": "deny"}}
		with input as _changed({
			"stack/version": null,
			"stack/name": "a b",
			"stack/spec": {"compute": {"backend": "own"}, "runtime": {"dockerfile": "Dockerfile"}},
			"images": [image, inputs.uninspected],
			"lock": lock,
			"project/policies/rule_data": {
				"images_platform": {"required": {"own": ["linux/s390x"]}},
				"images_vulnerabilities": {"required": true},
			},
			"project/policies/required_labels": ["owner"],
			"project/policies/image_policy/allowed_registries": ["myregistry.azurecr.io"],
			"project/policies/image_policy/required_labels": ["owner"],
			"project/policies/image_policy/allowed_bases": [],
		})
	{finding.code | some finding in found} == {
		"images_age.old",
		"images_base.not_allowed",
		"images_built.unnamed",
		"images_inspected.off",
		"images_inspected.required",
		"images_labels.missing",
		"images_lock.moved",
		"images_lock.unpinned",
		"images_pinned.digest",
		"images_platform.missing",
		"images_registry.not_allowed",
		"images_signature.missing",
		"images_size.large",
		"images_tag.mutable",
		"images_user.root",
		"images_vulnerabilities.missing",
		"images_vulnerabilities.old",
		"labels.required",
		"naming.safe",
		"version.missing",
	}
	builtin := decision.findings with data.org.environments as {"production": {"builtin": "deny"}}
		with input as inputs.builtin
	[finding.code | some finding in builtin] == ["source.builtin"]
}

# Levels

test_allow_finding_that_only_warns if {
	decision == _decision(true, [_found("own.a", "advisory", "warn")]) with input as _plain
		with data.org.rules as {"own": {"findings": {_reported("own.a")}}}
		with data.org.catalogue as {"codes": {"own.a": {"enforcement": "advisory"}}, "rules": []}
}

test_deny_finding_that_is_soft if {
	decision == _decision(false, [_found("own.a", "soft", "deny")]) with input as _plain
		with data.org.rules as {"own": {"findings": {_reported("own.a")}}}
		with data.org.catalogue as {"codes": {"own.a": {"enforcement": "soft"}}, "rules": []}
}

test_deny_finding_without_an_entry_as_hard if {
	decision == _decision(false, [_found("own.a", "hard", "deny")]) with input as _plain
		with data.project.rules as {"own": {"findings": {_reported("own.a")}}}
}

test_allow_finding_that_the_company_disabled if {
	decision == _decision(true, []) with input as _changed({"stack/version": null})
		with data.org.levels as {"version.missing": "disabled"}
}

test_allow_finding_of_the_company_that_it_disabled if {
	decision == _decision(true, []) with input as _plain
		with data.org.rules as {"own": {"findings": {_reported("own.a")}}}
		with data.org.catalogue as {"codes": {"own.a": {"enforcement": "hard"}}, "rules": []}
		with data.org.levels as {"own.a": "disabled"}
}

test_deny_finding_that_the_project_makes_hard if {
	changed := _changed({"images/0/inspected": false, "images/0/via": "off", "project/policies/levels": {"images_inspected.off": "hard"}})
	found := decision.findings with input as changed
	[[finding.code, finding.severity, finding.enforcement] | some finding in found] == [["images_inspected.off", "deny", "hard"]]
}

test_deny_finding_that_the_project_brings_back if {
	codes := {[finding.code, finding.enforcement] | some finding in decision.findings} with data.org.levels as {"version.missing": "disabled"}
		with input as _changed({"stack/version": null, "project/policies/levels": {"version.missing": "soft"}})
	codes == {["version.missing", "soft"]}
}

test_deny_finding_that_the_project_would_disable if {
	allow := decision.allow with input as _changed({"stack/version": null, "project/policies/levels": {"version.missing": "disabled"}})
	allow == false
}

test_deny_finding_at_any_place if {
	every path in [[], [0], [999999999], ["", "a b", "0"], ["spec", 0, "x", 12]] {
		found := decision with input as _plain with data.org.rules as {"own": {"findings": {_reported_at(path)}}}
		[[finding.code, finding.path] | some finding in found.findings] == [["own.a", path]]
	}
}

# The three roots

test_deny_by_a_rule_of_each_root if {
	found := decision with input as _changed({"stack/version": null})
		with data.org.rules as {"gpus": {"findings": {_reported("gpus.a")}}}
		with data.org.catalogue as {"codes": {"gpus.a": {"enforcement": "advisory"}}, "rules": ["gpus"]}
		with data.project.rules as {"zones": {"findings": {_reported("zones.a"), _reported("zones.b")}}, "quiet": {"findings": set()}}
		with data.project.catalogue as {"codes": {}, "rules": ["quiet", "zones"]}
	[[finding.code, finding.severity] | some finding in found.findings] == [
		["gpus.a", "warn"],
		["version.missing", "deny"],
		["zones.a", "deny"],
		["zones.b", "deny"],
	]
	found.rules == sort(array.concat(_shipped, ["gpus", "quiet", "zones"]))
	found.allow == false
}

test_deny_by_a_rule_of_the_project_alone if {
	found := decision with input as _plain
		with data.project.rules as {"zones": {"findings": {_reported("zones.a")}}}
		with data.project.catalogue as {"codes": {}, "rules": ["zones"]}
	[finding.code | some finding in found.findings] == ["zones.a"]
	found.rules == array.concat(_shipped, ["zones"])
}

# Faults of the policy itself

test_deny_malformed_input if {
	every document in [{}, [], null, "a", object.remove(_plain, ["images"]), _changed({"schema_version": 2})] {
		decision == _decision(false, [_fault(
			"main.invalid_input",
			"input",
			"the document that was handed to the policy is not a policy input of schema version 1",
			"hand over what `flowyml-policy schema input` describes, made by a flowyml-policy as new as the policy",
		)]) with input as document
	}
}

test_deny_missing_input if {
	{finding.code | some finding in decision.findings} == {"main.invalid_input"}
	decision.allow == false
}

# Rules may rely on the shape of the input, so that none is asked about another.
test_deny_malformed_input_without_asking_the_rules if {
	found := decision with input as _changed({"stack/version": null, "images": null})
		with data.project.rules as {"zones": {"findings": {_reported("zones.a"), 7}}, "odd": {"findings": 7}}
		with data.org.rules as {"gpus": {"findings": {_reported("gpus.a")}}}
		with data.org.rule_data as {"nobody": {}}
	[finding.code | some finding in found.findings] == ["main.invalid_input"]
}

test_deny_where_no_rule_is_loaded if {
	decision == object.union(
		_decision(false, [_fault(
			"main.no_rules",
			"policy",
			"the policy that is loaded holds no rules, so nothing was checked",
			"load the policy that ships with flowyml-policy, or a bundle built with it",
		)]),
		{"rules": []},
	) with input as _plain with data.flowyml.catalogue as {"codes": {}, "rules": []}
}

test_deny_where_no_catalogue_is_loaded if {
	found := decision with input as _plain with data.flowyml.catalogue as {}
	[finding.code | some finding in found.findings] == ["main.no_rules"]
}

_fix_of_a_finding := concat(" ", [
	"let `findings` be a set of objects with exactly the keys code (the name of the rule, a dot, the name of the check),",
	"subject, path (a list of keys, each a text or a place in a list), message and fix",
])

test_deny_finding_that_cannot_be_read if {
	every reported in [
		7, "a", null, [], {}, ["code"], object.remove(_reported("own.a"), ["fix"]), object.union(_reported("own.a"), {"severity": "warn"}),
		_reported(7), _reported("other.a"), _reported("own"), _reported("owner.a"), object.union(_reported("own.a"), {"path": "metadata"}),
		object.union(_reported("own.a"), {"subject": null}), object.union(_reported("own.a"), {"message": 1}),
		object.union(_reported("own.a"), {"fix": ["a"]}), _reported_at([null]), _reported_at(["a", true]), _reported_at([["a"]]),
		_reported_at([{}]), _reported_at([1.5]), _reported_at([-1]), _reported_at([1e10, "a"]),
	] {
		every root in ["org", "project"] {
			decision == _decision(false, [_fault(
				"main.invalid_finding",
				sprintf("%s.rules.own", [root]),
				sprintf("the rule %s.rules.own reported something that is no finding: %s", [root, json.marshal(reported)]),
				_fix_of_a_finding,
			)]) with input as _plain
				with data.org.rules as {name: {"findings": {reported}} | some name in ["own"]; root == "org"}
				with data.project.rules as {name: {"findings": {reported}} | some name in ["own"]; root == "project"}
		}
	}
}

test_deny_findings_that_are_no_set if {
	every found in [7, "a", true, null, {}, []] {
		every root in ["org", "project"] {
			decision == _decision(false, [_fault(
				"main.invalid_finding",
				sprintf("%s.rules.own", [root]),
				sprintf("the rule %s.rules.own reported something that is no finding: %s", [root, json.marshal(found)]),
				_fix_of_a_finding,
			)]) with input as _plain
				with data.org.rules as {name: {"findings": found} | some name in ["own"]; root == "org"}
				with data.project.rules as {name: {"findings": found} | some name in ["own"]; root == "project"}
		}
	}
}

test_deny_malformed_levels if {
	decision == _decision(false, [_fault(
		"main.levels",
		"data.org.levels",
		"data.org.levels of the company's policy is no mapping of codes to levels",
		"let data.org.levels map codes to advisory, soft, hard or disabled",
	)]) with input as _plain with data.org.levels as []
}

test_deny_malformed_levels_beside_what_the_rules_find if {
	found := decision with input as _changed({"stack/version": null}) with data.org.levels as ["version.missing"]
	[[finding.code, finding.enforcement] | some finding in found.findings] == [["main.levels", "hard"], ["version.missing", "hard"]]
}

test_deny_malformed_levels_whatever_they_say if {
	found := decision with input as _plain with data.org.levels as {"main.levels": "disabled", "a.b": "no"}
	[[finding.code, finding.enforcement, finding.subject] | some finding in found.findings] == [
		["main.levels", "hard", `data.org.levels["a.b"]`],
		["main.levels", "hard", `data.org.levels["a.b"]`],
		["main.levels", "hard", `data.org.levels["main.levels"]`],
	]
	found.allow == false
}

test_deny_company_data_that_is_no_mapping if {
	every company in [[], [1], ["levels"], "x", "", 5, null, true, false] {
		decision == _decision(false, [_fault(
			"main.company",
			"data.org",
			"data.org, the company's policy, is no mapping",
			`let data.org be a mapping, for example {"levels": {}}, or leave it out`,
		)]) with input as _plain with data.org as company
	}
}

test_deny_company_data_under_a_key_that_is_not_read if {
	every key in ["rules_data", "Levels", "packs", "waivers", "overriders", "break_glass", ""] {
		every value in [{}, null, false, ["x"]] {
			decision == _decision(false, [_fault(
				"main.company",
				sprintf("data.org.%s", [key]),
				sprintf("data.org.%s of the company's policy is no key that this version reads", [key]),
				"correct the key, or use a version of flowyml-policy that reads it; this one reads environments, levels and rule_data",
			)]) with input as _plain with data.org as {key: value, "levels": {}}
		}
	}
}

test_deny_company_data_under_a_key_that_is_not_read_beside_rules if {
	found := decision with input as _plain with data.org as {
		"catalogue": {"codes": {}, "rules": ["gpus"]},
		"rules": {"gpus": {"findings": {_reported("gpus.a")}}},
		"lib": {"nodes": {}},
		"waivers": {},
		"environments": {},
	}
	[[finding.code, finding.subject] | some finding in found.findings] == [["gpus.a", "s"], ["main.company", "data.org.waivers"]]
}

test_deny_company_data_beside_a_malformed_input if {
	found := decision with input as {} with data.org as {"waivers": {}}
	[finding.code | some finding in found.findings] == ["main.company", "main.invalid_input"]
}

test_allow_company_data_under_every_key_that_is_read if {
	decision == _decision(true, []) with input as _plain
		with data.org as {"environments": {}, "levels": {}, "rule_data": {}, "lib": {"nodes": {}}}
	decision.allow with input as _plain with data.org as {
		"catalogue": {"codes": {}, "rules": ["gpus"]},
		"rules": {"gpus": {"findings": set()}},
		"environments": {},
		"levels": {},
		"lib": {},
		"rule_data": {},
	}
	decision == _decision(true, []) with input as _plain with data.org as {}
}

test_deny_rule_data_for_a_rule_that_is_not_loaded if {
	found := decision with input as _changed({"project/policies/rule_data": {"label": {"required": ["a"]}}})
		with data.org.rule_data as {"name": {}}
	found == _decision(false, [
		_fault(
			"main.rule_data",
			"data.org.rule_data.name",
			"data.org.rule_data.name gives data to a rule that is not loaded",
			sprintf("correct the name of the rule; these are loaded: %s", [text.listing(_shipped)]),
		),
		_fault(
			"main.rule_data",
			"policies.rule_data.label",
			"policies.rule_data.label gives data to a rule that is not loaded",
			sprintf("correct the name of the rule; these are loaded: %s", [text.listing(_shipped)]),
		),
	])
}

test_allow_rule_data_for_a_rule_of_the_company if {
	decision.allow with input as _plain
		with data.org.rule_data as {"gpus": {"maximum": 4}}
		with data.org.catalogue as {"codes": {}, "rules": ["gpus"]}
		with data.org.rules as {"gpus": {"findings": set()}}
}

test_deny_rule_data_that_is_no_mapping if {
	decision == _decision(false, [_fault(
		"main.rule_data",
		"data.org.rule_data",
		"data.org.rule_data of the company's policy is no mapping of rules to their data",
		"let data.org.rule_data map names of rules to their data, or leave it out",
	)]) with input as _plain with data.org.rule_data as "strict"
}

# Side questions

_entry(level) := {"rule": "own", "title": "t", "description": "d", "why": "w", "links": [], "enforcement": level}

test_catalogue_names_the_levels_in_force if {
	found := catalogue with data.flowyml.catalogue as {"codes": {"main.x": _entry("hard"), "own.a": _entry("soft")}, "rules": ["own"]}
		with data.org.catalogue as {"codes": {"gpus.a": _entry("advisory"), "own.a": _entry("hard")}, "rules": ["gpus"]}
		with data.project.catalogue as {"codes": {"zones.a": _entry("advisory")}, "rules": ["zones"]}
		with data.org.levels as {"main.x": "disabled", "gpus.a": "disabled", "own.a": "advisory"}
		with input as _changed({"project/policies/levels": {"zones.a": "soft"}})
	found == {
		"main.x": object.union(_entry("hard"), {"root": "flowyml"}),
		"own.a": object.union(_entry("advisory"), {"root": "flowyml"}),
		"gpus.a": object.union(_entry("disabled"), {"root": "org"}),
		"zones.a": object.union(_entry("soft"), {"root": "project"}),
	}
}

test_catalogue_without_input_and_other_roots if {
	catalogue == {"own.a": object.union(_entry("soft"), {"root": "flowyml"})} with data.flowyml.catalogue as {"codes": {"own.a": _entry("soft")}, "rules": ["own"]}
}

test_patterns_of_company_data if {
	patterns == {"prod-*"} with data.org.rule_data as {"naming": {"allowed_stacks": ["prod-*"]}}
}

# What has to be read first

test_wanted_bases_of_every_list if {
	policies := object.union(inputs.plain.project.policies, {
		"image_policy": {"allowed_bases": ["python:3.11", "b:1"]},
		"rule_data": {"images_base": {"allowed": ["a:1", 7, null]}},
	})
	wanted == {"bases": ["a:1", "b:1", "c:1", "python:3.11"]} with input as {"project": {"policies": policies}}
		with data.org.rule_data as {"images_base": {"allowed": ["c:1", "b:1"]}}
}

test_wanted_nothing_where_nobody_lists_bases if {
	wanted == {"bases": []} with input as {"project": {"policies": inputs.plain.project.policies}}
	wanted == {"bases": []} with input as inputs.plain with data.org.rule_data as {"images_base": {"allowed": "python:3.11"}}
	every document in [{}, [], null, {"project": {"policies": {}}}] {
		wanted == {"bases": []} with input as document
	}
}

# Globs that cannot be read

test_unreadable_globs_names_those_that_opa_refuses if {
	asked := {"globs": ["prod-*", "", "[a-z0-9]", "{a,b}", "{a", "[", 7]}
	{"[a-z0-9]", "{a", "[", 7} == unreadable_globs with input as asked
}

test_unreadable_globs_without_globs_are_none if {
	set() == unreadable_globs with input as {}
}

_bundles(expires) := {
	"org": {"manifest": {"revision": "2", "metadata": {"expires": expires}}},
	"flowyml": {"manifest": {"revision": "1", "metadata": {"input_schema": 1}}},
}

test_allow_bundle_before_it_expires if {
	every expires in ["2026-11-23T09:00:01Z", "2026-11-23T10:00:00.5+01:00", "2026-11-24"] {
		decision == _decision(true, []) with input as _plain with data.system.bundles as _bundles(expires)
	}
}

test_deny_bundle_that_expired if {
	every expires in ["2026-11-23T09:00:00Z", "2026-11-23T10:00:00+01:00", "2026-11-23T08:59:59.9Z", "2020-01-01", "never", "", null, 5, ["2099-01-01T00:00:00Z"]] {
		decision == _decision(false, [_fault(
			"main.expired",
			"bundle org",
			sprintf("the bundle org is not to be used from %s on", [json.marshal(expires)]),
			"let a newer bundle be published, and see that it can be reached from here",
		)]) with input as _plain with data.system.bundles as _bundles(expires)
	}
}

test_deny_each_bundle_that_expired_whatever_the_levels_say if {
	found := decision.findings with input as _plain
		with data.system.bundles as {name: bundle | some name in ["a", "b"]; bundle := _bundles("2020-01-01T00:00:00Z").org}
		with data.org.levels as {}
	[[finding.code, finding.subject] | some finding in found] == [["main.expired", "bundle a"], ["main.expired", "bundle b"]]
}
