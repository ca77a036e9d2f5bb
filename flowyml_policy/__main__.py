"""`python -m flowyml_policy`: the same program as `flowyml-policy`."""

import sys

from flowyml_policy.cli import main

if __name__ == "__main__":
    sys.exit(main(prog_name="python -m flowyml_policy"))
