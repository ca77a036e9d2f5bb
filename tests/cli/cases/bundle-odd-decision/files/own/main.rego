package flowyml.main

decision := {"allow": true}

catalogue := {}

patterns := set()
