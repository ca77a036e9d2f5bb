package flowyml.lib.images

test_places_of_an_image if {
	places({"paths": [["a"], ["b", 0]]}) == [["a"], ["b", 0]]
}

test_places_of_an_image_without_any_are_the_whole_definition if {
	places({"paths": []}) == [[]]
}
