package flowyml.rules.images_user

import data.flowyml.lib.inputs

_image := `the image "myregistry.azurecr.io/team/train:1.4.0" (sha256:aaaaaaaaaaaa, linux/amd64, by the registry myregistry.azurecr.io)`

_user(name) := inputs.changed({"images/0/platforms/0/user": name})

_finding(code, words) := {
	"code": code,
	"subject": "myregistry.azurecr.io/team/train:1.4.0",
	"path": ["spec", "runtime", "docker_image"],
	"message": sprintf("%s %s", [_image, words]),
	"fix": "let its Dockerfile end with a line such as `USER 1000`, build it again and push it",
}

test_allow_numbers if {
	every user in ["1", "1000", "1000:0", "10:root", "65532:65532"] {
		findings == set() with input as _user(user)
	}
}

test_deny_root_warns if {
	every user, shown in {"root": `"root"`, "0": `"0"`, "0:0": `"0:0"`, "root:root": `"root:root"`, "0:1000": `"0:1000"`, "00": `"00"`, "+0": `"+0"`, " root ": `" root "`, "": `""`, ":5": `":5"`} {
		findings == {_finding("images_user.root", sprintf("runs as root: its user is %s", [shown]))} with input as _user(user)
	}
}

test_deny_no_user_warns if {
	findings == {_finding("images_user.root", "runs as root: it names no user")} with input as _user(null)
}

test_deny_name_warns if {
	every user in ["app", "app:app", "root2", "1000x", "rooty:0", "0x0"] {
		findings == {_finding("images_user.unknown", sprintf("runs as %q, and nobody can tell that this name is not root's", [user]))} with input as _user(user)
	}
}

test_deny_each_platform if {
	found := findings with input as inputs.changed({"images/0/platforms": [
		object.union(inputs.platform, {"user": "app"}),
		object.union(inputs.arm, {"user": "root"}),
	]})
	{[finding.code, contains(finding.message, "linux/arm64")] | some finding in found} == {
		["images_user.unknown", false],
		["images_user.root", true],
	}
}

test_deny_each_place_that_names_the_image if {
	places := [["spec", "a"], ["spec", "b"]]
	every user, code in {"root": "images_user.root", "app": "images_user.unknown"} {
		found := findings with input as inputs.changed({"images/0/paths": places, "images/0/platforms/0/user": user})
		{[finding.code, finding.path] | some finding in found} == {[code, place] | some place in places}
	}
}

test_allow_image_that_was_not_inspected if {
	every user in ["root", "app"] {
		findings == set() with input as inputs.changed({"images/0/inspected": false, "images/0/platforms/0/user": user})
	}
}

test_deny_rule_data if {
	findings == {{
		"code": "images_user.rule_data",
		"subject": "policies.rule_data.images_user.allowed",
		"path": [],
		"message": "policies.rule_data.images_user.allowed is no key that the rule reads",
		"fix": "the rule reads nothing",
	}} with input as inputs.changed({"project/policies/rule_data": {"images_user": {"allowed": ["root"]}}})
}
