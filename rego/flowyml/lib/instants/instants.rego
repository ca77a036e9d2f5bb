# METADATA
# title: Instants
# description: Points in time as documents write them, RFC 3339.
package flowyml.lib.instants

# METADATA
# description: |
#   Nanoseconds since 1970, undefined for what is no instant of the years 1700 to 2199. OPA's own function fails there,
#   and that error would keep all else from being judged. A date alone is its first instant in UTC.
nanoseconds(text) := time.parse_rfc3339_ns(text) if {
	is_string(text)
	regex.match(concat("", ["^", _date, _time, "$"]), text)
} else := time.parse_rfc3339_ns(concat("", [text, "T00:00:00Z"])) if {
	is_string(text)
	regex.match(concat("", ["^", _date, "$"]), text)
}

_date := concat("", [
	`((1[7-9]|2[01])[0-9]{2}-`,
	`((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))`,
	`|((1[7-9]|2[01])(0[48]|[2468][048]|[13579][26])|2000)-02-29)`,
])

_time := `T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])`
