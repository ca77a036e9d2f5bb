"""Grammars of what is named in text: stacks, addresses, git refs, container images, versions. No I/O."""
