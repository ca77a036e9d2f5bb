"""YAML with positions, read strictly: definitions, settings and waivers go through here and nothing else.

Rules:
- Plain scalars resolve by the YAML 1.2 core schema: `yes` and `on` are text, `2.1` is a number, `0o17` is 15.
- What readers disagree on is refused, never guessed: duplicate keys, tags, merge keys, keys that are not text.
- What could exhaust a reader is bounded: size, depth, and the number of nodes with every alias written out.
- What a person could not see is refused: control and direction characters anywhere, invisible ones in keys.
- Whatever the bytes, a failure is one `YamlInvalid` with file, line, column and a fix.
- What is written here is read back here as the same value.
- No recursion: PyYAML's parser events (libyaml's, where it is there) build values and positions in one pass.
"""
