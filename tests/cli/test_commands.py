"""The contract that holds for every command: exit codes, streams, what is loaded, how it ends."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from flowyml_policy.version import VERSION

COMMANDS = (
    ("stack", "validate", "stacks"),
    ("policy", "list"),
    ("audit", "list"),
    ("audit", "verify"),
    ("schema", "stack"),
    ("doctor",),
)


@pytest.fixture
def recorded(examples: Any) -> Any:
    """The examples, judged once, so that there is an audit."""
    examples.run("stack", "validate", "stacks")
    return examples


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_command_in_a_fine_project_writes_nothing_to_stderr(recorded: Any, command: tuple[str, ...]) -> None:
    assert recorded.run(*command).stderr == ""


@pytest.mark.parametrize("command", [*COMMANDS[:4], ("doctor",)], ids=" ".join)
def test_command_with_json_prints_one_document_of_version_1(recorded: Any, command: tuple[str, ...]) -> None:
    assert json.loads(recorded.run(*command, "--format", "json").stdout)["version"] == 1


@pytest.mark.parametrize("name", ["stack", "flowyml", "input", "decision", "settings"])
def test_schema_prints_a_json_schema(program: Any, name: str) -> None:
    ran = program.run("schema", name)
    Draft202012Validator.check_schema(json.loads(ran.stdout))
    assert (ran.exit_code, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["stak"], "there is no command 'stak' (did you mean stack?)"),
        (["stack", "validte"], "there is no command 'validte' (did you mean validate?)"),
        (["stack", "validate"], "missing argument 'PATH|STACK...'"),
        (["stack", "validate", "--format", "xml", "x"], "invalid value for '--format'"),
        (["stack", "validate", "absent.yaml"], "there is no such file or folder: absent.yaml"),
        (["schema", "everything"], "invalid value for"),
        (["audit", "list", "--limit", "0"], "invalid value for '--limit'"),
        (["stack", "validate", ".", "--project", "absent"], "there is no such folder: absent; name an existing folder"),
        (["stack", "validate", ".", "--policy", "absent"], "there is no such folder: absent; name an existing folder"),
        (["stack", "apply", ".", "--policy", "absent"], "there is no such folder: absent; name an existing folder"),
        (["policy", "list", "--policy", "/dev/null"], "this is no folder: /dev/null; name the folder that holds the"),
        (
            ["stack", "validate", ".", "--project", "."],
            "there is no flowyml.yaml in this folder, or in one above it: .",
        ),
        (["stack", "list", "--project", ""], "invalid value for '--project': an empty text names no folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_command_used_wrongly_exits_2_and_says_how(program: Any, args: list[str], said: str) -> None:
    ran = program.run(*args)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr.startswith("error: ")
    assert said in ran.stderr


@pytest.mark.parametrize("group", [[], ["stack"], ["policy"], ["audit"]], ids=" ".join)
def test_group_without_a_command_prints_its_help_and_exits_2(program: Any, group: list[str]) -> None:
    ran = program.run(*group)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr == program.run(*group, "--help").stdout


def test_help_loads_nothing_that_judges_reads_or_records() -> None:
    probe = (
        "import sys; from flowyml_policy.cli import main; main(['--help']);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = set(ran.stderr.split())
    assert loaded & {"pydantic", "yaml", "sqlite_utils", "sqlite3", "ctypes", "rich", "rfc8785", "json"} == set()


def test_validation_that_allows_loads_nothing_that_only_others_need(recorded: Any) -> None:
    probe = (
        "import sys; from flowyml_policy.cli import main; main(sys.argv[1:]);"
        "print(*sorted(name.removeprefix('flowyml_policy.') for name in sys.modules), file=sys.stderr)"
    )
    command = ["stack", "validate", "stacks/prod-gpu-large.yaml"]
    ran = subprocess.run(
        [sys.executable, "-c", probe, *command], capture_output=True, text=True, check=True, cwd=recorded.here
    )
    readers = {"audit.reading", "audit.verification", "records.events", "sqlite_utils"}
    schemas = {"definitions.json_schema", "settings.json_schema"}
    mistakes = {"documents.mistakes"}
    loaded = set(ran.stderr.split())
    assert loaded & (readers | schemas | mistakes) == set()
    assert loaded & {"urllib3", "docker", "opa_client", "sqlite_utils", "cryptography", "asyncio"} == set()


def test_plugins_of_pydantic_see_nothing_of_what_is_judged(recorded: Any, tmp_path: Path) -> None:
    (tmp_path / "nosy.py").write_text("import sys; print('nosy is here', file=sys.stderr)\nplugin = None\n")
    installed = tmp_path / "nosy-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: nosy\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[pydantic]\nnosy = nosy:plugin\n")
    ran = subprocess.run(
        [sys.executable, "-c", "from flowyml_policy.cli import script; script()", "stack", "validate", "stacks"],
        cwd=recorded.here,
        env={**recorded.environ, "PYTHONPATH": f"{tmp_path}:{recorded.environ['PYTHONPATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (1, "")


def test_version_is_that_of_the_package(program: Any) -> None:
    assert str(program.run("--version")) == f"exit 0\n--- stdout\nflowyml-policy {VERSION}\n--- stderr\n"


def test_debug_shows_the_traceback_wherever_it_is_written(program: Any) -> None:
    for args in (["--debug", "stack", "validate", "absent.yaml"], ["stack", "validate", "absent.yaml", "--debug"]):
        ran = program.run(*args)
        assert ran.exit_code == 2
        assert "Traceback (most recent call last)" in ran.stderr
        assert ran.stderr.splitlines()[-1].startswith("error: there is no such file or folder: absent")


def test_validate_of_standard_input_is_judged_like_a_file(examples: Any) -> None:
    data = (examples.here / "stacks" / "staging-orphan.yaml").read_bytes()
    ran = examples.run("stack", "validate", "-", "--format", "json", stdin=data)
    (result,) = json.loads(ran.stdout)["results"]
    assert ran.exit_code == 1
    assert (result["source"]["kind"], result["source"]["uri"]) == ("stdin", "-")
    denials = [finding for finding in result["findings"] if finding["severity"] == "deny"]
    assert [(finding["code"], finding["location"]) for finding in denials] == [
        ("labels.required", {"file": "-", "line": 8, "column": 3})
    ]


def test_validate_fails_on_warnings_where_asked_to(examples: Any) -> None:
    path = "stacks/prod-gpu-large.yaml"
    assert examples.run("stack", "validate", path).exit_code == 0
    assert examples.run("stack", "validate", path, "--fail-on", "warn").exit_code == 1


def test_validate_adds_the_rules_of_a_folder_for_one_call(examples: Any) -> None:
    rule = examples.here / "extra" / "gpu" / "gpu.rego"
    rule.parent.mkdir(parents=True)
    rule.write_text(
        """\
package project.rules.gpu

# METADATA
# title: Weekends are for sleeping
# description: No stack has more than two nodes.
# custom:
#   code: gpu.nodes
#   enforcement: hard
#   why: Because this test says so.
findings contains finding if {
	nodes := object.get(input.stack.spec, ["compute", "max_nodes"], 0)
	nodes > 2
	finding := {
		"code": "gpu.nodes",
		"subject": input.stack.name,
		"path": ["spec", "compute", "max_nodes"],
		"message": sprintf("%d nodes are too many", [nodes]),
		"fix": "use two",
	}
}
"""
    )
    ran = examples.run("stack", "validate", "stacks/prod-gpu-large.yaml", "--policy", "extra", "--format", "json")
    (result,) = json.loads(ran.stdout)["results"]
    assert [finding["code"] for finding in result["findings"] if finding["severity"] == "deny"] == ["gpu.nodes"]
    assert result["findings"][0]["location"] == {"file": "stacks/prod-gpu-large.yaml", "line": 17, "column": 16}
    assert ran.exit_code == 1
    assert "gpu.nodes" in examples.run("policy", "list", "--policy", "extra").stdout


def test_validate_json_has_exactly_the_agreed_keys(examples: Any) -> None:
    document = json.loads(examples.run("stack", "validate", "stacks", "--format", "json").stdout)
    keys = {
        "stack", "source", "outcome", "decision_id", "authority", "environments", "hypothetical", "bundles",
        "evaluator", "findings", "images", "judged_images", "error",
    }  # fmt: skip
    finding_keys = {
        "code", "severity", "enforcement", "subject", "message", "fix", "path", "location", "waiver", "override",
        "effective_on",
    }  # fmt: skip
    assert set(document) == {"version", "results", "summary"}
    assert set(document["summary"]) == {"stacks", "allowed", "denied", "errors", "warnings"}
    assert all(set(result) == keys for result in document["results"])
    assert all(set(finding) == finding_keys for result in document["results"] for finding in result["findings"])


def test_validate_records_every_decision_that_it_prints(examples: Any) -> None:
    printed = json.loads(examples.run("stack", "validate", "stacks", "--format", "json").stdout)["results"]
    listed = json.loads(examples.run("audit", "list", "--limit", "100", "--format", "json").stdout)["decisions"]
    assert {one["decision_id"] for one in listed} == {one["decision_id"] for one in printed}
    assert examples.run("audit", "verify").exit_code == 0


def test_audit_show_answers_what_was_recorded(recorded: Any) -> None:
    listed = json.loads(recorded.run("audit", "list", "--stack", "staging-orphan", "--format", "json").stdout)
    (summary,) = listed["decisions"]
    shown = json.loads(recorded.run("audit", "show", summary["decision_id"], "--format", "json").stdout)
    assert {key: shown["decision"][key] for key in summary} == summary
    assert json.loads(shown["decision"]["input"])["stack"]["name"] == "staging-orphan"
    assert [event["type"] for event in shown["events"]] == ["StackValidated", "PolicyChecked"]


def test_audit_show_of_an_unknown_id_exits_2(recorded: Any) -> None:
    ran = recorded.run("audit", "show", "no-such-id")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "the audit holds no decision no-such-id" in ran.stderr


def test_audit_note_of_a_project_with_a_blank_in_its_name_can_be_typed(examples: Any) -> None:
    (examples.here / "my project").mkdir()
    (examples.here / "my project" / "flowyml.yaml").write_text("{}\n")
    for command in ("validate", "apply"):
        ran = examples.run("stack", command, "stacks/dev-laptop.yaml", "--project", "my project")
        assert "\naudit: flowyml-policy audit list --project 'my project'\n" in ran.stdout


def test_audit_list_of_more_than_the_limit_says_that_there_are_more(recorded: Any) -> None:
    assert recorded.run("audit", "list", "--limit", "3").stdout.endswith(
        "\nthe newest 3 decisions; --limit N shows more\n"
    )


def test_audit_verify_of_an_edited_audit_exits_1_and_names_the_event(recorded: Any) -> None:
    with sqlite3.connect(recorded.here / ".flowyml" / "policy.db") as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE events SET actor = 'nobody' WHERE seq = 3")
    connection.close()
    ran = recorded.run("audit", "verify")
    assert (ran.exit_code, ran.stderr) == (1, "")
    assert "event 3" in ran.stdout
    assert json.loads(recorded.run("audit", "verify", "--format", "json").stdout)["ok"] is False
    assert recorded.run("doctor").exit_code == 3


def test_opa_gets_its_arguments_as_they_are_and_keeps_its_exit_codes(program: Any) -> None:
    assert program.run("opa", "--help").stdout.startswith("An open source project to policy-enable your service.")
    assert program.run("opa", "version").exit_code == 0
    assert json.loads(program.run("opa", "eval", "--format", "values", "1 + 1").stdout) == [2]
    assert program.run("opa", "eval", "--fail", "data.nothing").exit_code == 1
    (program.here / "failing_test.rego").write_text("package failing_test\n\ntest_nothing if false\n")
    assert program.run("opa", "test", "failing_test.rego").exit_code == 2


def test_platform_settings_are_named_as_the_authority(examples: Any) -> None:
    platform = examples.here / "platform.yaml"
    platform.write_text("policy: {opa: {deadline: 5s}}\n")
    environ = {"FLOWYML_POLICY_SETTINGS": str(platform)}
    ran = examples.run("stack", "validate", "stacks/dev-laptop.yaml", environ=environ)
    assert "authority" not in ran.stdout
    ran = examples.run("stack", "validate", "stacks/dev-laptop.yaml", "--format", "json", environ=environ)
    assert json.loads(ran.stdout)["results"][0]["authority"] == "platform"
    assert (
        "ok    authority  platform: its settings own what they set or keep for themselves\n"
        in examples.run("doctor", environ=environ).stdout
    )


def test_completion_of_a_shell_knows_the_commands(program: Any) -> None:
    environ = {"_FLOWYML_POLICY_COMPLETE": "bash_complete", "COMP_WORDS": "flowyml-policy sta", "COMP_CWORD": "1"}
    assert str(program.run(environ=environ)) == "exit 0\n--- stdout\nplain,stack\n--- stderr\n"


def test_output_into_a_closed_pipe_is_quiet_and_no_allow(examples: Any) -> None:
    with examples.start("stack", "validate", "stacks", "--format", "json") as process:
        process.stdin.close()
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_onto_a_full_disk_exits_3_and_says_so_fails_closed(examples: Any) -> None:
    with (
        Path("/dev/full").open("wb") as full,
        examples.start("stack", "validate", "stacks/prod-gpu-large.yaml", stdout=full) as process,
    ):
        _, stderr = process.communicate()
    assert process.returncode == 3
    assert stderr.startswith(b"error: the result could not be written: No space left on device")


def test_interrupt_ends_with_130_and_without_a_traceback(examples: Any) -> None:
    with examples.start("stack", "validate", "-") as process:
        time.sleep(2)  # it now waits for standard input
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr) == (130, b"", b"")


@pytest.mark.parametrize(
    ("path", "redirections", "code"),
    [
        ("stacks/dev-laptop.yaml", ">&-", 3),
        ("stacks/dev-laptop.yaml", "2>&-", 0),
        ("stacks/staging-orphan.yaml", "2>&-", 1),
        ("absent.yaml", "2>&-", 2),
        ("absent.yaml", ">&- 2>&-", 3),
        ("-", "<&-", 1),
    ],
)
def test_validate_with_a_closed_stream_keeps_its_exit_code(
    examples: Any, path: str, redirections: str, code: int
) -> None:
    with examples.start("stack", "validate", path, redirections=redirections) as process:
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in stdout + stderr


@pytest.mark.parametrize("command", [("stack", "validate", "stacks"), ("doctor",), ("doctor", "--format", "json")])
def test_command_secret_in_the_settings_is_shown_masked(examples: Any, command: tuple[str, ...]) -> None:
    secret = "AKIA" + "ABCDEFGHIJKLMNOP"
    (examples.here / "flowyml.yaml").write_text(f"policy: {{images: {{inspect: {secret}}}}}\n")
    ran = examples.run(*command)
    assert secret not in ran.stdout + ran.stderr
    assert "masked:aws_access_key" in ran.stdout + ran.stderr


def test_stack_validate_settings_that_demand_a_secret_are_refused_fails_closed(examples: Any) -> None:
    secret = "Qw83kdPzL0aM" + "n5TuRe72XcVb9sT"
    (examples.here / "flowyml.yaml").write_text(f"policies: {{required_labels: ['approval={secret}']}}\n")
    ran = examples.run("stack", "validate", "stacks")
    assert (ran.exit_code, ran.stdout) == (3, "")
    assert ran.stderr == (
        "error: a demand of the project looks like a secret: flowyml.yaml:1:30; a demand stands in the open: ask for a "
        "value that is no secret, nor the mask of one\n"
    )


def test_stack_validate_ci_variable_of_odd_bytes_changes_no_outcome(examples: Any) -> None:
    plain = examples.run("stack", "validate", "stacks")
    odd = examples.run("stack", "validate", "stacks", environ={"GITHUB_REF": "ref\udcff"})
    assert str(odd) == str(plain)
