"""`python -m flowyml_policy.integrations.flowyml --check`: whether a process that imports FlowyML is guarded.

Exit code 0 where it is, 3 where it is not, with the reason on stderr.
"""

from __future__ import annotations

import sys

from flowyml_policy.errors.decision import GuardInactive
from flowyml_policy.integrations.flowyml import UNDECIDED, require_guard


def main(arguments: list[str]) -> int:
    """Import FlowyML as any program does, and say whether the guard came with it."""
    if arguments != ["--check"]:
        sys.stderr.write("Usage: python -m flowyml_policy.integrations.flowyml --check\n")
        return 2
    try:
        import flowyml

        require_guard()
    except GuardInactive as error:
        sys.stderr.write(f"Error: {error}\n")
        return UNDECIDED
    except ModuleNotFoundError as error:
        sys.stderr.write(f"Error: FlowyML cannot be imported: {error}\n")
        return UNDECIDED
    sys.stdout.write(f"runs of FlowyML {flowyml.__version__} are guarded\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
