package flowyml.rules.images_vulnerabilities

import data.flowyml.lib.inputs

_entry(id, severity) := {"id": id, "severity": severity, "package": "openssl", "fixed_in": "3.0.15"}

_scan := {
	"tool": "trivy 0.60.0",
	"db_at": "2026-11-20T06:13:24.5Z",
	"findings": [],
	"digests": [inputs.platform.digest],
	"signed": false,
	"signed_digests": [],
}

_scanned(findings) := {"images/0/scan": object.union(_scan, {"findings": findings})}

_project(given) := {"project/policies/rule_data": {"images_vulnerabilities": given}}

_image := `the image "myregistry.azurecr.io/team/train:1.4.0" (sha256:aaaaaaaaaaaa, by the registry myregistry.azurecr.io)`

_platform := `the image "myregistry.azurecr.io/team/train:1.4.0" (sha256:aaaaaaaaaaaa, linux/amd64, by the registry myregistry.azurecr.io)`

_finding(code, message, fix) := {
	"code": code,
	"subject": "myregistry.azurecr.io/team/train:1.4.0",
	"path": ["spec", "runtime", "docker_image"],
	"message": message,
	"fix": fix,
}

_found(listed, advice) := _finding(
	"images_vulnerabilities.found",
	concat("", [_image, " has ", listed]),
	concat("", [advice, "; or have an exception that expires added to rule_data.images_vulnerabilities.ignore"]),
)

_one(id) := _found(
	sprintf("vulnerabilities that are high or worse, by trivy 0.60.0: %s (high) in openssl", [id]),
	"build the image anew with openssl 3.0.15",
)

# Found

test_allow_image_that_nobody_scanned if {
	findings == set() with input as inputs.plain
}

test_allow_image_without_grave_vulnerabilities if {
	findings == set() with input as inputs.changed(_scanned([]))
	findings == set() with input as inputs.changed(_scanned([_entry(severity, severity) |
		some severity in ["medium", "low", "negligible", "unknown"]
	]))
}

test_deny_grave_vulnerabilities_the_worst_first if {
	findings == {_found(
		"vulnerabilities that are high or worse, by trivy 0.60.0: CVE-4 (dreadful) in openssl, CVE-2 (critical) in openssl, CVE-3 (critical) in zlib, CVE-1 (high) in openssl",
		"build the image anew with openssl 3.0.15, zlib 1.3.1",
	)} with input as inputs.changed(_scanned([
		_entry("CVE-0", "medium"),
		_entry("CVE-1", "high"),
		object.union(_entry("CVE-3", "critical"), {"package": "zlib", "fixed_in": "1.3.1"}),
		_entry("CVE-2", "critical"),
		_entry("CVE-4", "dreadful"),
	]))
}

test_deny_vulnerability_without_a_fix if {
	findings == {_found(
		"vulnerabilities that are high or worse, by trivy 0.60.0: CVE-1 (high) in openssl",
		"build the image without it, since no fixed version is known",
	)} with input as inputs.changed(_scanned([object.union(_entry("CVE-1", "high"), {"fixed_in": null})]))
}

test_deny_many_vulnerabilities_names_eight if {
	found := findings with input as inputs.changed(_scanned([object.union(
		_entry(sprintf("CVE-%02d", [number]), "high"),
		{"package": sprintf("p%02d", [number])},
	) |
		some number in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
	]))
	{finding.message | some finding in found} == {concat("", [
		_image,
		" has vulnerabilities that are high or worse, by trivy 0.60.0: ",
		concat(", ", [sprintf("CVE-%02d (high) in p%02d", [number, number]) | some number in [1, 2, 3, 4, 5, 6, 7, 8]]),
		" and 2 more",
	])}
	eight := findings with input as inputs.changed(_scanned([_entry(sprintf("CVE-%02d", [number]), "high") |
		some number in [1, 2, 3, 4, 5, 6, 7, 8]
	]))
	{endswith(finding.message, "CVE-08 (high) in openssl") | some finding in eight} == {true}
}

test_deny_vulnerability_of_an_image_that_was_not_inspected if {
	found := findings with input as inputs.changed({"images/0": object.union(
		inputs.uninspected,
		{"scan": object.union(_scan, {"findings": [_entry("CVE-1", "high")]})},
	)})
	{[finding.code, substring(finding.message, 0, 68)] | some finding in found} == {[
		"images_vulnerabilities.found",
		`the image "myregistry.azurecr.io/team/train:1.4.0" has vulnerabiliti`,
	]}
}

test_deny_each_place_that_names_the_image if {
	places := [["spec", "a"], ["spec", "b"]]
	found := findings with input as inputs.changed(object.union_n([
		_project({"required": true}),
		{"images/0/paths": places, "images/0/scan": object.union(_scan, {
			"db_at": null,
			"digests": [],
			"findings": [_entry("CVE-1", "high")],
		})},
	]))
	{[finding.code, finding.path] | some finding in found} == {[concat(".", ["images_vulnerabilities", check]), place] |
		some check in ["found", "missing", "old"]
		some place in places
	}
}

test_deny_by_the_stricter_severity if {
	every pair in [["low", "critical"], ["critical", "low"], [null, "low"]] {
		found := findings with data.org.rule_data as {"images_vulnerabilities": {"severity": pair[0]}}
			with input as inputs.changed(object.union(_scanned([_entry("CVE-1", "low")]), _project({"severity": pair[1]})))
		{contains(finding.message, "that are low or worse") | some finding in found} == {true}
	}
	findings == set() with data.org.rule_data as {"images_vulnerabilities": {"severity": "critical"}}
		with input as inputs.changed(_scanned([_entry("CVE-1", "high")]))
	findings == set() with data.org.rule_data as {"images_vulnerabilities": {"severity": null}}
		with input as inputs.changed(_scanned([_entry("CVE-1", "critical")]))
}

_until(expires) := {"ignore": {"CVE-1": {"expires": expires, "reason": "not reachable"}}}

test_allow_exception_until_it_expires if {
	every expires in ["2026-11-23T09:00:01Z", "2026-11-24", "2099-12-31"] {
		findings == set() with data.org.rule_data as {"images_vulnerabilities": _until(expires)}
			with input as inputs.changed(_scanned([_entry("CVE-1", "high")]))
	}
}

test_deny_exception_that_expired if {
	every expires in ["2026-11-23T09:00:00Z", "2026-11-23", "2001-01-01", "2027-02-30"] {
		findings == {_one("CVE-1")} with data.org.rule_data as {"images_vulnerabilities": _until(expires)}
			with input as inputs.changed(_scanned([_entry("CVE-1", "high")]))
	}
}

test_deny_exception_for_another_id if {
	findings == {_one("CVE-2")} with data.org.rule_data as {"images_vulnerabilities": _until("2099-12-31")}
		with input as inputs.changed(_scanned([_entry("CVE-1", "high"), _entry("CVE-2", "high")]))
}

test_deny_exception_of_the_project_counts_where_nobody_else_gives_the_rules if {
	values := object.union(_scanned([_entry("CVE-1", "high")]), _project(_until("2099-12-31")))
	findings == set() with input as inputs.changed(values)
	findings == {_one("CVE-1")} with input as inputs.changed(object.union(values, {"authority": "platform"}))
	findings == set() with data.org.rule_data as {"images_vulnerabilities": _until("2099-12-31")}
		with input as inputs.changed(object.union(values, {"authority": "platform", "project/policies/rule_data": {}}))
}

# Missing

_demanded(scan, authority) := object.union(_project({"required": true}), {"images/0/scan": scan, "authority": authority})

_signed := object.union(_scan, {"signed_digests": [inputs.platform.digest]})

_absent(why, fix) := _finding("images_vulnerabilities.missing", concat("", [_platform, " must have been scanned, but ", why]), fix)

_hand_in := "scan every platform of it with Trivy or Grype, and hand the report in with `--scan-report`"

_attach := "scan every platform of it, and attach the report signed, for example with `cosign attest --type vuln`"

test_allow_image_that_was_scanned if {
	findings == set() with input as inputs.changed(_demanded(_scan, "project"))
	every authority in ["project", "platform"] {
		findings == set() with input as inputs.changed(_demanded(_signed, authority))
	}
}

test_deny_image_that_was_not_scanned if {
	findings == {_absent("no scan report speaks of it", _hand_in)} with input as inputs.changed(_demanded(null, "project"))
	findings == {_absent("no scan report speaks of it", _attach)} with input as inputs.changed(_demanded(null, "platform"))
}

test_deny_report_of_the_project_where_others_give_the_rules if {
	findings == {_absent(
		"what speaks of it is a file given by the project, which counts only where no platform settings exist",
		_attach,
	)} with input as inputs.changed(_demanded(_scan, "platform"))
	findings == {_absent("no scan report speaks of this platform", _attach)} with input as inputs.changed(_demanded(
		object.union(_scan, {"digests": []}),
		"platform",
	))
}

# The file covers one platform and a signed report the other.
test_deny_platform_of_which_only_a_file_speaks if {
	scan := object.union(_signed, {"digests": [inputs.platform.digest, inputs.arm.digest]})
	both := {"images/0/platforms": [inputs.platform, inputs.arm]}
	findings == set() with input as inputs.changed(object.union(_demanded(scan, "project"), both))
	found := findings with input as inputs.changed(object.union(_demanded(scan, "platform"), both))
	{[finding.code, split(finding.message, ", ")[1]] | some finding in found} == {["images_vulnerabilities.missing", "linux/arm64"]}
	{contains(finding.message, "a file given by the project") | some finding in found} == {true}
}

# Nobody requires a scan: what was read is all there is only where nothing could not be read.
test_deny_reports_that_could_not_be_read if {
	every scan in [null, _scan, _signed] {
		findings == {_finding(
			"images_vulnerabilities.missing",
			sprintf("scan reports may be attached to %s that could not be read: the registry failed (500)", [_image]),
			"let the registry answer, detach old reports from the image, or attach a report that can be read with `cosign attest --type vuln`",
		)} with input as inputs.changed({"images/0/scan": scan, "images/0/scan_problem": "the registry failed (500)"})
	}
}

test_deny_reports_that_could_not_be_read_beside_those_that_are_missing if {
	found := findings with input as inputs.changed(object.union(
		_demanded(null, "platform"),
		{"images/0/scan_problem": "the registry failed (500)"},
	))
	{split(finding.message, " ")[0] | some finding in found} == {"the", "scan"}
}

test_deny_platform_that_was_not_scanned if {
	every scan in [object.union(_scan, {"digests": []}), object.union(_signed, {"digests": []})] {
		findings == {_absent("no scan report speaks of this platform", _hand_in)} with input as inputs.changed(_demanded(scan, "project"))
	}
	found := findings with input as inputs.changed(object.union(
		_demanded(_scan, "project"),
		{"images/0/platforms": [inputs.platform, inputs.arm]},
	))
	{[finding.code, split(finding.message, ", ")[1]] | some finding in found} == {["images_vulnerabilities.missing", "linux/arm64"]}
}

test_deny_scan_that_the_company_requires if {
	every of_project in [null, false] {
		found := findings with data.org.rule_data as {"images_vulnerabilities": {"required": true}}
			with input as inputs.changed(_project({"required": of_project}))
		found == {_absent("no scan report speaks of it", _hand_in)}
	}
}

test_allow_image_that_was_not_inspected_is_the_business_of_images_inspected if {
	findings == set() with input as inputs.changed(object.union(_project({"required": true}), {"images/0": inputs.uninspected}))
}

# Old

_old(at, days) := _finding(
	"images_vulnerabilities.old",
	sprintf(
		"%s was scanned by trivy 0.60.0 with what was known at %s, but %v days is as old as that may be at 2026-11-23T09:00:00Z",
		[_image, at, days],
	),
	"scan the image again, after the scanner has brought its database up to date",
)

_known_at(at) := {"images/0/scan": object.union(_scan, {"db_at": at})}

test_allow_recent_scan if {
	every at in ["2026-11-09T09:00:00Z", "2026-11-23T09:00:00Z", "2026-11-23T10:00:00Z"] {
		findings == set() with input as inputs.changed(_known_at(at))
	}
}

test_deny_old_scan if {
	every at in ["2026-11-09T08:59:59Z", "2026-11-23T10:00:01Z", "yesterday"] {
		findings == {_old(at, 14)} with input as inputs.changed(_known_at(at))
	}
	findings == {_old("no known time", 14)} with input as inputs.changed(_known_at(null))
}

test_deny_by_the_smaller_age if {
	every pair in [[129600, 2592000], [2592000, 129600], [null, 129600]] {
		findings == {_old("2026-11-20T06:13:24.5Z", 1.5)} with data.org.rule_data as {"images_vulnerabilities": {"max_age_seconds": pair[0]}}
			with input as inputs.changed(object.union(_scanned([]), _project({"max_age_seconds": pair[1]})))
	}
	findings == set() with data.org.rule_data as {"images_vulnerabilities": {"max_age_seconds": null}}
		with input as inputs.changed(_known_at(null))
}

# What only looks like an image

test_deny_what_looks_like_an_image_and_was_inspected if {
	found := findings with input as inputs.changed(object.union_n([
		_project({"required": true}),
		{"images/0/certainty": "guessed"},
		{"images/0/scan": object.union(_scan, {"db_at": null, "digests": [], "findings": [_entry("CVE-1", "high")]})},
	]))
	{finding.code | some finding in found} == {
		"images_vulnerabilities.found",
		"images_vulnerabilities.missing",
		"images_vulnerabilities.old",
	}
}

# Data

_exception(expires, reason) := {"CVE-1": {"expires": expires, "reason": reason}}

test_deny_rule_data_that_cannot_be_read if {
	wanted := {
		"severity": "critical, high, medium, low, negligible or unknown",
		"max_age_seconds": "a number of seconds",
		"ignore": "a mapping of ids to `expires` (as 2027-01-31 or 2027-01-31T12:00:00Z) and `reason`",
		"required": "true or false",
	}
	every case in [
		["severity", "High"],
		["severity", "xhigh"],
		["severity", "highx"],
		["severity", 4],
		["max_age_seconds", "14d"],
		["max_age_seconds", -1],
		["required", "yes"],
		["ignore", ["CVE-1"]],
		["ignore", {"CVE-1": "2027-01-31"}],
		["ignore", {"CVE-1": {"expires": "2027-01-31"}}],
		["ignore", _exception("never", "r")],
		["ignore", _exception("2027-13-01", "r")],
		["ignore", _exception("2027-01-31T24:00:00Z", "r")],
		["ignore", _exception("2027-01-31T12:00:00+01:00", "r")],
		["ignore", _exception("2027-01-31", " ")],
		["ignore", {" ": {"expires": "2027-01-31", "reason": "r"}}],
	] {
		found := findings with input as inputs.plain
			with data.org.rule_data as {"images_vulnerabilities": {case[0]: case[1]}}
		place := concat(".", ["data.org.rule_data.images_vulnerabilities", case[0]])
		found == {{
			"code": "images_vulnerabilities.rule_data",
			"subject": place,
			"path": [],
			"message": sprintf("%s must be %s, but it is %s", [place, wanted[case[0]], json.marshal(case[1])]),
			"fix": sprintf("let %s be %s", [place, wanted[case[0]]]),
		}}
	}
}

test_allow_rule_data_that_can_be_read if {
	every data_of_rule in [
		{},
		{"severity": "negligible", "max_age_seconds": 0, "ignore": {}, "required": false},
		{"severity": null, "max_age_seconds": null, "ignore": null, "required": null},
		{"ignore": _exception("2027-01-31T12:00:00Z", "not reachable")},
	] {
		findings == set() with input as inputs.plain with data.org.rule_data as {"images_vulnerabilities": data_of_rule}
	}
}

# A list where a mapping is expected is told by `rule_data`, and excepts nothing.
test_deny_exceptions_that_are_no_mapping if {
	found := findings with data.org.rule_data as {"images_vulnerabilities": {"ignore": [{"expires": "2099-12-31"}]}}
		with input as inputs.changed(_scanned([object.union(_entry("CVE-1", "high"), {"id": 0})]))
	{finding.code | some finding in found} == {"images_vulnerabilities.found", "images_vulnerabilities.rule_data"}
}
