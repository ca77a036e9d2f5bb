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
