package flowyml.lib.text

test_listing_of_nothing if {
	listing([]) == "nothing"
	listing(set()) == "nothing"
}

test_listing_quotes_what_cannot_be_seen if {
	listing(["b", "a c", "d\n", "e\u200b"]) == `"b", "a c", "d\n", "e\u200b"`
}

test_listing_of_a_set_is_sorted if {
	listing({"b", "a"}) == `"a", "b"`
}

test_listing_of_eight_is_whole if {
	listing(["1", "2", "3", "4", "5", "6", "7", "8"]) == `"1", "2", "3", "4", "5", "6", "7", "8"`
}

test_listing_of_more_is_cut if {
	listing(["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]) == `"1", "2", "3", "4", "5", "6", "7", "8" and 2 more`
}

test_shows_what_a_reader_sees if {
	every value in ["a", "0", "-", "é", "e\u0301", "風", "🚀", "\u200b\u00a0x"] {
		shows(value)
	}
}

test_shows_nothing_of_what_is_blank if {
	every value in ["", " ", "\t\r\n", "\u00a0", "\u3000", "\u2028"] {
		not shows(value)
	}
	every value in ["\u0000", "\u007f", "\u00ad", "\u200b", "\u200d", "\u2060", "\ufeff", "\ue000"] {
		not shows(value)
	}
	every value in ["\u0301", "\ufe0f", "\u115f", "\u1160", "\u2800", "\u3164", "\uffa0", "\u200b \u3164"] {
		not shows(value)
	}
}
