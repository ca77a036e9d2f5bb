"""The command line `flowyml-policy`.

Rules:
- A command is a few lines: settings, one call, render, exit. It decides nothing that the library does not.
- One handler, in `ending`, stands between every command and the user: no traceback without --debug, and an exit
  code by the contract: 0 allowed or fine, 1 denied, 2 usage, 3 could not decide, 130 interrupted.
- `--help` loads click and this package only. Each group is a module that is imported when it is used, and a command
  imports what it works with inside its body.
- stdout is the result, stderr everything else.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from flowyml_policy.cli.errors import ended
from flowyml_policy.cli.root import Session, root

PROG_NAME = "flowyml-policy"

GARBAGE_THRESHOLD = 200_000
"""Objects between two looks for reference cycles. A start makes 60,000, and one look at them takes 10 ms."""


def main(args: Sequence[str] | None = None, *, prog_name: str = PROG_NAME) -> int:
    """Run one command line and answer its exit code; `args` are those of the process unless given."""
    gc.set_threshold(GARBAGE_THRESHOLD)
    session = Session()
    return ended(session, lambda: root.run(args, prog_name=prog_name, session=session))


def script() -> NoReturn:
    """The console script: `main`, and then an end without taking apart every module, which takes 35 ms.

    By then everything is closed and written: `main` has flushed the output and said so where it could not.
    Pydantic is not to look through all that is installed for plugins, and none of them sees a definition.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
