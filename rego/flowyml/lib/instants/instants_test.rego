package flowyml.lib.instants

import data.flowyml.lib.inputs

test_nanoseconds_of_instants if {
	every text, expected in {
		"1970-01-01T00:00:00Z": 0,
		"1970-01-02T00:00:00.5Z": 86400500000000,
		"1970-01-01T02:00:00+02:00": 0,
		"1972-02-29T00:00:00Z": 68169600000000000,
		"2024-02-29T23:59:59.123456789123Z": 1709251199123456789,
		"2199-12-31T23:59:59-23:59": 7258204739000000000,
	} {
		nanoseconds(text) == expected
	}
}

test_nanoseconds_of_every_last_day if {
	every day in ["01-31", "02-28", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31", "09-30", "10-31", "11-30", "12-31"] {
		nanoseconds(sprintf("2100-%sT00:00:00Z", [day])) > 0
	}
	every year in ["1976", "1980", "1996", "2000", "2096", "2104", "2196"] {
		nanoseconds(sprintf("%s-02-29T00:00:00Z", [year])) > 0
	}
}

test_nothing_is_known_of_what_is_no_instant if {
	every value in [
		null,
		7,
		"",
		"2026-11-23",
		"2026-11-23 09:00:00Z",
		"2026-11-23T09:00:00",
		"2026-11-23t09:00:00z",
		"2026-02-29T00:00:00Z",
		"2026-02-30T00:00:00Z",
		"2100-02-29T00:00:00Z",
		"2026-04-31T00:00:00Z",
		"2026-13-01T00:00:00Z",
		"2026-00-01T00:00:00Z",
		"2026-01-00T00:00:00Z",
		"2026-01-32T00:00:00Z",
		"2026-01-01T24:00:00Z",
		"2026-01-01T23:60:00Z",
		"2026-01-01T23:59:60Z",
		"2026-01-01T23:59:59+24:00",
		"2026-01-01T23:59:59.Z",
		"1969-12-31T23:59:59Z",
		"2200-01-01T00:00:00Z",
		"0001-01-01T00:00:00Z",
		"9999-01-01T00:00:00Z",
		"2026-11-23T09:00:00Z\n",
	] {
		not nanoseconds(value)
	}
}

test_seconds_ago if {
	seconds_ago("2026-11-23T08:59:00Z") == 60 with input as inputs.plain
	seconds_ago("2026-11-23T09:00:00.5Z") == -0.5 with input as inputs.plain
	seconds_ago("2026-11-23T09:00:00+01:00") == 3600 with input as inputs.plain
}

test_nothing_is_known_of_an_input_without_an_instant if {
	not seconds_ago("2026-11-23T08:59:00Z") with input as inputs.changed({"evaluated_at": "today"})
}
