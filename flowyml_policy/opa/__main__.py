"""`python -m flowyml_policy.opa ...` is `opa ...`, with OPA's own exit codes."""

from __future__ import annotations

import sys

from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.mask.text import mask
from flowyml_policy.opa.command import run


def main() -> int:
    """Run OPA's command line on this process's arguments."""
    try:
        return run(sys.argv[1:])
    except FlowymlPolicyError as error:
        sys.stderr.write(f"{mask(str(error))}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
