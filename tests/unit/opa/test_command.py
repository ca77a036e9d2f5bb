"""OPA's command line out of this package: the same words and exit codes as OPA's own program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flowyml_policy.errors.opa import OpaDeadlineExceeded
from flowyml_policy.opa.command import run, run_child

FAILING = "package p\n\ntest_no if false\n"


def test_run_child_gives_exit_code_and_output() -> None:
    done = run_child(["eval", "--format", "raw", "1 + 1"])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"2\n", b"")


def test_run_child_reads_what_it_is_given() -> None:
    done = run_child(["eval", "--format", "raw", "--stdin-input", "input.n"], stdin=b'{"n": 7}')
    assert (done.returncode, done.stdout) == (0, b"7\n")


@pytest.mark.parametrize(
    ("argv", "exit_code"),
    [
        (["version"], 0),
        (["test", "failing_test.rego"], 2),
        (["check", "broken.rego"], 1),
        (["fmt", "--fail", "--list", "unformatted.rego"], 2),
        (["eval", "--fail", "data.nothing"], 1),
        (["eval", "1 ="], 2),
        (["no-such-command"], 1),
        (["run", "--server", "--addr", "no address"], 1),
    ],
)
def test_run_child_exits_as_opa_does(tmp_path: Path, argv: list[str], exit_code: int) -> None:
    (tmp_path / "failing_test.rego").write_text(FAILING)
    (tmp_path / "broken.rego").write_text("package p\n\nx :=\n")
    (tmp_path / "unformatted.rego").write_text("package   p\n")
    assert run_child(argv, folder=tmp_path, timeout=60).returncode == exit_code


def test_run_child_that_does_not_end_is_ended() -> None:
    with pytest.raises(OpaDeadlineExceeded):
        run_child(["run", "--server", "--addr", "127.0.0.1:0"], timeout=1.0)


def test_run_writes_to_the_streams_of_this_process(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "--format", "raw", "2 + 3"]) == 0
    assert capfd.readouterr() == ("5\n", "")


def test_module_without_arguments_prints_the_help_of_opa() -> None:
    done = subprocess.run([sys.executable, "-m", "flowyml_policy.opa"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Usage:\n  opa [command]" in done.stdout
