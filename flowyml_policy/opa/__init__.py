"""OPA: the evaluators, and the bundles that they load.

Rules:
- `evaluator` is the seam: whatever goes wrong below it leaves as an OpaError, and no answer leaves unchecked.
- `library` is the only importer of ctypes; `bundle_files` needs nothing but the standard library, not even
  this package, because the build runs it.
- What cannot be decided is an error, never an allow.

Import what is needed from its module: this file imports nothing, so that no command pays for the library.
"""
