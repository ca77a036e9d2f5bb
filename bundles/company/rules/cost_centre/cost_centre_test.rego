package org.rules.cost_centre

test_allow_cost_centre if {
	found := findings with input as _stack({"cost_centre": "ML-0042"})
	found == set()
}

test_allow_builtin if {
	found := findings with input as {"source": {"kind": "builtin"}, "stack": {"labels": {}}}
	found == set()
}

test_deny_missing if {
	found := findings with input as _stack({"team": "ml"})
	{[finding.code, finding.message] | some finding in found} == {[
		"cost_centre.format",
		"the label cost_centre is \"\", which is no cost centre",
	]}
}

test_deny_malformed if {
	found := findings with input as _stack({"cost_centre": "42"})
	{finding.code | some finding in found} == {"cost_centre.format"}
}

_stack(labels) := {"source": {"kind": "local"}, "stack": {"labels": labels}}
