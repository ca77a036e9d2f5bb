mkdir -p .flowyml/policy.db
