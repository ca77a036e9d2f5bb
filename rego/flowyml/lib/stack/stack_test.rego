package flowyml.lib.stack

import data.flowyml.lib.inputs

test_builtin if {
	builtin with input as inputs.builtin
}

test_not_builtin_by_name_alone if {
	not builtin with input as inputs.changed({"stack/name": "local"})
}

test_not_builtin_by_source_alone if {
	not builtin with input as inputs.changed({"source/kind": "builtin"})
}
