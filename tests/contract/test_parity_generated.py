"""Thousands of inputs get one decision from every OPA that may judge: equal as canonical JSON.

- embedded: the evaluator in this process, which takes a builtin's error for an error;
- the library's own server and the stock `opa` of the same version, each asked by the sidecar evaluator, strictly too;
- the library's and the stock `opa exec`, by which a builtin's error is merely undefined.

So no rule of what ships relies on an error, or on how one OPA reads its input and writes its answer. All of it holds
beside a company's policy: the example's, all that the samples know of good data, and all that they know of bad.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
import rfc8785

from flowyml_policy.bundles.build import build_bundle
from flowyml_policy.bundles.recipe import read_recipe
from flowyml_policy.errors.opa import OpaError
from flowyml_policy.opa import shipped
from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.opa.evaluator import OpaEvaluator
from flowyml_policy.opa.shipped import DECISION_PATH
from flowyml_policy.opa.sidecar import SidecarEvaluator
from tests.contract.conftest import manifest, write
from tests.contract.inputs import NONE_AT_ALL, ROOT, SAMPLES, generate, of_samples, of_stacks
from tests.opa_server import LIBRARY, OpaServer
from tests.stock_opa import stock_opa

Judge: TypeAlias = Callable[[Sequence[bytes]], "list[bytes | str]"]
"""Gives for each input the decision as canonical JSON, or the code of the error in its place."""

EVERY: Final = {"shipped": 1, "company": 3, "demanding": 2, "mistaken": 8}
"""The policies, what ships alone or beside a company's, each with how many inputs there are for one that it judges: the
more a company demands, the longer it takes. With more time each judges all."""

GENERATED: Final = 200
ROUNDS: Final = 8
AT_ONCE: Final = 1000
SHOWN: Final = 3

pytestmark = pytest.mark.timeout(900)  # where the stock program has to be built first


def company_of_samples(*, mistaken: bool) -> dict[str, Any]:
    """What all companies of samples say, as one; those whose data is wrong, or those whose data is right."""
    merged: dict[str, Any] = {}
    for sample in SAMPLES:
        if mistaken == (sample.parts[-3] == "main" or "rule_data" in sample.stem):
            _merge(merged, json.loads(sample.read_text("utf-8")).get("org", {}))
    return merged


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def company(policy: str, folder: Path) -> dict[str, Path]:
    """The bundle that stands beside what ships, by its name."""
    if policy == "shipped":
        return {}
    if policy == "company":
        target = folder / "company.tar.gz"
        return {"company": build_bundle(read_recipe(ROOT / "bundles" / "company.yaml"), output=target).file}
    data = {"org": company_of_samples(mistaken=policy == "mistaken")}
    return {policy: write(folder / "org", {".manifest": manifest(policy, "org"), "data.json": json.dumps(data)})}


@pytest.fixture(scope="module")
def known() -> list[bytes]:
    """The input of every sample and of every example stack."""
    return [*of_samples(), *of_stacks([ROOT / "stacks"])]


@contextmanager
def judges(policy: str, folder: Path, executed: Sequence[str] = ("stock",)) -> Iterator[dict[str, Judge]]:
    """All that judge by one policy; `executed` says by whose `opa exec`."""
    with shipped.bundle() as archive:
        bundles = {"flowyml": Path(shutil.copy(archive, folder / "flowyml.tar.gz")), **company(policy, folder)}
    resources = {name: {"resource": place.as_uri()} for name, place in bundles.items()}
    programs = {"library": LIBRARY, "stock": (str(stock_opa()),)}
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(OpaServer({"bundles": resources}, folder, program=program))
            for name, program in programs.items()
        }
        here = {"bundles": {**resources, "flowyml": {"resource": "shipped"}}}
        embedded = stack.enter_context(EmbeddedEvaluator(config=here))
        made = {"embedded": _asked(embedded)}
        for name, server in servers.items():
            sidecar = stack.enter_context(SidecarEvaluator(server.url, start_timeout=30, deadline=20))
            assert sidecar.opa_version == embedded.opa_version
            made[f"server of {name}"] = _asked(sidecar)
        for name in executed:
            made[f"exec of {name}"] = _executed(programs[name], tuple(bundles.values()), folder / f"of-{name}")
        yield made


def _asked(evaluator: OpaEvaluator) -> Judge:
    def judge(document: bytes) -> bytes | str:
        try:
            return rfc8785.dumps(json.loads(evaluator.judge_recorded(document)[0].model_dump_json()))
        except OpaError as error:
            return error.code

    return lambda documents: [judge(document) for document in documents]


def _executed(program: Sequence[str], bundles: Sequence[Path], inputs: Path) -> Judge:
    """One `opa exec` on a file for each input."""

    def judge(documents: Sequence[bytes]) -> list[bytes | str]:
        inputs.mkdir()
        for number, document in enumerate(documents):
            (inputs / f"{number:06}.json").write_bytes(document)
        loaded = [argument for bundle in bundles for argument in ("--bundle", str(bundle))]
        command = [*program, "exec", *loaded, "--decision", DECISION_PATH, str(inputs)]
        done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "GOGC": "400"})
        shutil.rmtree(inputs)
        answers = json.loads(done.stdout)["result"]
        assert [Path(answer["path"]).stem for answer in answers] == [f"{one:06}" for one in range(len(documents))]
        return [
            rfc8785.dumps(answer["result"]) if "result" in answer else json.dumps(answer["error"]) for answer in answers
        ]

    return judge


def compare(made: Mapping[str, Judge], documents: Sequence[bytes]) -> list[bytes]:
    """The decisions on `documents`, once all have judged, and judged alike."""
    with ThreadPoolExecutor(len(made)) as pool:
        answers = dict(zip(made, pool.map(lambda judge: judge(documents), made.values()), strict=True))
    expected = answers.pop("embedded")
    different = [
        {"by": name, "input": document.decode(), "answer": answer, "embedded": own}
        for name, answered in answers.items()
        for document, answer, own in zip(documents, answered, expected, strict=True)
        if answer != own
    ]
    assert different[:SHOWN] == []
    undecided = [
        (document.decode(), own) for document, own in zip(documents, expected, strict=True) if isinstance(own, str)
    ]
    assert undecided[:SHOWN] == []
    return [own for own in expected if isinstance(own, bytes)]


@pytest.mark.parametrize("policy", EVERY)
def test_generated_inputs_get_one_decision_from_all(policy: str, known: list[bytes], tmp_path: Path) -> None:
    cases = of_stacks(sorted((ROOT / "tests" / "cli" / "cases").glob("*/files")))
    documents = [*known, *cases, *generate(GENERATED, 0, known)]
    with judges(policy, tmp_path) as made:
        decisions = compare(made, [*NONE_AT_ALL, *documents[:: EVERY[policy]]])
    assert all(b'"main.invalid_input"' in decision for decision in decisions[: len(NONE_AT_ALL)])


@pytest.mark.slow
@pytest.mark.parametrize("policy", EVERY)
def test_thousands_of_generated_inputs_get_one_decision_from_all(
    policy: str, known: list[bytes], tmp_path: Path
) -> None:
    with judges(policy, tmp_path, ("library", "stock")) as made:
        for number in range(1, ROUNDS + 1):
            compare(made, generate(AT_ONCE, number, known))
