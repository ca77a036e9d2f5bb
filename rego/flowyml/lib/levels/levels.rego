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
# description: The level in force for a code that a rule of this root reports.
level(root, code) := word if {
	root == "flowyml"
	not data.org.levels
	input.project.policies.levels == {}
	word := data.flowyml.catalogue.codes[code].enforcement
	word in {"disabled", "advisory", "soft", "hard"}
} else := object.get(_stricter, [company, project], "hard") if {
	company := object.get(_levels, code, _catalogued(root, code))
	project := object.get(_tightened, code, "disabled")
}

# METADATA
# description: What is wrong with data.org.levels.
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
