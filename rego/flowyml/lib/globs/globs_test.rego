package flowyml.lib.globs

test_readable_forms if {
	every pattern in ["prod-*", "a", "?.b_c", "[abc]*", "[a-z][0-9]", "[-_]", "{prod,staging-[ab]}-gpu", "[a-a]", "**"] {
		readable(pattern)
	}
}

test_unreadable_forms if {
	every pattern in ["", " ", "[", "]", "[]", "{", "{a", "{a}", "{a,}", "a,b", "\\", "a\\", "[a-z0-9]", "[z-a]", "x[9-0]y", "[!a]", "é", 7, null, ["a"]] {
		not readable(pattern)
	}
}

test_matches_by_what_can_be_read if {
	matches("prod-*", "prod-gpu.large")
	matches("{a,b}?", "bc")
	not matches("prod-*", "staging")
	not matches("[z-a]", "a")
	not matches("[", "[")
}
