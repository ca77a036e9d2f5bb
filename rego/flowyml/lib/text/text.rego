# METADATA
# title: Text for people
# description: How values are written into messages and fixes.
package flowyml.lib.text

# METADATA
# description: |
#   Values to be read by the user, quoted and sorted, the first eight of them. Quoting shows blanks and control
#   characters, which a name may hold.
listing(values) := "nothing" if count(values) == 0

listing(values) := concat(", ", _quoted(values)) if {
	count(values) > 0
	count(values) <= 8
}

listing(values) := sprintf("%s and %d more", [concat(", ", array.slice(_quoted(values), 0, 8)), count(values) - 8]) if {
	count(values) > 8
}

_quoted(values) := [quoted |
	some value in values
	quoted := sprintf("%q", [value])
]
