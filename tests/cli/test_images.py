"""Images as whole commands see them: examined at a registry, remembered, pinned, and told of when they moved."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.conftest import Program, Ran
from tests.oci_registry import OciServer, Repository, start

CONFIG: Final[dict[str, Any]] = {
    "architecture": "amd64",
    "os": "linux",
    "created": "2026-11-01T00:00:00Z",
    "config": {"User": "1000", "Labels": {"maintainer": "ml", "version": "1.0.0"}},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "d" * 64]},
}
SETTINGS: Final = """\
project: {name: fraud-detection}
policies:
  image_policy: {required_labels: [maintainer, version]}
environments:
  production: {stack: prod}
stacks:
  prod: {source: local, path: stacks/prod.yaml}
policy:
  images:
    mirrors: {myregistry.azurecr.io: ["HOST"]}
    insecure: ["HOST"]
    timeout: 5s
"""
STACK: Final = """\
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {name: prod, version: "1.0.0"}
spec:
  compute: {backend: azureml}
  runtime: {docker_image: "myregistry.azurecr.io/ml/train:1.0.0"}
"""


@pytest.fixture
def server() -> Iterator[OciServer]:
    with start() as made:
        yield made


@pytest.fixture
def repository(server: OciServer) -> Repository:
    """What the registry has of the image that the project's stack names."""
    return server.repository("ml/train")


@pytest.fixture
def project(program: Program, server: OciServer, repository: Repository) -> Program:
    """A project with one stack, whose image is in the registry."""
    repository.add_image(CONFIG, "1.0.0")
    (program.here / "flowyml.yaml").write_text(SETTINGS.replace("HOST", server.host), "utf-8")
    (program.here / "stacks").mkdir()
    (program.here / "stacks" / "prod.yaml").write_text(STACK, "utf-8")
    return program


def judged(ran: Ran) -> dict[str, Any]:
    (result,) = json.loads(ran.stdout)["results"]
    found: dict[str, Any] = result
    return found


def validate(project: Program, *more: str, **environ: str) -> Ran:
    return project.run("stack", "validate", "stacks/prod.yaml", "--format", "json", *more, environ=environ)


def with_labels(labels: dict[str, Any]) -> dict[str, Any]:
    return {**CONFIG, "config": {"User": "1000", "Labels": labels}}


def test_stack_is_allowed_by_what_its_image_is(project: Program, repository: Repository, server: OciServer) -> None:
    ran = validate(project)
    assert (ran.exit_code, ran.stderr) == (0, "")
    (image,) = judged(ran)["images"]
    assert (image["digest"], image["via"], image["endpoint"]) == (repository.tags["1.0.0"], "registry", server.host)
    assert image["platforms"][0]["labels"] == {"maintainer": "ml", "version": "1.0.0"}


def test_second_look_asks_nothing_and_one_after_the_tag_s_time_asks_once(project: Program, server: OciServer) -> None:
    validate(project)
    server.requests.clear()
    assert validate(project).exit_code == 0
    assert server.log == []
    assert validate(project, "--refresh").exit_code == 0
    assert server.log == ["HEAD /v2/ml/train/manifests/1.0.0"]


def test_label_that_is_missing_denies_at_the_image_s_line(project: Program, repository: Repository) -> None:
    repository.add_image(with_labels({"version": "1.0.0"}), "1.0.0")
    ran = validate(project)
    assert ran.exit_code == 1
    (finding,) = [one for one in judged(ran)["findings"] if one["severity"] == "deny"]
    assert (finding["code"], finding["location"]["line"]) == ("images_labels.missing", 6)
    assert repository.tags["1.0.0"][:19] in finding["message"]


def test_image_that_is_nowhere_denies_with_the_reason(project: Program, repository: Repository) -> None:
    repository.tags.clear()
    (project.here / "flowyml.yaml").write_text(
        (project.here / "flowyml.yaml").read_text("utf-8").replace("myregistry.azurecr.io", "unused.example"), "utf-8"
    )
    stack = project.here / "stacks" / "prod.yaml"
    stack.write_text(stack.read_text("utf-8").replace("myregistry.azurecr.io", "127.0.0.1:9"), "utf-8")
    ran = validate(project)
    assert ran.exit_code == 1
    denials = [one["code"] for one in judged(ran)["findings"] if one["severity"] == "deny"]
    assert denials == ["images_inspected.failed", "images_inspected.required"]
    assert judged(ran)["images"][0]["error"]["code"] == "image_unreachable"


def test_offline_what_is_remembered_is_judged_and_all_else_denied(project: Program) -> None:
    offline = {"FLOWYML_POLICY_OFFLINE": "1"}
    ran = validate(project, **offline)
    assert (ran.exit_code, judged(ran)["images"][0]["error"]["code"]) == (1, "image_offline")
    assert validate(project).exit_code == 0
    assert validate(project, **offline).exit_code == 0


def test_lock_pins_digests_and_verify_tells_of_a_tag_that_moved(project: Program, repository: Repository) -> None:
    first = repository.tags["1.0.0"]
    assert project.run("stack", "lock").exit_code == 0
    assert f"myregistry.azurecr.io/ml/train:1.0.0: {first}" in (project.here / "flowyml.lock").read_text("utf-8")
    assert project.run("stack", "verify").exit_code == 0
    repository.add_image(with_labels({"maintainer": "ml", "version": "2"}), "1.0.0")
    moved = project.run("stack", "verify")
    assert moved.exit_code == 1
    assert first in moved.stdout
    assert repository.tags["1.0.0"] in moved.stdout
    ran = validate(project, "--refresh", "--environment", "production")
    assert ran.exit_code == 1
    assert "images_lock.moved" in {finding["code"] for finding in judged(ran)["findings"]}


def test_lock_of_an_image_that_cannot_be_examined_writes_nothing(project: Program, repository: Repository) -> None:
    repository.tags.clear()
    stack = project.here / "stacks" / "prod.yaml"
    stack.write_text(stack.read_text("utf-8").replace("myregistry.azurecr.io", "127.0.0.1:9"), "utf-8")
    ran = project.run("stack", "lock")
    assert ran.exit_code == 3
    assert not (project.here / "flowyml.lock").exists()
    assert project.run("stack", "lock", "--no-images").exit_code == 0
    assert "ml/train:1.0.0: null" in (project.here / "flowyml.lock").read_text("utf-8")
    assert project.run("stack", "verify").exit_code == 0


def test_show_pins_images(project: Program, repository: Repository) -> None:
    ran = project.run("stack", "show", "stacks/prod.yaml", "--format", "yaml", "--pin-images")
    assert ran.exit_code == 0
    assert f"docker_image: myregistry.azurecr.io/ml/train@{repository.tags['1.0.0']}\n" in ran.stdout


def test_show_of_an_image_that_cannot_be_pinned_prints_no_definition(project: Program) -> None:
    ran = project.run(
        "stack", "show", "stacks/prod.yaml", "--format", "yaml", "--pin-images", environ={"FLOWYML_POLICY_OFFLINE": "1"}
    )
    assert (ran.exit_code, ran.stdout) == (3, "")
    assert "has no digest to be named by" in ran.stderr


def test_image_inspect_tells_what_policy_would_be_told(
    project: Program, repository: Repository, server: OciServer
) -> None:
    named = "myregistry.azurecr.io/ml/train:1.0.0"
    ran = project.run("image", "inspect", named, "--format", "json")
    assert ran.exit_code == 0
    image = json.loads(ran.stdout)["image"]
    assert (image["ref"], image["digest"], image["kind"]) == (named, repository.tags["1.0.0"], "manifest")
    table = project.run("image", "inspect", named)
    assert "label       maintainer=ml" in table.stdout
    direct = f"{server.host}/ml/train:1.0.0"
    assert project.run("image", "inspect", direct, "--platform", "linux/arm64").exit_code == 3
    assert project.run("image", "inspect", "Not An Image").exit_code == 3


def test_image_cache_lists_and_forgets(project: Program) -> None:
    assert project.run("image", "cache", "list").stdout == "nothing is remembered\n"
    validate(project)
    entries = json.loads(project.run("image", "cache", "list", "--format", "json").stdout)["entries"]
    assert {entry["key"][0] for entry in entries} == {"image-tag", "image-document"}
    assert "3 remembered" in project.run("image", "cache", "list").stdout
    assert project.run("image", "cache", "clear").stdout == "3 forgotten\n"
    assert project.run("image", "cache", "list").stdout == "nothing is remembered\n"


def test_scan_report_adds_findings_by_digest(project: Program, repository: Repository, tmp_path: Path) -> None:
    report = {
        "SchemaVersion": 2,
        "CreatedAt": "2026-11-28T00:00:00Z",
        "ArtifactType": "container_image",
        "Metadata": {
            "RepoDigests": [f"myregistry.azurecr.io/ml/train@{repository.tags['1.0.0']}"],
            "ImageConfig": {"architecture": "amd64", "os": "linux"},
        },
        "Results": [
            {"Vulnerabilities": [{"VulnerabilityID": "CVE-2026-1", "PkgName": "openssl", "Severity": "CRITICAL"}]}
        ],
    }
    file = tmp_path / "scan.json"
    file.write_text(json.dumps(report), "utf-8")
    ran = validate(project, "--scan-report", str(file))
    assert ran.exit_code == 1
    assert "images_vulnerabilities.found" in {finding["code"] for finding in judged(ran)["findings"]}
    file.write_text("{}", "utf-8")
    assert validate(project, "--scan-report", str(file)).exit_code == 3


def test_progress_of_images_is_shown_on_a_terminal_and_goes_away(project: Program, server: OciServer) -> None:
    server.delay = 0.7
    ran = project.on_terminal("stack", "validate", "stacks/prod.yaml")
    assert ran.exit_code == 0
    assert "1 of 1 image examined\r\x1b[K" in ran.stdout


def test_validate_of_a_remembered_image_loads_nothing_that_asks(project: Program) -> None:
    validate(project)
    probe = (
        "import sys; from flowyml_policy.cli import main; main(sys.argv[1:]);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", probe, "stack", "validate", "stacks/prod.yaml"],
        capture_output=True,
        text=True,
        check=True,
        cwd=project.here,
        env=project.environ,
    )
    loaded = set(ran.stderr.split())
    assert loaded & {"urllib3", "docker", "opa_client", "sqlite_utils", "cryptography", "asyncio", "ssl"} == set()


def test_doctor_tells_what_is_left_of_a_quota(project: Program, server: OciServer) -> None:
    server.quota = 76
    validate(project)
    ran = project.run("doctor", "--format", "json")
    checks = {check["name"]: check["found"] for check in json.loads(ran.stdout)["checks"]}
    assert checks["images"].startswith("examined at their registries")
    assert checks["quota"].startswith(f"{server.url}: 75 of 100 manifests in 6 h are left, as of 20")


def test_doctor_tells_of_a_key_that_cannot_be_read(project: Program) -> None:
    settings = project.here / "flowyml.yaml"
    settings.write_text(settings.read_text("utf-8") + "    cosign_keys: {myregistry.azurecr.io: keys/a.pub}\n", "utf-8")
    ran = project.run("doctor")
    assert ran.exit_code == 3
    assert "todo  images" in ran.stdout
    ran = validate(project)
    assert ran.exit_code == 3
    assert json.loads(ran.stdout)["error"]["code"] == "signing_key_unusable"


def test_judged_images_name_what_may_run(project: Program, repository: Repository) -> None:
    named, digest = "myregistry.azurecr.io/ml/train:1.0.0", repository.tags["1.0.0"]
    ran = validate(project)
    assert judged(ran)["judged_images"] == {named: f"myregistry.azurecr.io/ml/train@{digest}"}
    table = project.run("stack", "validate", "stacks/prod.yaml").stdout
    assert f"image  {named}  {digest[:19]}  registry 127.0.0.1:" in table


def test_scan_report_about_no_image_is_told(project: Program, tmp_path: Path) -> None:
    file = tmp_path / "scan.json"
    file.write_text(json.dumps({"SchemaVersion": 2, "ArtifactType": "container_image", "Results": []}), "utf-8")
    ran = validate(project, "--scan-report", str(file))
    assert ran.exit_code == 0
    assert f"about no image that was judged, by its digests: {file}" in ran.stderr
    applied = project.run("stack", "apply", "stacks/prod.yaml", "--scan-report", str(file), "--refresh")
    assert (applied.exit_code, str(file) in applied.stderr) == (0, True)


def test_scan_report_while_nobody_may_look_is_refused(project: Program, tmp_path: Path) -> None:
    settings = project.here / "flowyml.yaml"
    settings.write_text(settings.read_text("utf-8") + "    inspect: off\n", "utf-8")
    ran = validate(project, "--scan-report", str(tmp_path / "scan.json"))
    assert (ran.exit_code, "policy.images.inspect is off" in ran.stderr + ran.stdout) == (2, True)


def test_lock_with_inspection_off_drops_no_digest(project: Program) -> None:
    assert project.run("stack", "lock").exit_code == 0
    before = (project.here / "flowyml.lock").read_bytes()
    settings = project.here / "flowyml.yaml"
    settings.write_text(settings.read_text("utf-8") + "    inspect: off\n", "utf-8")
    ran = project.run("stack", "lock")
    assert (ran.exit_code, (project.here / "flowyml.lock").read_bytes()) == (3, before)
    assert "--no-images" in ran.stdout
    assert project.run("stack", "verify").exit_code == 3


def test_verify_tells_of_a_change_beside_an_image_out_of_reach(project: Program) -> None:
    assert project.run("stack", "lock").exit_code == 0
    stack = project.here / "stacks" / "prod.yaml"
    stack.write_text(stack.read_text("utf-8").replace('version: "1.0.0"', 'version: "1.1.0"'), "utf-8")
    ran = project.run("stack", "verify", environ={"FLOWYML_POLICY_OFFLINE": "1"})
    assert ran.exit_code == 3
    assert "image_offline" in ran.stdout
    assert "+ 1.1.0" in ran.stdout


def test_guess_whose_registry_is_allowed_is_judged_by_what_is_in_it(
    project: Program, server: OciServer, repository: Repository
) -> None:
    repository.add_image(with_labels({}), "old")
    settings = project.here / "flowyml.yaml"
    allowed = f'image_policy: {{allowed_registries: [myregistry.azurecr.io, "{server.host}"], '
    settings.write_text(settings.read_text("utf-8").replace("image_policy: {", allowed), "utf-8")
    (project.here / "stacks" / "prod.yaml").write_text(
        "apiVersion: flowyml.io/v1\nkind: Stack\nmetadata: {name: prod, version: '1.0.0'}\n"
        "spec:\n  backend: kubernetes\n"
        f'  deployment: {{config: {{args: ["docker run {server.host}/ml/train:old"]}}}}\n',
        "utf-8",
    )
    ran = validate(project)
    assert ran.exit_code == 1
    assert "images_labels.missing" in {finding["code"] for finding in judged(ran)["findings"]}
