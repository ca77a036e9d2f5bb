# METADATA
# title: The stack
# description: What more than one rule asks about the stack under judgement.
package flowyml.lib.stack

# METADATA
# description: |
#   It is the stack that comes with the program. Rules about what an author writes (names, versions, labels) do not
#   apply to it; the rule `source` says where it may be used.
builtin if {
	input.source.kind == "builtin"
	input.stack.name == "local"
}
