"""The ways to be undecided that only the embedded evaluator has: its library, its process, its memory."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from flowyml_policy.errors.opa import OpaEvaluationFailed, OpaUnavailable
from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.opa.library import LIBRARY_FILE, Library, load
from flowyml_policy.opa.loading import LoadedPolicy
from tests.contract.conftest import document, policy, write

FORKED = """\
import os, sys
from tests.contract.conftest import document
from flowyml_policy.errors.opa import OpaUnavailable
from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.opa.library import LIBRARY_FILE, Library

evaluator = EmbeddedEvaluator()
said = evaluator.judge(document())
child = os.fork()
if child == 0:
    decision, evaluation = evaluator.judge(document())
    assert (decision, evaluation.bundles) == (said[0], said[1].bundles)
    assert evaluation.evaluator.name == "process"
    assert evaluator.query("flowyml/main/patterns", {}) == []
    assert [problem.pattern for problem in evaluator.check_globs(["*", "["])] == ["["]
    with EmbeddedEvaluator() as another:
        assert another.judge(document())[1].evaluator.name == "process"
    try:
        Library(LIBRARY_FILE)
    except OpaUnavailable as error:
        assert "spawn" in error.advice
        evaluator.close()
        sys.exit(0)
    sys.exit(1)
_, status = os.waitpid(child, 0)
assert evaluator.judge(document())[1].evaluator.name == "embedded"
print("child", os.waitstatus_to_exitcode(status))
"""

FORKED_BEFORE = """\
import os, sys
from tests.contract.conftest import document
from flowyml_policy.opa.embedded import EmbeddedEvaluator

child = os.fork()
EmbeddedEvaluator().judge(document())
if child == 0:
    sys.exit(0)
_, status = os.waitpid(child, 0)
print("child", os.waitstatus_to_exitcode(status))
"""


FORKED_WHILE_LOADING = """\
import os, random, sys, threading, time
from tests.contract.conftest import document
from flowyml_policy.opa.embedded import EmbeddedEvaluator

chance = random.Random(int(sys.argv[1]))
document().encoded  # pydantic, too, has things that it does once, and under a lock
loading = threading.Thread(target=lambda: EmbeddedEvaluator().judge(document()))
children = []
loading.start()
for _ in range(4):
    time.sleep(chance.uniform(0, 0.01))
    child = os.fork()
    if child == 0:
        EmbeddedEvaluator().judge(document())
        os._exit(0)
    children.append(child)
loading.join()
for child in children:
    _, status = os.waitpid(child, 0)
    print("child", os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("program", [FORKED, FORKED_BEFORE], ids=["after the start", "before the start"])
def test_forked_child_judges_and_never_hangs(program: str) -> None:
    """Loaded before the fork, OPA is dead in the child, where a process judges; loaded after it, each has its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.stdout, done.stderr, done.returncode) == ("child 0\n", "", 0)


@pytest.mark.parametrize("seed", range(6))
def test_forked_while_the_library_is_loaded_judges(seed: int) -> None:
    """Whenever the fork comes: before the first byte is loaded, half way, or when OPA starts."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED_WHILE_LOADING, str(seed)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.stdout, done.stderr, done.returncode) == ("child 0\n" * 4, "", 0)


def test_library_missing_fails_closed(tmp_path: Path) -> None:
    with pytest.raises(OpaUnavailable, match="is missing"):
        EmbeddedEvaluator(library=load(tmp_path / "none.so"))


def test_library_of_another_version_fails_closed() -> None:
    with pytest.raises(OpaUnavailable, match=r"this program of version 0\.0\.9"):
        Library(LIBRARY_FILE, version="0.0.9")


def test_library_that_is_none_fails_closed(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(OpaUnavailable, match="cannot be loaded"):
        EmbeddedEvaluator(library=load(tmp_path / "text.so"))


def test_panic_in_the_library_fails_closed(tmp_path: Path) -> None:
    """A length without a text makes Go panic; the evaluator goes on afterwards."""
    library = load()
    folder = write(tmp_path / "policy", policy())
    with EmbeddedEvaluator(config={"bundles": {"flowyml": {"resource": str(folder)}}}) as evaluator:
        assert isinstance(evaluator._policy, LoadedPolicy)
        call = library._functions.flowyml_opa_decide
        answer = call(evaluator._policy._handle, None, None, 5, 1_000_000_000)
        with pytest.raises(OpaEvaluationFailed, match="panic"):
            library._answer(answer)
        assert evaluator.evaluate(document()).allowed


def test_evaluator_writes_nothing_to_the_streams(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    printing = 'package flowyml.rules.prints\n\nfindings contains 1 if {\n\tprint("heard")\n\tinput.never\n}\n'
    folder = write(tmp_path / "policy", policy(prints=printing))
    with EmbeddedEvaluator(config={"bundles": {"flowyml": {"resource": str(folder)}}}) as evaluator:
        assert evaluator.evaluate(document()).allowed
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_hundred_thousand_decisions_leave_no_memory_behind(tmp_path: Path) -> None:
    folder = write(tmp_path / "policy", policy())
    with EmbeddedEvaluator(config={"bundles": {"flowyml": {"resource": str(folder)}}}) as evaluator:
        allowed, denied = document(), document("much-too-long")
        peaks = []
        for calls in (20_000, 80_000):
            for _ in range(calls // 2):
                evaluator.evaluate(allowed)
                evaluator.evaluate(denied)
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert peaks[1] <= peaks[0] * 1.1
