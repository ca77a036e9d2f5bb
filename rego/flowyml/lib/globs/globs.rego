# METADATA
# title: Globs
# description: |
#   Patterns of names, as the settings take them: letters, digits, `.`, `_`, `-`, `*`, `?`, `[abc]`, `[a-z]` and `{a,b}`. For
#   most others OPA's own function fails. That is an error to one caller of OPA and nothing at all to another, so that they
#   would get different decisions: such a pattern is never handed to it.
package flowyml.lib.globs

# METADATA
# description: The form of what can be read, but for a range that runs backwards, as `[z-a]`.
form := concat("", ["^(", _plain, `|\{(`, _plain, ")+(,(", _plain, `)+)+\})+$`])

# METADATA
# description: Whether a pattern can be read in one way.
readable(pattern) if {
	is_string(pattern)
	regex.match(form, pattern)
	{range | some range in regex.find_n(`\[.-.\]`, pattern, -1); substring(range, 1, 1) > substring(range, 3, 1)} == set()
}

# METADATA
# description: Whether a pattern stands for a text. One that cannot be read stands for none.
matches(pattern, text) if {
	readable(pattern)
	glob.match(pattern, null, text)
}

_plain := `([A-Za-z0-9._*?-]|\[(-?[A-Za-z0-9._]+|[a-z]-[a-z]|[A-Z]-[A-Z]|[0-9]-[0-9])\])`
