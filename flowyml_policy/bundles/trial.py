"""OPA's own judgement on a bundle before it is written: it compiles, its tests pass, and it decides.

Rules:
- OPA runs in child processes: a rule that does not end, or takes all memory, ends its process and nothing else.
- Compiled is the whole of what will be loaded, with none of the refused builtins in OPA's capabilities.
- The tests of what ships run without data of a company, which they do not expect.
- A builtin that fails is an error wherever this program decides, and undefined to `opa test`: so the tests of a company
  are asked once more where errors are errors.
- Data that the policy would deny every stack for is found by asking the policy itself, about one ordinary stack.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from typing import Final

from flowyml_policy.bundles.archive import DATA, read_archive
from flowyml_policy.bundles.content import TEST, Content
from flowyml_policy.bundles.conventions import REFUSED
from flowyml_policy.errors.bundles import BundleRefused
from flowyml_policy.errors.opa import (
    OpaAnswerInvalid,
    OpaDeadlineExceeded,
    OpaEvaluationFailed,
    OpaStartFailed,
    OpaUndefined,
    PolicyInvalid,
)
from flowyml_policy.mask.policy_input import masked_actor, masked_stack
from flowyml_policy.opa import shipped
from flowyml_policy.opa.bundle_files import INPUT_SCHEMA, MANIFEST, BundleFiles, encoded
from flowyml_policy.opa.catalogue import shown
from flowyml_policy.opa.command import run_child
from flowyml_policy.opa.loading import PolicySource
from flowyml_policy.opa.process import PolicyProcess
from flowyml_policy.records.policy_input import PolicyInput, Project, Source
from flowyml_policy.records.record import Json

COMPILE_SECONDS: Final = 60.0
TEST_SECONDS: Final = 600.0
DECISION_SECONDS: Final = 10.0
SHIPPED_CONFIG: Final = {"resource": "shipped"}
PATTERNS_PATH: Final = "flowyml/main/patterns"

_STACK: Final = {"metadata": {"name": "ordinary", "version": "1.0.0", "labels": {}}, "spec": {}}
ORDINARY: Final = PolicyInput(
    operation="validate",
    evaluated_at="2026-01-01T00:00:00.000000Z",
    authority="platform",
    actor=masked_actor("bundle-build", (), {}),
    project=Project(),
    stack=masked_stack(_STACK, _STACK, digest=f"sha256:{'0' * 64}"),
    source=Source(kind="local", uri="stacks/ordinary.yaml"),
)
"""An input that any policy can be asked about."""

EXPIRED: Final = "main.expired"
"""The code of what is wrong with a bundle on some days, and not with what it holds."""


class Stage:
    """The policy of a bundle on disk, as OPA is to see it: with what ships, and with its tests."""

    def __init__(self, scratch: Path, content: Content) -> None:
        self._scratch = scratch
        self._content = content
        self.policy = scratch / "policy"
        near = Path.cwd()
        origins = {**content.own.origins, **content.tests, **content.shipped_tests}
        self.names = {name: shown(origins[name], near) if name in origins else name for name in content.files}
        self._shown = {**self.names, **{name: shown(path, near) for name, path in origins.items()}}
        self._beside = BundleFiles() if content.shipped else _shipped()
        _write(self.policy, {**self._beside.files, **content.files})
        self.policy.mkdir(parents=True, exist_ok=True)

    def write_data(self, roots: Sequence[str]) -> None:
        """Put data, manifest and tests beside the Rego files."""
        content = self._content
        data = {**self._beside.data, **content.data}
        owned = sorted({*roots, shipped.SHIPPED_BUNDLE})
        manifest = {"roots": owned, "rego_version": 1, "metadata": {"input_schema": INPUT_SCHEMA}}
        _write(self.policy, {DATA: encoded(data), MANIFEST: encoded(manifest)})
        _copy(self.policy, content.tests)
        if content.shipped is not None and content.shipped_tests:
            alone = self._scratch / "shipped"
            _write(alone, {**content.shipped.files, DATA: encoded(content.shipped.data)})
            _copy(alone, content.shipped_tests)

    def compile_and_test(self) -> int:
        """Have OPA build the whole and run all tests, side by side; how many passed. Raises BundleRefused."""
        with ThreadPoolExecutor() as pool:
            compiled = pool.submit(self._compile)
            runs = [self.policy] if self._content.tests else []
            runs += [self._scratch / "shipped"] if self._content.shipped_tests else []
            tested = [pool.submit(self._test, folder) for folder in runs]
            compiled.result()
            return sum(run.result() for run in tested)

    def _compile(self) -> None:
        capabilities = self._scratch / "capabilities.json"
        capabilities.write_bytes(encoded(_capabilities()))
        output = self._scratch / "compiled.tar.gz"
        argv = ["build", "--bundle", str(self.policy), "--ignore", f"*{TEST}", "--output", str(output)]
        done = run_child([*argv, "--capabilities", str(capabilities)], timeout=COMPILE_SECONDS)
        if done.returncode != 0:
            raise BundleRefused(f"OPA does not build it:\n{self._said(done, self.policy)}")

    def _test(self, folder: Path) -> int:
        done = run_child(["test", "--bundle", str(folder), "--format", "json"], timeout=TEST_SECONDS)
        try:
            results: list[dict[str, Json]] = json.loads(done.stdout)
        except ValueError as error:
            raise BundleRefused(f"OPA does not run the tests:\n{self._said(done, folder)}") from error
        failed = [one for one in results if one.get("fail") or one.get("error")]
        if failed or done.returncode != 0 or not results:
            said = [self._failed(one, folder) for one in failed] or [f"opa test ended with {done.returncode}"]
            raise BundleRefused("\n".join(said), advice="correct the rule or its test; no bundle was written")
        if folder == self.policy:
            self._test_strictly([one for one in results if not one.get("skip")])
        return len(results)

    def _test_strictly(self, results: Sequence[Mapping[str, Json]]) -> None:
        """Ask for tests that passed where errors of builtins are errors."""
        query = f"[{', '.join('.'.join([one['package'], one['name']]) for one in results)}]"
        argv = ["eval", "--bundle", str(self.policy), "--strict-builtin-errors", "--format", "json", query]
        done = run_child(argv, timeout=TEST_SECONDS)
        try:
            answer: dict[str, Json] = json.loads(done.stdout)
        except ValueError as error:
            raise BundleRefused(f"OPA does not run the tests:\n{self._said(done, self.policy)}") from error
        if done.returncode == 0 and answer.get("result"):
            return
        said = []
        for one in answer.get("errors") or [{"message": "a test is undefined"}]:
            location = one.get("location") or {}
            name = str(location.get("file", "")).removeprefix(f"{self.policy}/").lstrip("/")
            said.append(f"{one['message']}: {self._shown.get(name, name)}:{location.get('row', 0)}")
        advice = "guard the call by the type of its arguments: where it fails a stack could not be decided"
        raise BundleRefused("\n".join(said), advice=advice)

    def _failed(self, result: Mapping[str, Json], folder: Path) -> str:
        location = result.get("location") or {}
        name = str(location.get("file", "")).removeprefix(f"{folder}/").lstrip("/")
        why = (result.get("error") or {}).get("message")
        what = f"the test {result['package'].removeprefix('data.')}.{result['name']} fails"
        return f"{what}{f' ({why})' if why else ''}: {self._shown.get(name, name)}:{location.get('row', 0)}"

    def _said(self, done: CompletedProcess[bytes], folder: Path) -> str:
        """What OPA said, with the files as their author calls them."""
        said = (done.stderr or done.stdout).decode(errors="replace").replace(f"{folder}/", "").strip()
        for name in sorted(self._shown, key=len, reverse=True):
            said = said.replace(f"{name}:", f"{self._shown[name]}:")
        return said.removeprefix("error: ")


def decide(archive: Path, content: Content, *, is_whole: bool) -> None:
    """Load a bundle, with what ships unless it `is_whole`, and have it decide. Raises BundleRefused, OpaError."""
    bundles = {"bundle": {"resource": str(archive)}}
    if not is_whole:
        bundles["flowyml"] = dict(SHIPPED_CONFIG)
    source = PolicySource.of(
        config={"bundles": bundles},
        root=archive.parent,
        start_timeout=30.0,
        deadline=DECISION_SECONDS,
    )._replace(takes_expired=True)  # what is built does not depend on the day
    try:
        policy = PolicyProcess(source)
        try:
            answer = json.loads(policy.decide(None, ORDINARY.encoded))
            patterns = json.loads(policy.decide(PATTERNS_PATH, b"{}"))["result"]
            globs = policy.check_globs(patterns)
        finally:
            policy.stop()
    except (OpaStartFailed, PolicyInvalid, OpaEvaluationFailed, OpaDeadlineExceeded, OpaUndefined) as error:
        raise BundleRefused(f"the bundle cannot decide: {error.message}", advice=error.advice) from error
    problems = [f"OPA cannot read the pattern {one['pattern']!r}: {one['reason']}" for one in globs]
    problems += _denials_of_the_policy(answer, content)
    if problems:
        raise BundleRefused("\n".join(problems))


def _denials_of_the_policy(answer: Json, content: Content) -> list[str]:
    """What the policy finds wrong with itself, for which it would deny every stack."""
    try:
        return [
            f"{found['message']}: {content.located(found['subject'])}; {found['fix']}"
            for found in answer["result"]["findings"]
            if (found["code"].startswith("main.") and found["code"] != EXPIRED) or found["code"].endswith(".rule_data")
        ]
    except (TypeError, KeyError) as error:
        raise OpaAnswerInvalid("the decision on an ordinary stack has not the agreed shape") from error


def _capabilities() -> Json:
    """What OPA can do, without the builtins that are refused."""
    done = run_child(["capabilities", "--current"], timeout=COMPILE_SECONDS)
    known: dict[str, Json] = json.loads(done.stdout)
    known["builtins"] = [one for one in known["builtins"] if one["name"] not in REFUSED]
    known["allow_net"] = []
    return known


def _shipped() -> BundleFiles:
    with shipped.bundle() as archive:
        return read_archive(archive).bundle_files()


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _copy(folder: Path, files: Mapping[str, Path]) -> None:
    for name, path in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
