# METADATA
# title: Levels
# description: |
#   Which level a code has: what its catalogue says, replaced by what data.org.levels says, tightened by what the
#   project says in policies.levels. A code without an entry is hard, and so is one whose level is no level.
#   The project can only make a level stricter, so that it cannot disable a code; it can bring back one that the
#   company disabled.
#
#   The catalogues are read leaf by leaf: to mention one whole would copy it for every decision.
package flowyml.lib.levels

# METADATA
# description: What a finding of each level does to the decision; a disabled one never gets so far.
severity := {"advisory": "warn", "soft": "deny", "hard": "deny"}

# METADATA
# description: The level in force for a code that a rule of this root reports.
level(root, code) := _strictest[max({object.get(_ranks, company, 3), object.get(_ranks, project, 3)})] if {
	company := object.get(_levels, code, _catalogued(root, code))
	project := object.get(_tightened, code, "disabled")
}

# METADATA
# description: What is wrong with data.org.levels.
problems contains problem if {
	not is_object(_given)
	problem := {
		"subject": "data.org.levels",
		"message": "data.org.levels of the company's policy is no mapping of codes to levels",
		"fix": "let data.org.levels map codes to advisory, soft, hard or disabled",
	}
}

problems contains problem if {
	some code, word in _levels
	not _ranks[word]
	place := sprintf("data.org.levels[%q]", [code])
	problem := {
		"subject": place,
		"message": sprintf("%s of the company's policy is %s, which is no level", [place, json.marshal(word)]),
		"fix": sprintf("let %s be advisory, soft, hard or disabled", [place]),
	}
}

default _levels := {}

_levels := _given if is_object(_given)

default _given := {}

_given := data.org.levels

default _tightened := {}

_tightened := input.project.policies.levels

_strictest := ["disabled", "advisory", "soft", "hard"]

_ranks := {"disabled": 0, "advisory": 1, "soft": 2, "hard": 3}

default _catalogued(_, _) := "hard"

_catalogued("flowyml", code) := data.flowyml.catalogue.codes[code].enforcement

_catalogued("org", code) := data.org.catalogue.codes[code].enforcement

_catalogued("project", code) := data.project.catalogue.codes[code].enforcement
