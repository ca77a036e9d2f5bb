"""How results are shown: one file a format, behind one small interface.

Rules:
- An output is told `begin`, then `add` for every result, then `end`; it asks nobody anything, and never decides.
- Results stream. What an output must hold back (the denials of a table) it keeps as short text, so that ten
  thousand stacks need hardly more memory than a thousand.
- Every text that came from a file goes through `printable` before a terminal sees it.
- stdout carries the result only; whoever calls an output writes diagnostics to stderr.
"""
