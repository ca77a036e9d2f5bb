"""What the doctor finds of an audit of somebody else's, of one on a full disk, and of the company's registry."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from flowyml_policy.audit.schema import AUDIT, MIGRATIONS
from flowyml_policy.cli.doctor_checks import SAFE_GO, Check, describe_library, examine, exposure
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.storage.opening import open_for_writing
from tests.registry_server import serving

ME = os.geteuid()
SOMEBODY_ELSE = ME + 1
NOT_THERE = "start the server, or correct policy.audit.report_to"


@pytest.mark.parametrize("go", [SAFE_GO, "go1.27.10", "go1.28rc1", "go1.30.0 X:jsonv2", "devel go1.28-abcdef"])
def test_library_built_with_a_safe_go_names_it(go: str) -> None:
    assert describe_library("1.22.4", go, Path("lib.so")) == f"OPA 1.22.4, built with {go}, lib.so"


@pytest.mark.parametrize("go", ["go1.27.3", "go1.27rc1", "go1.26.8", "unknown"])
def test_library_built_with_an_old_go_says_what_to_do(go: str) -> None:
    assert describe_library("1.22.4", go, Path("lib.so")) == (
        f"OPA 1.22.4, built with {go}, lib.so; before `opa run --server`, install again with GOTOOLCHAIN={SAFE_GO}: "
        f"a request can crash {go}"
    )


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
def test_exposure_of_an_audit_of_somebody_elses_says_whom_to_ask(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "policy of all.db"
    file.touch()
    file.chmod(mode)
    assert list(exposure(file, SOMEBODY_ELSE)) == [
        Check(
            "audit",
            f"{file} is open to everybody, and belongs to the user {pwd.getpwuid(ME).pw_name}",
            f"ask its owner to `chmod 600 '{file}'*`, or 660 where a group shares it",
        )
    ]


@pytest.mark.parametrize(
    ("mode", "user"), [(0o600, SOMEBODY_ELSE), (0o660, SOMEBODY_ELSE), (0o644, ME)], ids=["private", "group", "own"]
)
def test_exposure_of_an_audit_that_is_or_will_be_closed_finds_nothing(tmp_path: Path, mode: int, user: int) -> None:
    file = tmp_path / "policy.db"
    file.touch()
    file.chmod(mode)
    assert list(exposure(file, user)) == []


def test_exposure_of_an_audit_that_is_not_there_finds_nothing(tmp_path: Path) -> None:
    assert list(exposure(tmp_path / "policy.db", SOMEBODY_ELSE)) == []


def registry_checks(project: Path, section: str) -> list[Check]:
    """What the doctor says of the registry, where `section` is that of a project in the folder `project`."""
    (project / "flowyml.yaml").write_text(f"policy: {{registry: {section}}}\n")
    return [check for check in examine(str(project)) if check.name == "registry"]


@pytest.fixture(name="project")
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("FLOWYML_ENV", "FLOWYML_POLICY_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("content", [None, "junk"])
def test_registry_whose_certificates_cannot_be_read_is_to_do(project: Path, content: str | None) -> None:
    if content is not None:
        (project / "ca.pem").write_text(content)
    [check] = registry_checks(project, "{url: 'https://127.0.0.1:1', ca: ca.pem}")
    assert str(project / "ca.pem") in check.found
    assert check.todo == "name a readable PEM file in policy.registry.ca"


def test_registry_of_the_company_is_asked_whether_it_answers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "right")
    with serving(LocalRegistry(project / "stacks.db")) as server:
        server.token = "right"
        section = f"{{url: '{server.url}', token_env: TOKEN}}"
        assert registry_checks(project, section) == [Check("registry", f"{server.url} answers")]
        monkeypatch.setenv("TOKEN", "wrong")
        [check] = registry_checks(project, section)
        assert check.found.startswith("the server does not know the token in TOKEN")
    [check] = registry_checks(project, section)
    assert not check.ok
    assert "Connection refused" in check.found
    monkeypatch.setenv("FLOWYML_POLICY_OFFLINE", "1")
    not_asked = Check("registry", f"{server.url}, not asked: FLOWYML_POLICY_OFFLINE is set")
    assert registry_checks(project, section) == [not_asked]


def test_registry_of_the_project_itself_is_no_line(project: Path) -> None:
    assert registry_checks(project, "{}") == []


def report_checks(project: Path, url: str) -> list[Check]:
    (project / "flowyml.yaml").write_text(f"policy: {{audit: {{path: a.db, report_to: '{url}'}}}}\n")
    return [check for check in examine(str(project)) if check.name == "reports"]


def test_server_of_reports_is_asked_whether_it_answers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        answers = report_checks(project, url)
        server.shutdown()
        thread.join()
    assert answers == [Check("reports", f"{url} answers")]
    refused = Check("reports", f"{url}: the server cannot be reached (Connection refused)", NOT_THERE)
    assert report_checks(project, url) == [refused]
    monkeypatch.setenv("FLOWYML_POLICY_OFFLINE", "1")
    assert report_checks(project, url) == [Check("reports", f"{url}, not asked: FLOWYML_POLICY_OFFLINE is set")]


def audit_check(project: Path) -> Check:
    [check] = [check for check in examine(str(project)) if check.name == "audit"]
    return check


@pytest.mark.parametrize("is_there", [True, False], ids=["begun", "not yet there"])
def test_audit_on_a_full_disk_is_to_do(
    project: Path, limited_file_size: Callable[[int], None], *, is_there: bool
) -> None:
    file = project / "policy.db"
    (project / "flowyml.yaml").write_text("policy: {audit: {path: policy.db}}\n")
    if is_there:
        open_for_writing(file, MIGRATIONS, tables=AUDIT).close()
    found = f"{file}, writable; 0 events, the chain is whole" if is_there else f"{file}, made by the first decision"
    assert audit_check(project) == Check("audit", found)
    limited_file_size(40_000)
    check = audit_check(project)
    assert check.found == (
        f"the audit file could not be read or written: disk I/O error (is the disk full?): {file}"
        if is_there
        else f"the audit file cannot be created: {file}: File too large"
    )
    assert check.todo == "point policy.audit.path of flowyml.yaml at a writable file on a local disk"
    assert sorted(entry.name for entry in project.iterdir()) == ["flowyml.yaml", "policy.db"][: 1 + is_there]


def test_level_weaker_than_the_one_in_force_is_to_do(project: Path) -> None:
    (project / "flowyml.yaml").write_text(
        "policies:\n  levels: {labels.required: advisory, version.missing: hard, naming.safe: hard}\n"
    )
    checks = [check for check in examine(str(project)) if check.name in {"levels", "policy"} and not check.ok]
    place = f"{project}/flowyml.yaml:2:29"
    assert [(check.found, check.todo) for check in checks] == [
        (
            f"labels.required is hard, and the weaker advisory of flowyml.yaml changes nothing: {place}",
            "take it out; only the company's policy data can make a level weaker",
        )
    ]
