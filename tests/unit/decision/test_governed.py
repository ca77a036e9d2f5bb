"""Functions and tests that ask policy themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowyml_policy import PolicyDenied, PolicyUndecided, assert_allowed, governed
from flowyml_policy.errors.root import UsageError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "stacks").mkdir()
    for name in ("prod-cpu", "toy-cpu"):
        (tmp_path / "stacks" / f"{name}.yaml").write_text(
            "apiVersion: flowyml/v1\nkind: StackDefinition\n"
            f'metadata: {{name: {name}, version: "1.0.0"}}\nspec: {{compute: {{backend: local}}}}\n'
        )
    settings(tmp_path, "block")
    return tmp_path


def settings(project: Path, enforce: str) -> None:
    (project / "flowyml.yaml").write_text(
        f"policies: {{allowed_stacks: [prod-*]}}\npolicy: {{enforce: {enforce}, images: {{inspect: 'off'}}}}\n"
    )


def test_governed_function_runs_where_policy_allows_it(project: Path) -> None:
    @governed(stack="prod-cpu", project=project)
    def add(one: int, *, other: int) -> int:
        return one + other

    assert (add(1, other=2), add(3, other=4), add.__name__) == (3, 7, "add")


@pytest.mark.parametrize(("stack", "error"), [("toy-cpu", PolicyDenied), ("nowhere", PolicyUndecided)])
def test_governed_function_never_starts_fails_closed(project: Path, stack: str, error: type[Exception]) -> None:
    called: list[int] = []

    @governed(stack=stack, project=project)
    def work() -> None:
        called.append(1)

    with pytest.raises(error):
        work()
    assert called == []


def test_governed_function_observed_goes_on_and_says_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings(project, "observe")
    assert governed(stack="toy-cpu", project=project)(lambda: "ran")() == "ran"
    assert "goes on, and block would stop it: stack 'toy-cpu' is denied" in capsys.readouterr().err


def test_governed_function_off_is_not_judged(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings(project, "none")
    assert governed(stack="nowhere", project=project)(lambda: "ran")() == "ran"
    assert (capsys.readouterr().err, (project / ".flowyml").exists()) == ("", False)


def test_governed_coroutine_function_is_refused() -> None:
    async def work() -> None: ...

    with pytest.raises(UsageError, match="is a coroutine function"):
        governed(stack="prod-cpu")(work)


def test_assert_allowed_says_what_policy_found(project: Path) -> None:
    assert_allowed("prod-cpu", project=project)
    with pytest.raises(AssertionError) as raised:
        assert_allowed("toy-cpu", project=project)
    assert str(raised.value).startswith("policy denies the stack:\n  naming.allowed_stacks: ")
