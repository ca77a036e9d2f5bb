# METADATA
# title: Levels
# description: |
#   Which level a code has: what its catalogue says, replaced by what data.org.levels says, tightened by what the
#   project says in policies.levels. A code without an entry is hard, and so is one whose level is no level.
#   The project can only make a level stricter, so that it cannot disable a code; it can bring one back that the
#   company disabled. Codes of main are always hard: they say that the policy itself is at fault.
package flowyml.lib.levels

# METADATA
# description: What a finding of each level does to the decision; a disabled one never gets so far.
severity := {"advisory": "warn", "soft": "deny", "hard": "deny"}

# METADATA
# description: The catalogue of each root, empty for a root that is not loaded.
catalogues := {
	"flowyml": object.union(_empty, _flowyml),
	"org": object.union(_empty, _org),
	"project": object.union(_empty, _project),
}

# METADATA
# description: The names of all rules, sorted.
rules := sort({name |
	some source in catalogues
	some name in source.rules
})

# METADATA
# description: The level in force for a code that stands, or should stand, in a catalogue.
level(_, code) := "hard" if startswith(code, "main.")

level(source, code) := _strictest[max({
	_rank(object.get(_company_levels, code, object.get(source.codes, [code, "enforcement"], "hard"))),
	_rank(object.get(_project_levels, code, "disabled")),
})] if {
	not startswith(code, "main.")
}

# METADATA
# description: What is wrong with data.org.levels.
problems contains problem if {
	not is_object(_given_levels)
	problem := {
		"subject": "data.org.levels",
		"message": "data.org.levels of the company's policy is no mapping of codes to levels",
		"fix": "let data.org.levels map codes to advisory, soft, hard or disabled",
	}
}

problems contains problem if {
	some code, word in _company_levels
	not _ranks[word]
	problem := {
		"subject": code,
		"message": sprintf("data.org.levels of the company's policy gives %s the level %s, which is no level", [code, json.marshal(word)]),
		"fix": "use advisory, soft, hard or disabled",
	}
}

_empty := {"codes": {}, "rules": []}

_strictest := ["disabled", "advisory", "soft", "hard"]

_ranks := {"disabled": 0, "advisory": 1, "soft": 2, "hard": 3}

default _rank(_) := 3

_rank(word) := _ranks[word]

default _flowyml := {}

_flowyml := data.flowyml.catalogue

default _org := {}

_org := data.org.catalogue

default _project := {}

_project := data.project.catalogue

default _given_levels := {}

_given_levels := data.org.levels

default _company_levels := {}

_company_levels := _given_levels if is_object(_given_levels)

default _project_levels := {}

_project_levels := input.project.policies.levels if is_object(input.project.policies.levels)
