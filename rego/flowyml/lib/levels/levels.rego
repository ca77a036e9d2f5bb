# METADATA
# title: Levels
# description: |
#   Which level a code has: what its catalogue says, replaced by what data.org.levels says, tightened by what the
#   project says in policies.levels. A code without an entry is hard, and so is one whose level is no level.
#   The project can only make a level stricter, so that it cannot disable a code; it can bring back one that the
#   company disabled.
package flowyml.lib.levels

import data.flowyml.lib.text

# METADATA
# description: The level in force for a code that a rule of this root reports.
level(root, code) := object.get(_stricter, [company, project], "hard") if {
	company := object.get(_levels, code, _catalogued(root, code))
	project := object.get(_tightened, code, "disabled")
}

# METADATA
# description: |
#   The codes of what ships, each with the level in force, so that a finding of what ships costs one look. Most often
#   nobody changes one, and they are the catalogue's own.
in_force := data.flowyml.catalogue.codes if {
	not data.org.levels
	input.project.policies.levels == {}
} else := object.union(data.flowyml.catalogue.codes, {code: {"enforcement": level("flowyml", code)} |
	some code, _ in object.union(_levels, _tightened)
})

# METADATA
# description: What is wrong with data.org.levels and policies.levels.
problems contains problem if {
	given := data.org.levels
	not is_object(given)
	problem := {
		"subject": "data.org.levels",
		"message": "data.org.levels of the company's policy is no mapping of codes to levels",
		"fix": "let data.org.levels map codes to advisory, soft, hard or disabled",
	}
}

problems contains problem if {
	is_object(data.org.levels)
	some code, word in data.org.levels
	not word in {"disabled", "advisory", "soft", "hard"}
	place := sprintf("data.org.levels[%q]", [code])
	problem := {
		"subject": place,
		"message": sprintf("%s of the company's policy is %s, which is no level", [place, json.marshal(word)]),
		"fix": sprintf("let %s be advisory, soft, hard or disabled", [place]),
	}
}

problems contains problem if {
	is_object(data.org.levels)
	some code, _ in data.org.levels
	problem := _mistaken("data.org.levels", code)
}

problems contains problem if {
	some code, _ in input.project.policies.levels
	is_string(code)
	problem := _mistaken("policies.levels", code)
}

# A level that would change nothing. A demand under a misspelt code would be one that nobody checks.
_mistaken(place, code) := {
	"subject": subject,
	"message": sprintf("%s gives a level to a code that has none: what begins with main. always denies", [subject]),
	"fix": sprintf("take %s out", [subject]),
} if {
	startswith(code, "main.")
	subject := sprintf("%s[%q]", [place, code])
} else := {
	"subject": subject,
	"message": sprintf("%s gives a level to a code that is not in the catalogue", [subject]),
	"fix": sprintf("correct the code; these are in the catalogue: %s", [text.listing(_similar(code))]),
} if {
	not _known(code)
	subject := sprintf("%s[%q]", [place, code])
}

_known(code) if data.flowyml.catalogue.codes[code]

_known(code) if data.org.catalogue.codes[code]

_known(code) if data.project.catalogue.codes[code]

# The codes of the same rule, else of every rule.
_similar(code) := same if {
	same := {known | some known in _choices; split(known, ".")[0] == split(code, ".")[0]}
	same != set()
} else := _choices

_choices := {code |
	some code in object.keys(object.union_n([data.flowyml.catalogue.codes, _org, _project]))
	not startswith(code, "main.")
}

default _org := {}

_org := data.org.catalogue.codes

default _project := {}

_project := data.project.catalogue.codes

default _levels := {}

_levels := data.org.levels if is_object(data.org.levels)

default _tightened := {}

_tightened := input.project.policies.levels

# The stricter of two levels.
_stricter := {
	"disabled": {"disabled": "disabled", "advisory": "advisory", "soft": "soft", "hard": "hard"},
	"advisory": {"disabled": "advisory", "advisory": "advisory", "soft": "soft", "hard": "hard"},
	"soft": {"disabled": "soft", "advisory": "soft", "soft": "soft", "hard": "hard"},
	"hard": {"disabled": "hard", "advisory": "hard", "soft": "hard", "hard": "hard"},
}

default _catalogued(_, _) := "hard"

_catalogued("flowyml", code) := data.flowyml.catalogue.codes[code].enforcement

_catalogued("org", code) := data.org.catalogue.codes[code].enforcement

_catalogued("project", code) := data.project.catalogue.codes[code].enforcement
