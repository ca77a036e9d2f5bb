package flowyml.rules.images_platform

import data.flowyml.lib.inputs

_on(backend, platforms) := {
	"stack/spec": {"compute": {"backend": backend}},
	"images/0/platforms": [object.union(inputs.platform, {"platform": platform}) | some platform in platforms],
}

_requires(required) := {"project/policies/rule_data": {"images_platform": {"required": required}}}

test_allow_image_for_the_backend if {
	every backend in ["aws", "azureml", "databricks", "gcp", "sagemaker", "vertex"] {
		findings == set() with input as inputs.changed(_on(backend, ["linux/amd64", "linux/arm64"]))
	}
}

test_allow_backend_of_which_nothing_is_known if {
	every spec in [{}, {"compute": {}}, {"compute": {"backend": null}}, {"compute": {"backend": "kubernetes"}}, {"compute": {"backend": ["gcp"]}}] {
		findings == set() with input as inputs.changed({"stack/spec": spec, "images/0/platforms": [inputs.arm]})
	}
}

test_deny_image_that_lacks_a_platform_warns if {
	findings == {{
		"code": "images_platform.missing",
		"subject": "myregistry.azurecr.io/team/train:1.4.0",
		"path": ["spec", "runtime", "docker_image"],
		"message": `the image "myregistry.azurecr.io/team/train:1.4.0" (sha256:aaaaaaaaaaaa, by the registry myregistry.azurecr.io) has the platform "linux/arm64", but for the backend "gcp" it must have "linux/amd64"`,
		"fix": "build the image for it as well, for example with `docker buildx build --push --platform linux/amd64,linux/arm64`",
	}} with input as inputs.changed(_on("gcp", ["linux/arm64"]))
}

test_deny_image_in_each_place if {
	places := [["spec", "a"], ["spec", "b"]]
	found := findings with input as inputs.changed(object.union(_on("gcp", ["linux/arm64"]), {"images/0/paths": places}))
	{finding.path | some finding in found} == {place | some place in places}
}

# What is required, what an image has, and whether that is enough.
_cases := [
	["linux/arm64", "linux/arm64", true],
	["linux/arm64", "linux/arm64/v8", true],
	["linux/arm64/v8", "linux/arm64/v8", true],
	["linux/arm64/v8", "linux/arm64", true],
	["linux/arm64/v9", "linux/arm64", false],
	["linux/arm64/v8", "linux/arm64/v9", false],
	["linux/arm/v7", "linux/arm/v6", false],
	["linux/arm/v7", "linux/arm", false],
	["linux/arm", "linux/arm/v7", true],
	["linux/arm64", "linux/arm", false],
	["linux/arm64", "windows/arm64", false],
]

test_deny_by_variants_where_they_are_written if {
	answers := [[required, platform, allowed] |
		some [required, platform, _] in _cases
		found := findings with input as inputs.changed(object.union(_on("own", [platform]), _requires({"own": [required]})))
		allowed := found == set()
	]
	answers == _cases
}

test_deny_by_company_and_project_together if {
	found := findings with data.org.rule_data as {"images_platform": {"required": {"gcp": ["linux/arm64"]}}}
		with input as inputs.changed(object.union(_on("gcp", ["linux/amd64"]), _requires({"gcp": ["linux/s390x"]})))
	{finding.fix | some finding in found} == {"build the image for it as well, for example with `docker buildx build --push --platform linux/amd64,linux/arm64,linux/s390x`"}
}

test_allow_backend_that_the_company_takes_out if {
	findings == set() with data.org.rule_data as {"images_platform": {"required": {"gcp": []}}}
		with input as inputs.changed(_on("gcp", ["linux/arm64"]))
}

test_allow_image_that_was_not_inspected_is_the_business_of_images_inspected if {
	findings == set() with input as inputs.changed(object.union(_on("gcp", []), {"images/0": inputs.uninspected}))
}

test_deny_rule_data_that_cannot_be_read if {
	wanted := "a mapping of backends to lists of platforms, each as `os/arch` or `os/arch/variant`"
	every required in [`{"gcp":["amd64"]}`, `{"gcp":"linux/amd64"}`, `{" ":[]}`, `[]`, `{"gcp":["linux/amd64/"]}`] {
		found := findings with input as inputs.plain
			with data.org.rule_data as {"images_platform": {"required": json.unmarshal(required)}}
		found == {{
			"code": "images_platform.rule_data",
			"subject": "data.org.rule_data.images_platform.required",
			"path": [],
			"message": sprintf("data.org.rule_data.images_platform.required must be %s, but it is %s", [wanted, required]),
			"fix": sprintf("let data.org.rule_data.images_platform.required be %s", [wanted]),
		}}
	}
}
