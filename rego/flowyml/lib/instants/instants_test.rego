package flowyml.lib.instants

test_instants if {
	nanoseconds("1970-01-01T00:00:00Z") == 0
	nanoseconds("1970-01-02") == 86400000000000
	nanoseconds("2026-11-23T09:00:00.5+01:00") == nanoseconds("2026-11-23T08:00:00.500Z")
	nanoseconds("2026-11-23T08:00:00.123456789Z") - nanoseconds("2026-11-23T08:00:00Z") == 123456789
}

# The first and last day of each month, and of February in each kind of year.
test_every_day_is_one if {
	days := ["31", "28", "31", "30", "31", "30", "31", "31", "30", "31", "30", "31"]
	every place, day in days {
		month := sprintf("%02d", [place + 1])
		is_number(nanoseconds(sprintf("2026-%s-01", [month])))
		is_number(nanoseconds(sprintf("2026-%s-%s", [month, day])))
	}
	every year in ["1704", "1996", "2000", "2004", "2024", "2028", "2072", "2196"] {
		is_number(nanoseconds(sprintf("%s-02-29T23:59:59Z", [year])))
	}
}

test_what_is_no_instant if {
	taken := [text |
		some text in [
			null,
			true,
			1,
			[],
			{},
			"",
			"now",
			"2026-11-23T09:00:00",
			"2026-11-23 09:00:00Z",
			"2026-11-23T24:00:00Z",
			"2026-11-23T23:60:00Z",
			"2026-11-23T23:59:60Z",
			"2026-11-23T09:00:00.Z",
			"2026-11-23T09:00:00.1234567890Z",
			"2026-11-23T09:00:00+24:00",
			"2026-11-23T09:00:00Zx",
			"x2026-11-23T09:00:00Z",
			"2026-11-23x",
			"x2026-11-23",
			"2026-00-01",
			"2026-13-01",
			"2026-01-00",
			"2026-01-32",
			"2026-04-31",
			"2026-02-29",
			"1900-02-29",
			"2100-02-29",
			"2000-02-30",
			"0001-01-01T00:00:00Z",
			"1699-12-31T00:00:00Z",
			"2200-01-01T00:00:00Z",
			"9999-12-31T23:59:59Z",
		]
		nanoseconds(text)
	]
	taken == []
}
