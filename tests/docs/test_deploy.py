"""The files of docs/deploy: what they hold is valid where it is read. No container engine or cluster runs them here."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from kubernetes_validate.utils import ValidationError, validate

from flowyml_policy.cli.root import root
from flowyml_policy.server.app import STOP_SECONDS
from flowyml_policy.server.configuration import Limits
from flowyml_policy.settings.loading import load_settings
from tests.opa_server import OpaServer, free_port

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
KUBERNETES = "1.37"


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8")))


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return content


def twice(name: str) -> list[str]:
    """What stands in a file, and in the ConfigMap under its name."""
    return [(DEPLOY / name).read_text("utf-8"), documents()[0]["data"][name]]


@pytest.mark.parametrize("document", documents(), ids=lambda document: document["kind"])
def test_kubernetes_takes_every_document(document: dict[str, Any]) -> None:
    validate(document, KUBERNETES, strict=True)


def test_kubernetes_refuses_a_key_that_it_does_not_know() -> None:
    """The check above sees what it is there for."""
    job = documents()[1]
    job["spec"]["template"]["spec"]["initContainers"][0]["startupProb"] = {}
    with pytest.raises(ValidationError):
        validate(job, KUBERNETES, strict=True)


def test_job_starts_after_its_server_and_mounts_what_it_names() -> None:
    pod = documents()[1]["spec"]["template"]["spec"]
    (sidecar,) = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert sidecar[probe]["httpGet"]["port"] in ports
    assert f"--diagnostic-addr=0.0.0.0:{ports['health']}" in sidecar["args"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    config = documents()[0]
    for container in (sidecar, *pod["containers"]):
        for mount in container["volumeMounts"]:
            assert mount["name"] in volumes
            assert mount.get("subPath", "opa.yaml") in config["data"]


def test_compose_file_names_files_and_volumes_that_are_there() -> None:
    content = compose()
    assert content.keys() == {"services", "volumes"}
    for service in content["services"].values():
        assert service.keys() <= {
            *("image", "command", "environment", "volumes", "read_only", "cap_drop", "security_opt", "restart"),
            *("network_mode", "depends_on", "working_dir"),
        }
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source in content["volumes"] or (DEPLOY / source).exists()
    assert content["services"]["check"]["network_mode"] == "service:opa"
    assert content["services"]["check"]["depends_on"] == ["opa"]


def test_image_is_that_of_the_opa_of_the_library() -> None:
    version = subprocess.run(
        [sys.executable, "-m", "flowyml_policy.opa", "version"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]
    image = f"openpolicyagent/opa:{version.removeprefix('Version: ')}-static"
    assert compose()["services"]["opa"]["image"] == image
    assert documents()[1]["spec"]["template"]["spec"]["initContainers"][0]["image"] == image


@pytest.mark.parametrize("text", twice("settings.yaml"), ids=["file", "ConfigMap"])
def test_settings_are_those_of_a_platform(text: str, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(text)
    loaded = load_settings(tmp_path, environ={"HOME": str(tmp_path)}, system_file=tmp_path / "settings.yaml")
    assert (loaded.authority, loaded.policy.opa.mode) == ("platform", "sidecar")
    command = compose()["services"]["opa"]["command"]
    assert f"--addr={loaded.policy.opa.sidecar.url.replace('http://localhost', '127.0.0.1')}" in command


@pytest.mark.parametrize("text", twice("opa.yaml"), ids=["file", "ConfigMap"])
def test_opa_takes_its_configuration(text: str, tmp_path: Path) -> None:
    """A real server starts on it, with no word of a key that it does not know; the company's server is not there."""
    text = text.replace("/var/opa", str(tmp_path)).replace("${POLICY_TOKEN}", "t").replace("${POLICY_KEY}", "k")
    config = yaml.safe_load(text)
    config["services"]["company"]["url"] = f"http://127.0.0.1:{free_port()}"
    with OpaServer(config, tmp_path, log_level="info") as server:
        server.await_listening()
    said = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    assert [line["msg"] for line in said if "onfig" in line["msg"] or "unknown" in line["msg"]] == []


def command_line_takes(words: list[str]) -> None:
    command: click.Command = root
    context = click.Context(root, info_name="flowyml-policy")
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command, context = found, click.Context(found, parent=context)
    command.make_context("x", words)


def test_unit_runs_the_server_and_leaves_it_its_folder_alone() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "flowyml-policy-server.service")
    assert unit.sections() == ["Unit", "Service", "Install"]
    service = dict(unit["Service"])
    program, *words = service["ExecStart"].split()
    assert program.endswith("/bin/flowyml-policy")
    command_line_takes(words)
    assert (service["User"], service["StateDirectoryMode"], service["UMask"]) == ("flowyml-policy", "0700", "0077")
    assert int(service["LimitNOFILE"]) > Limits().polls
    assert int(service["TimeoutStopSec"]) > STOP_SECONDS


def test_recipe_of_the_image_runs_the_server_as_nobody() -> None:
    lines = [line.split(maxsplit=1) for line in (DEPLOY / "Containerfile").read_text("utf-8").splitlines() if line]
    last = {word: rest for word, rest in lines if word != "#"}
    assert [word for word, _ in lines].count("FROM") == 2
    assert int(last["USER"].partition(":")[0]) > 0
    assert json.loads(last["ENTRYPOINT"])[0].endswith("/bin/flowyml-policy")
    command_line_takes(json.loads(last["CMD"]))
