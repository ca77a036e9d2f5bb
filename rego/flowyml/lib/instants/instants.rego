# METADATA
# title: Instants
# description: |
#   How long ago something was, at the instant of the input: policy reads no clock. An instant is RFC 3339 with a year
#   from 1970 to 2199; of a text that is none nothing is known.
package flowyml.lib.instants

# METADATA
# description: |
#   An instant as nanoseconds since 1970. Undefined for what is none: where errors of builtins are errors,
#   time.parse_rfc3339_ns would end the decision on a 30th of February.
nanoseconds(text) := time.parse_rfc3339_ns(text) if {
	is_string(text)
	regex.match(_instant, text)
}

# METADATA
# description: How many seconds before the input's instant another one was. Negative where it is still to come.
seconds_ago(text) := (nanoseconds(input.evaluated_at) - nanoseconds(text)) / 1000000000

_instant := concat("", [
	`^(`,
	`(19[7-9][0-9]|2[01][0-9]{2})-`,
	`((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))`,
	`|(19(7[26]|8[048]|9[26])|20([02468][048]|[13579][26])|21(0[48]|[2468][048]|[13579][26]))-02-29`,
	`)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`,
])
