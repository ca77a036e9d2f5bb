"""What is said where an option, a variable or a filter is not as it should be, and that no secret is repeated."""

from __future__ import annotations

import json
import shutil
from typing import Any, Final

import pytest

LARGE: Final = "stacks/prod-gpu-large.yaml"
TOKEN: Final = "ghp_" + "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5"[:36]


@pytest.mark.parametrize("timeout", ["nan", "inf", "-inf", "-1", "soon"])
@pytest.mark.parametrize("command", [("apply", LARGE), ("retire", "prod-gpu-large@2.1.0")], ids=lambda args: args[0])
def test_timeout_that_is_no_time_is_refused_by_the_option(
    examples: Any, command: tuple[str, ...], timeout: str
) -> None:
    ran = examples.run("stack", *command, "--timeout", timeout)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr.startswith("error: invalid value for '--timeout': ")


def test_list_by_a_label_that_no_stack_has_says_that_none_matches(examples: Any) -> None:
    empty = examples.run("stack", "list", "--label", "x=y")
    assert examples.run("stack", "apply", LARGE).exit_code == 0
    ran = examples.run("stack", "list", "--label", "x=y", "--label", "team=a")
    assert (empty.exit_code, empty.stdout) == (0, "no stack is registered\n")
    assert (ran.exit_code, ran.stdout) == (0, "no registered stack matches x=y, team=a\n")


def test_list_by_two_values_of_one_label_is_a_usage_error(examples: Any) -> None:
    ran = examples.run("stack", "list", "--label", "x=y", "--label", "x=z")
    said = "error: no label 'x' has two values; write --label x=... once\n"
    assert (ran.exit_code, ran.stdout, ran.stderr) == (2, "", said)


def test_list_of_retired_stacks_alone_says_that_they_are_there(examples: Any) -> None:
    examples.run("stack", "apply", LARGE)
    examples.run("stack", "retire", "prod-gpu-large@2.1.0")
    for options in ((), ("--label", "team=ml-platform")):
        ran = examples.run("stack", "list", *options)
        assert ran.stdout == "no stack is in use; --all-versions shows those that are retired\n"


def test_schema_without_a_name_says_which_there_are_on_one_line(program: Any) -> None:
    ran = program.run("schema")
    said = (
        "error: missing argument 'stack|flowyml|input|decision|settings|server'. Choose from: stack, flowyml, input,"
        " decision, settings, server; see `flowyml-policy schema --help`\n"
    )
    assert (ran.exit_code, ran.stdout, ran.stderr) == (2, "", said)


@pytest.mark.parametrize("command", [("show",), ("validate", LARGE), ("apply", LARGE)], ids=lambda args: args[0])
def test_flowyml_env_that_is_no_environment_is_named(examples: Any, command: tuple[str, ...]) -> None:
    ran = examples.run("stack", *command, environ={"FLOWYML_ENV": "nosuch"})
    assert (ran.exit_code, ran.stdout) == (3, "")
    assert ran.stderr.startswith("error: FLOWYML_ENV: ")


@pytest.mark.parametrize("command", [("show",), ("validate", LARGE)], ids=lambda args: args[0])
def test_empty_variable_is_one_that_is_not_set(examples: Any, command: tuple[str, ...]) -> None:
    plain = examples.run("stack", *command)
    empty = examples.run("stack", *command, environ={"FLOWYML_ENV": "", "FLOWYML_STACK": ""})
    assert (empty.exit_code, empty.stderr) == (plain.exit_code, plain.stderr)


@pytest.mark.parametrize(
    "command", [("stack", "show"), ("stack", "list"), ("policy", "list"), ("stack", "validate", "a.yaml")], ids=" ".join
)
def test_settings_above_the_working_directory_are_said(examples: Any, command: tuple[str, ...]) -> None:
    inner = examples.here / "inner"
    inner.mkdir()
    shutil.copy(examples.here / LARGE, inner / "a.yaml")
    ran = type(examples)(inner).run(*command)
    said = f"note: the settings are those of {examples.here}/flowyml.yaml, above this repository or working directory\n"
    assert ran.stderr == said
    assert "note:" not in examples.run(*[LARGE if word == "a.yaml" else word for word in command]).stderr


@pytest.mark.parametrize(
    ("command", "settings", "code", "exit_code"),
    [
        (("stack", "validate", LARGE, "--environment", "nosuch"), "", "environment_unknown", 3),
        (("stack", "apply", LARGE, "--environment", "nosuch"), "", "environment_unknown", 3),
        (("stack", "validate", LARGE), "polices: {}\n", "settings_invalid", 3),
        (("stack", "validate", LARGE), "policies: {levels: {no.code: hard}}\n", "settings_invalid", 3),
        (("stack", "list"), "polices: {}\n", "settings_invalid", 3),
        (("stack", "validate", "absent.yaml"), "", "usage", 2),
        (("stack", "validate", LARGE, "--policy", "nope"), "", "usage", 2),
    ],
)
def test_mistake_of_the_whole_call_is_told_in_json(
    examples: Any, command: tuple[str, ...], settings: str, code: str, exit_code: int
) -> None:
    if settings:
        (examples.here / "flowyml.yaml").write_text(settings)
    plain = examples.run(*command)
    ran = examples.run(*command, "--format", "json")
    assert (ran.exit_code, plain.exit_code, ran.stderr) == (exit_code, exit_code, plain.stderr)
    said = json.loads(ran.stdout)
    error = said.pop("error")
    summary = {"stacks": 0, "allowed": 0, "denied": 0, "errors": 0, "warnings": 0}
    assert said == {"version": 1, "results": [], "summary": summary}
    assert (error["code"], sorted(error)) == (code, ["advice", "code", "message"])
    assert error["message"].splitlines()[0] in ran.stderr


def test_secret_in_a_mistake_of_the_whole_call_is_masked(examples: Any) -> None:
    ran = examples.run("stack", "validate", f"{TOKEN}/absent.yaml", "--format", "json")
    assert TOKEN not in ran.stdout + ran.stderr
    assert json.loads(ran.stdout)["error"]["code"] == "usage"


def test_empty_name_of_platform_settings_fails_closed(examples: Any) -> None:
    ran = examples.run("stack", "validate", LARGE, environ={"FLOWYML_POLICY_SETTINGS": ""})
    assert (ran.exit_code, ran.stdout) == (3, "")
    assert ran.stderr == (
        "error: FLOWYML_POLICY_SETTINGS is empty, and so names no platform settings; "
        "set it to the path of their file, or unset it where there are none\n"
    )


@pytest.mark.parametrize("output_format", ["table", "yaml", "json"])
@pytest.mark.parametrize(
    ("reference", "secret"),
    [
        ("https://somebody:hunter2secret@host.invalid/s.yaml", "hunter2secret"),
        ("https://hunter2secret@host.invalid/s.yaml", "hunter2secret"),
        ("git+https://some:hunter2/secret@host.invalid/r", "hunter2"),
        ("somebody:hunter2secret@host.invalid/s.yaml", "hunter2secret"),
        (f"git+https://host.invalid/{TOKEN}/../s#x", TOKEN),
        (f"git+file:///nowhere/{TOKEN}/s#x", TOKEN),
        (f"git+file:///nowhere/s@{TOKEN}..x", TOKEN),
        (f"{TOKEN}/s.yaml", TOKEN),
        (f"a b{TOKEN}", TOKEN),
    ],
)
@pytest.mark.parametrize("variable", ["", "FLOWYML_STACK"])
def test_show_explain_of_what_holds_a_secret_never_repeats_it(
    examples: Any, reference: str, secret: str, output_format: str, variable: str
) -> None:
    named = ((), {variable: reference}) if variable else ((reference,), {})
    ran = examples.run("stack", "show", *named[0], "--explain", "--format", output_format, environ=named[1])
    assert ran.exit_code != 0
    said = "".join((ran.stdout + ran.stderr).split())
    assert secret not in said.replace("#", "")
    if ran.exit_code == 2:
        assert (ran.stdout, reference.endswith("/s.yaml"), variable) == ("", True, "")
    elif output_format == "json":
        steps = json.loads(ran.stdout)["explanation"]["steps"]
        assert [step["verdict"] for step in steps if step["found"] is not None] == ["broken"]
