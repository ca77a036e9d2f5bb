"""The evaluators that keep to the contract, and small policies for them to judge by.

An evaluator that loads policy itself joins by adding its factory to LOADERS, another one by a fixture as `serve` is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from flowyml_policy.opa import bundle_files
from flowyml_policy.opa.catalogue import make_catalogue
from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.opa.evaluator import OpaEvaluator
from flowyml_policy.opa.library import load
from flowyml_policy.opa.loading import PolicySource
from flowyml_policy.opa.process import ProcessEvaluator
from flowyml_policy.opa.sidecar import SidecarEvaluator
from flowyml_policy.records.policy_input import Actor, PolicyInput, Project, Source, Stack
from tests.opa_server import OpaServer

MAIN = """\
package flowyml.main

decision := {
	"schema_version": 1,
	"allow": count(_findings) == 0,
	"findings": [finding | some finding in _findings],
	"waivers": {"applied": [], "expired": []},
	"rules": sort(array.concat(data.flowyml.catalogue.rules, _project)),
}

_findings contains finding if {
	some root in ["flowyml", "project"]
	some reported in data[root].rules[_].findings
	finding := object.union(reported, {
		"severity": "deny",
		"enforcement": "hard",
		"waiver": null,
		"override": null,
		"effective_on": null,
	})
}

default _project := []

_project := data.project.catalogue.rules
"""

NAMING = """\
package flowyml.rules.naming

# METADATA
# title: The name is too long
# custom:
#   code: naming.long
findings contains {
	"code": "naming.long",
	"subject": input.stack.name,
	"path": ["metadata", "name"],
	"message": sprintf("the name has %d characters", [count(input.stack.name)]),
	"fix": "use at most 8 characters",
} if count(input.stack.name) > 8
"""

GLOBS = """\
package flowyml.main

unreadable_globs contains pattern if {
	some pattern in input.globs
	not _readable(pattern)
}

_readable(pattern) if is_boolean(glob.match(pattern, null, ""))
"""
"""As in the shipped policy: the rule by which a server tells the globs that it cannot read."""

Files = Mapping[str, str]


class MakeEvaluator(Protocol):
    """Starts an evaluator on bundles: each is a folder of files, or the path of what OPA is to load."""

    def __call__(
        self,
        bundles: Mapping[str, Files | Path],
        *,
        rules: Sequence[Path] = (),
        deadline: float = 10.0,
        options: Mapping[str, Any] | None = None,
    ) -> OpaEvaluator: ...


def embedded(
    bundles: Mapping[str, Path], rules: Sequence[Path], deadline: float, options: Mapping[str, Any]
) -> OpaEvaluator:
    return EmbeddedEvaluator(config=_config(bundles, options), rule_folders=rules, deadline=deadline)


def process(
    bundles: Mapping[str, Path], rules: Sequence[Path], deadline: float, options: Mapping[str, Any]
) -> OpaEvaluator:
    source = PolicySource.of(config=_config(bundles, options), rule_folders=rules, deadline=deadline)
    return ProcessEvaluator(source)


def _config(bundles: Mapping[str, Path], options: Mapping[str, Any]) -> dict[str, Any]:
    sources = {name: {"resource": str(path), **options.get(name, {})} for name, path in bundles.items()}
    return {"bundles": sources, **{key: value for key, value in options.items() if key not in bundles}}


Factory = Callable[[Mapping[str, Path], Sequence[Path], float, Mapping[str, Any]], OpaEvaluator]

LOADERS: dict[str, Factory] = {"embedded": embedded, "process": process}
"""The evaluators that load policy themselves, and so can refuse it."""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Factory]:
    """Starts a real OPA server on bundles, and the evaluator that asks it; the server is ended."""
    servers: list[OpaServer] = []

    def sidecar(
        bundles: Mapping[str, Path], rules: Sequence[Path], deadline: float, options: Mapping[str, Any]
    ) -> OpaEvaluator:
        assert not rules, "a server has no rules of a project"
        archives = {name: {"resource": built(name, place, tmp_path).as_uri()} for name, place in bundles.items()}
        servers.append(OpaServer({"bundles": archives}, tmp_path))
        return SidecarEvaluator(servers[-1].url, deadline=deadline, start_timeout=30, **options)

    yield sidecar
    for server in servers:
        server.stop()


def built(name: str, place: Path, folder: Path) -> Path:
    """The bundle of a folder, with the catalogue of its rules, as `bundle build` makes it."""
    if place.is_file():
        return place
    found = bundle_files.collect([place])
    own = bundle_files.read_manifest(place)
    for root in {"flowyml", "org"}.intersection(own["roots"]):
        if "catalogue" not in found.data.get(root, {}):
            files = list(found.origins.values())
            catalogue = make_catalogue(
                load().inspect(files, 10**10), root, names={str(file): file.name for file in files}
            )
            found.data.setdefault(root, {})["catalogue"] = catalogue
    target = folder / f"{name}-{len(list(folder.iterdir()))}.tar.gz"
    bundle_files.write(found, target, roots=own["roots"], version=name, manifest=own)
    return target


@pytest.fixture(params=sorted([*LOADERS, "sidecar"]))
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeEvaluator]:
    """The factory of each evaluator in turn; what it makes is closed."""
    factory = LOADERS.get(request.param) or request.getfixturevalue("serve")
    yield from making(factory, tmp_path)


@pytest.fixture(params=sorted(LOADERS))
def loading(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeEvaluator]:
    """As `make`, for the evaluators that load policy themselves."""
    yield from making(LOADERS[request.param], tmp_path)


def making(factory: Factory, tmp_path: Path) -> Iterator[MakeEvaluator]:
    made: list[OpaEvaluator] = []

    def start(
        bundles: Mapping[str, Files | Path],
        *,
        rules: Sequence[Path] = (),
        deadline: float = 10.0,
        options: Mapping[str, Any] | None = None,
    ) -> OpaEvaluator:
        places = {
            name: content if isinstance(content, Path) else write(tmp_path / "bundles" / name, content)
            for name, content in bundles.items()
        }
        made.append(factory(places, rules, deadline, options or {}))
        return made[-1]

    yield start
    for evaluator in made:
        evaluator.close()


def write(folder: Path, files: Files) -> Path:
    """Write the files below `folder`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


def policy(**files: str) -> dict[str, str]:
    """The files of a small policy: MAIN, NAMING and a manifest; `name=text` replaces or adds `name.rego`."""
    content = {"main": MAIN, "naming": NAMING, **files}
    return {".manifest": manifest("f1", "flowyml"), **{f"{name}.rego": text for name, text in content.items()}}


def manifest(revision: str, *roots: str, **metadata: Any) -> str:
    """A bundle's manifest."""
    return json.dumps({"revision": revision, "roots": roots, "metadata": metadata})


def decision(rego: str) -> dict[str, str]:
    """A policy whose decision is `rego`."""
    return policy(main=f"package flowyml.main\n\n{rego}\n")


def document(name: str = "small") -> PolicyInput:
    """The input of a stack named `name`."""
    return PolicyInput(
        operation="validate",
        evaluated_at="2026-01-02T03:04:05Z",
        authority="project",
        actor=Actor(name="somebody"),
        project=Project(),
        stack=Stack(
            name=name, version="1.0.0", labels={}, spec={}, document={}, definition_digest=f"sha256:{'0' * 64}"
        ),
        source=Source(kind="local", uri="stacks/small.yaml"),
    )
