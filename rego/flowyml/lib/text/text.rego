# METADATA
# title: Text for people
# description: How values are written into messages and fixes.
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
