"""No other way to name a stack takes it out of an environment that runs on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowyml_policy import StackDefinition
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.resolution.same_place import environments_of
from flowyml_policy.settings import load_settings

SETTINGS = """\
environments:
  by-name: {stack: gpu}
  by-version: {stack: gpu@^2.1}
  by-registry: {stack: registry://gpu@2.1.0}
  by-address: {stack: 'github://org/stacks@v1#gpu'}
  by-path: {stack: 'github://org/stacks@v2#stacks/gpu.yaml'}
  by-folder: {stack: 'git+https://github.com/org/stacks@v2#stacks/'}
  by-key: {stack: prod}
  by-key-without-path: {stack: searched}
  by-url: {stack: web}
  by-file: {stack: file://./stacks/gpu.yaml}
  by-file-folder: {stack: 'file://./stacks#gpu'}
  by-url-with-query: {stack: 'https://stacks.example/asked.yaml?v=1'}
  by-repository-file: {stack: 'git+file://@/link@v1#stacks/gpu.yaml'}
  malformed: {stack: 'github://org'}
  other: {stack: cpu}
  other-repository: {stack: 'github://org/others@v1#stacks/gpu.yaml'}
  other-path: {stack: 'github://org/stacks@v1#stacks/gpu.yaml.yml'}
  other-name: {stack: 'file://./stacks#cpu'}
stacks:
  prod: {source: github, repo: org/stacks, ref: v2, path: stacks/gpu.yaml}
  searched: {source: github, repo: org/stacks}
  web: {source: http, url: https://stacks.example/gpu.yaml}
"""
ALWAYS = {"by-name", "by-version", "by-registry"}


def definition(provenance: Provenance | None, name: str = "gpu") -> StackDefinition:
    found = StackDefinition.from_dict(
        {"apiVersion": "flowyml/v1", "kind": "StackDefinition", "metadata": {"name": name}, "spec": {}}
    )
    return found if provenance is None else found.located(provenance)


def git(uri: str = "https://github.com/org/stacks.git", path: str = "stacks/gpu.yaml") -> Provenance:
    return Provenance(kind="github", uri=uri, ref="main", commit="0" * 40, path=path)


@pytest.mark.parametrize(
    ("provenance", "name", "expected"),
    [
        (None, "gpu", ALWAYS),
        (git(), "gpu", ALWAYS | {"by-address", "by-path", "by-folder", "by-key"}),
        (git("https://github.com/org/stacks"), "gpu", ALWAYS | {"by-address", "by-path", "by-folder", "by-key"}),
        (git("https://github.com/Org/STACKS.git"), "gpu", ALWAYS | {"by-address", "by-path", "by-folder", "by-key"}),
        (git("https://git.example/Org/stacks.git"), "any", set()),
        (git("file://@/repository"), "any", {"by-repository-file"}),
        (git("file://@/repository/.git"), "any", {"by-repository-file"}),
        (git("file://@/link/"), "any", {"by-repository-file"}),
        (git("file://@/elsewhere"), "any", set()),
        (Provenance(kind="http", uri="https://stacks.example/asked.yaml"), "any", {"by-url-with-query"}),
        (Provenance(kind="http", uri="https://stacks.example/asked.yaml?v=2"), "any", {"by-url-with-query"}),
        (Provenance(kind="http", uri="https://stacks.example/gpu.yaml?x"), "any", {"by-url"}),
        (git(path="stacks/x.yaml"), "gpu", ALWAYS | {"by-address", "by-folder"}),
        (git(), "gpu-2", {"by-path", "by-folder", "by-key"}),
        (git(), "searched", {"by-path", "by-folder", "by-key", "by-key-without-path"}),
        (git("https://github.com/org/forks.git"), "gpu", ALWAYS),
        (Provenance(kind="http", uri="https://stacks.example/gpu.yaml"), "any", {"by-url"}),
        (Provenance(kind="http", uri="https://stacks.example/other.yaml"), "any", set()),
        (Provenance(kind="local", uri="stacks/gpu.yaml"), "gpu", ALWAYS | {"by-file", "by-file-folder"}),
        (Provenance(kind="local", uri="stacks/gpu.yaml"), "any", {"by-file"}),
        (Provenance(kind="local", uri="stacks/../stacks/gpu.yaml"), "any", {"by-file"}),
        (Provenance(kind="registry", uri="registry://gpu@2.1.0"), "gpu", ALWAYS),
    ],
)
def test_environments_of_a_definition_are_those_that_lead_to_where_it_was_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    provenance: Provenance | None,
    name: str,
    expected: set[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stacks").mkdir()
    (tmp_path / "repository").mkdir()
    (tmp_path / "link").symlink_to("repository")
    (tmp_path / "flowyml.yaml").write_text(SETTINGS.replace("//@/", f"//{tmp_path}/"))
    if provenance is not None:
        provenance = provenance.model_copy(update={"uri": provenance.uri.replace("//@/", f"//{tmp_path}/")})
    settings = load_settings(project=tmp_path, environ={"HOME": str(tmp_path)})
    assert set(environments_of(settings, definition(provenance, name))) == expected
