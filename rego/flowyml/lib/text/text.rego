# METADATA
# title: Text for people
# description: How values are written into messages and fixes, and whether they show anything.
package flowyml.lib.text

# METADATA
# description: |
#   Values to be read by the user, quoted and sorted, the first eight of them. Quoting shows blanks and control
#   characters, which a name may hold.
listing(values) := concat(", ", [sprintf("%q", [value]) | some value in values]) if {
	count(values) in {1, 2, 3, 4, 5, 6, 7, 8}
} else := "nothing" if {
	count(values) == 0
} else := sprintf("%s and %d more", [concat(", ", array.slice(quoted, 0, 8)), count(values) - 8]) if {
	quoted := [sprintf("%q", [value]) | some value in values]
}

# METADATA
# description: |
#   Whether a reader sees anything of a value: a letter, digit, punctuation or symbol. Blanks, control and format
#   characters (a zero-width space), marks without a letter, and the letters that Unicode leaves blank show nothing.
shows(value) if regex.match(`[^\p{Z}\p{C}\p{M}\x{115F}\x{1160}\x{2800}\x{3164}\x{FFA0}]`, value)
