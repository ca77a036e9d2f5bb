"""Every error that leaves flowyml_policy, in one tree.

Rules:
- A message reads `what happened: where; what to do`; `advice` is the last part on its own.
- A leaf exists because its *advice* or its exit code differs, not because its cause does.
- Foreign exceptions are chained as the cause and never reach a caller.
- `exit_code` follows the command line contract: 1 denied, 2 usage, 3 could not decide.
- None of these is an ImportError, which FlowyML swallows around its own policy step.
"""
