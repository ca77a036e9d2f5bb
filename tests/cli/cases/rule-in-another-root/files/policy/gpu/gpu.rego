package flowyml.rules.naming

findings := set()
