package flowyml.other

allow := true
