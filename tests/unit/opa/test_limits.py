"""Limits of batch systems are told with their figure, before the Go runtime ends the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from flowyml_policy.errors.opa import OpaUnavailable
from flowyml_policy.opa.limits import NEEDED_SPACE, check_space, check_threads

LIMITED: Final = """\
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (500_000 * 1024,) * 2)
from flowyml_policy.cli import main
sys.argv = ["flowyml-policy", *sys.argv[1:]]
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much is mapped")
@pytest.mark.parametrize("command", [("stack", "validate", "."), ("doctor",)])
def test_command_with_little_address_space_exits_3_with_the_figure(tmp_path: Path, command: tuple[str, ...]) -> None:
    stack = "apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: a, version: '1.0.0'}\nspec: {}\n"
    (tmp_path / "a.yaml").write_text(stack)
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    said = " ".join((ran.stdout + ran.stderr).split())
    assert (ran.returncode, "this process may map 488 MiB of memory" in said) == (3, True)


def test_check_space_names_what_is_needed() -> None:
    check_space(NEEDED_SPACE + 10, 10)
    with pytest.raises(OpaUnavailable, match=r"may map 1537 MiB of memory, and 1792 MiB are needed"):
        check_space(NEEDED_SPACE + (1 << 20), 10 << 20)


def test_check_threads_names_how_many_run() -> None:
    check_threads(4000, lambda _: 10)
    with pytest.raises(OpaUnavailable, match="may have 3 processes and threads, 2 run"):
        check_threads(3, lambda _: 2)
