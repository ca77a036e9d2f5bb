"""What policy, or the system, can do to a process that judges apart: it costs a decision, and nothing else."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from flowyml_policy.errors.opa import (
    OpaDeadlineExceeded,
    OpaError,
    OpaEvaluationFailed,
    OpaStartFailed,
    OpaUnavailable,
    PolicyInvalid,
)
from flowyml_policy.opa import process as apart
from flowyml_policy.opa.loading import PolicySource
from flowyml_policy.opa.process import ProcessEvaluator
from tests.contract.conftest import document, policy, write

DEADLINE = 0.5
LEAST_MEMORY = 3 * 2**29
LONGEST = 6.0
"""Seconds for a decision that is ended and the start of the next process, on a machine that does much else besides."""

ENDLESS = {
    "regex": 'regex.match("(a?){900}(a?){90}b", _text)',
    "object.subset": 'object.subset(array.concat(_equal, ["x"]), array.concat(_equal, ["y"]))',
    "json.match_schema": 'json.match_schema({"a": _text}, {"properties": {"a": {"pattern": "(a?){900}(a?){90}b"}}})[0]',
    "graph.reachable_paths": "count(graph.reachable_paths({a: _nodes | some a in _nodes}, {0})) == 1",
}
"""Calls that OPA's deadline does not end."""

GREEDY = {
    "concat": "count(concat(_text, _equal)) == 1",
    "bits.lsh": "bits.lsh(1, 100000000000) > 1",
    "numbers.range": "count(numbers.range(1, 100000000000)) > 1",
    "net.cidr_expand": 'count(net.cidr_expand("10.0.0.0/2")) > 1',
    "template": 'strings.render_template("{{range 1000000000}}x{{end}}", {}) != ""',
    "schema of itself": 'json.match_schema({}, {"$ref": "#"})[0]',
    "schemas of each other": 'json.match_schema({}, {"$ref": "#/a", "a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}})[0]',
}
"""Calls that take all memory, or all stack, and end the process."""

HOSTILE = """\
package project.rules.hostile

_ten(text) := concat("", [text | some _ in numbers.range(1, 10)])

_text := _ten(_ten(_ten(_ten(_ten("a")))))

_equal := split(_text, "a")

_nodes := {n | some n in numbers.range(0, 13)}

# METADATA
# title: No rule
# custom:
#   code: hostile.rule
findings contains {"code": "hostile.rule", "subject": "x", "path": [], "message": "m", "fix": "f"} if {
	input.stack.name == "hostile"
	BODY
}
"""

ROW = HOSTILE[: HOSTILE.index("BODY")].count("\n") + 1

Start = Callable[..., ProcessEvaluator]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the shipped policy and a project's rule with this body, apart."""
    made: list[ProcessEvaluator] = []

    def start(body: str = "false", *, memory: int = LEAST_MEMORY, deadline: float = DEADLINE) -> ProcessEvaluator:
        rules = write(tmp_path / "rules", {"hostile.rego": HOSTILE.replace("BODY", body)})
        made.append(ProcessEvaluator(PolicySource.of(rule_folders=[rules], deadline=deadline), memory=memory))
        return made[-1]

    yield start
    for evaluator in made:
        evaluator.close()


def pid(evaluator: ProcessEvaluator) -> int:
    child = evaluator._policy._child
    assert child is not None
    return child._process.pid


def is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def await_end(number: int) -> None:
    until = time.monotonic() + 10
    while is_running(number):
        assert time.monotonic() < until, "it still runs"
        time.sleep(0.01)


@pytest.mark.parametrize("body", ENDLESS.values(), ids=ENDLESS)
def test_call_that_does_not_end_fails_closed(start: Start, body: str) -> None:
    evaluator = start(body)
    began = time.monotonic()
    with pytest.raises(OpaDeadlineExceeded, match="no decision within 500ms") as raised:
        evaluator.judge(document("hostile"))
    call = re.search(r"(?:regex|object|json|graph)\.\w+", body)
    assert call is not None
    assert f" in {call.group()}: project/rules/hostile.rego:{ROW}" in raised.value.message
    assert evaluator.judge(document("prod"))[0].rules
    assert time.monotonic() - began < LONGEST


@pytest.mark.parametrize("body", GREEDY.values(), ids=GREEDY)
def test_call_that_takes_all_memory_fails_closed(start: Start, body: str, capfd: pytest.CaptureFixture[str]) -> None:
    evaluator = start(body)
    began = time.monotonic()
    with pytest.raises(OpaError) as raised:
        evaluator.judge(document("hostile"))
    assert isinstance(raised.value, OpaEvaluationFailed | OpaDeadlineExceeded)
    # Some look at the deadline, if they come that far: OPA then ends them itself, and names nothing.
    named = f": project/rules/hostile.rego:{ROW}" in raised.value.message
    assert named or raised.value.message == "no decision within 500ms"
    assert evaluator.judge(document("prod"))[0].rules
    assert time.monotonic() - began < LONGEST
    assert capfd.readouterr() == ("", "")


def test_memory_that_is_set_is_the_limit_of_the_process(start: Start) -> None:
    limits = Path(f"/proc/{pid(start())}/limits").read_text()
    assert f"Max address space         {LEAST_MEMORY} " in limits


def test_process_has_a_session_and_streams_of_its_own(start: Start) -> None:
    number = pid(start())
    assert os.getsid(number) == number
    streams = [str(Path(f"/proc/{number}/fd/{stream}").readlink()) for stream in range(3)]
    assert streams[:2] == ["/dev/null"] * 2
    assert streams[2].startswith("pipe:")


def test_killed_between_decisions_judges_the_next(start: Start) -> None:
    evaluator = start()
    os.kill(pid(evaluator), signal.SIGKILL)
    assert evaluator.judge(document("prod"))[0].rules


def test_killed_during_a_decision_is_asked_again_once(start: Start) -> None:
    evaluator = start(ENDLESS["regex"], deadline=5.0)
    killed = []

    def kill() -> None:
        for _ in range(2):
            time.sleep(0.2)
            killed.append(pid(evaluator))
            os.kill(killed[-1], signal.SIGKILL)
            while evaluator._policy._child is None or pid(evaluator) == killed[-1]:
                if stop.is_set():
                    return
                time.sleep(0.01)
            time.sleep(0.5)

    stop = threading.Event()
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(OpaEvaluationFailed, match="the process that judges ended: by SIGKILL"):
            evaluator.judge(document("hostile"))
    finally:
        stop.set()
        killer.join()
    assert len(set(killed)) == 2
    assert evaluator.judge(document("prod"))[0].rules


def test_policy_that_changed_before_a_new_start_fails_closed(start: Start, tmp_path: Path) -> None:
    evaluator = start()
    write(tmp_path / "rules", {"hostile.rego": HOSTILE.replace("BODY", "input.stack.version")})
    os.kill(pid(evaluator), signal.SIGKILL)
    with pytest.raises(PolicyInvalid, match="the policy changed while it was in use"):
        evaluator.judge(document("prod"))


def test_policy_that_changed_under_its_revision_fails_closed(tmp_path: Path) -> None:
    rule = HOSTILE.replace("project.rules", "org.rules").replace('input.stack.name == "hostile"', "true")
    files = {".manifest": '{"revision": "r1", "roots": ["org"]}', "hostile.rego": rule.replace("BODY", "true")}
    bundle = write(tmp_path / "org", files)
    config = {"bundles": {"flowyml": {"resource": "shipped"}, "org": {"resource": "org"}}}
    with ProcessEvaluator(PolicySource.of(config=config, root=tmp_path)) as evaluator:
        assert not evaluator.judge(document("prod"))[0].allow
        os.kill(pid(evaluator), signal.SIGKILL)
        assert not evaluator.judge(document("prod"))[0].allow
        (bundle / "hostile.rego").write_text(rule.replace("BODY", "false"))
        os.kill(pid(evaluator), signal.SIGKILL)
        with pytest.raises(PolicyInvalid, match="the policy changed while it was in use"):
            evaluator.judge(document("prod"))


def test_question_within_a_question_fails_closed(start: Start) -> None:
    evaluator = start(ENDLESS[next(iter(ENDLESS))])
    said: list[str] = []

    def ask(*_: object) -> None:
        with pytest.raises(OpaUnavailable) as raised:
            evaluator.judge(document("prod"))
        said.append(raised.value.message)

    before = signal.signal(signal.SIGALRM, ask)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(OpaDeadlineExceeded):
            evaluator.judge(document("hostile"))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert said == ["policy is asked in the middle of a question"]


def test_python_without_named_memory_judges_too(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    assert start().judge(document("prod"))[0].rules


@pytest.mark.parametrize(
    "said",
    [b"\xff" * 9, b"A\xff\xff\xff\xff", b"A\x00\x00\x00\x02{}", b"E\x00\x00\x00\x02{}", b"Z\x00\x00\x00\x00"],
    ids=["noise", "too long", "no decision", "no error", "no kind"],
)
def test_garbage_in_place_of_an_answer_fails_closed(start: Start, said: bytes) -> None:
    evaluator = start()
    child = evaluator._policy._child
    assert child is not None
    ours, theirs = socket.socketpair()
    child._socket, whole = ours, child._socket
    theirs.sendall(said)
    with pytest.raises(OpaError):
        evaluator.judge(document("prod"))
    child._socket = whole
    ours.close()
    theirs.close()
    assert evaluator.judge(document("prod"))[0].rules


def test_interrupt_ends_the_process_at_once(start: Start) -> None:
    evaluator = start(ENDLESS["regex"], deadline=30.0)
    number = pid(evaluator)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        evaluator.judge(document("hostile"))
    assert time.monotonic() - began < LONGEST
    await_end(number)


def test_threads_take_turns_and_each_gets_its_own(start: Start) -> None:
    evaluator = start(ENDLESS["regex"])

    def ask(number: int) -> str:
        name = "hostile" if number == 3 else f"n{number}"
        try:
            evaluator.judge(document(name))
        except OpaDeadlineExceeded:
            return name
        return ""

    with ThreadPoolExecutor(8) as pool:
        assert [name for name in pool.map(ask, range(40)) if name] == ["hostile"]


def test_close_ends_the_process_and_later_calls_fail(start: Start) -> None:
    evaluator = start()
    number = pid(evaluator)
    evaluator.close()
    assert not is_running(number)
    with pytest.raises(OpaUnavailable, match="is closed"):
        evaluator.judge(document("prod"))


def test_evaluator_that_nobody_holds_ends_its_process() -> None:
    evaluator = ProcessEvaluator(PolicySource.of())
    number = pid(evaluator)
    del evaluator
    await_end(number)


PARENT = """\
import os, sys, time
from tests.contract.conftest import document
from flowyml_policy.opa.loading import PolicySource
from flowyml_policy.opa.process import ProcessEvaluator

evaluator = ProcessEvaluator(PolicySource.of(rule_folders=sys.argv[1:], deadline=60))
child = os.fork()
if child == 0:
    os.close(1)
    time.sleep(60)
print(evaluator._policy._child._process.pid, child, flush=True)
evaluator.judge(document("hostile"))
"""


def test_parent_killed_in_a_decision_takes_the_process_along(tmp_path: Path) -> None:
    """Also while another child of the parent lives, which was forked from it and has a copy of all that was open."""
    rules = write(tmp_path / "rules", {"hostile.rego": HOSTILE.replace("BODY", ENDLESS["regex"])})
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PARENT, str(rules)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdout is not None
    number, sibling = (int(word) for word in parent.stdout.readline().split())
    time.sleep(0.3)
    assert is_running(number)
    parent.kill()
    parent.communicate()
    try:
        await_end(number)
    finally:
        with suppress(OSError):
            os.kill(sibling, signal.SIGKILL)


FORKED = """\
import os, sys, threading
from tests.contract.conftest import document
from flowyml_policy.opa.loading import PolicySource
from flowyml_policy.opa.process import ProcessEvaluator

evaluator = ProcessEvaluator(PolicySource.of())
evaluator.judge(document())  # pydantic, too, has things that it does once, and under a lock
running = evaluator._policy._child._process.pid
stop = threading.Event()

def ask():
    while not stop.is_set():
        evaluator.judge(document())

threads = [threading.Thread(target=ask) for _ in range(2)]
for thread in threads:
    thread.start()
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        evaluator.judge(document())
        assert evaluator._policy._child._process.pid != running
        evaluator.close()
        os._exit(0)
    children.append(child)
for child in children:
    _, status = os.waitpid(child, 0)
    print("child", os.waitstatus_to_exitcode(status))
stop.set()
for thread in threads:
    thread.join()
assert evaluator._policy._child._process.pid == running
assert not any("libflowyml_opa" in line for line in open("/proc/self/maps"))
"""


def test_forked_child_starts_a_process_of_its_own() -> None:
    """Forked while two threads ask; and the parent, which never loads the library, goes on with what it had."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.stdout, done.stderr, done.returncode) == ("child 0\n" * 4, "", 0)


def test_python_that_is_another_program_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/sbin/uwsgi")
    monkeypatch.setattr(sys, "_base_executable", "", raising=False)
    with pytest.raises(OpaUnavailable, match="no Python is known") as raised:
        ProcessEvaluator(PolicySource.of())
    assert "sys.executable" in raised.value.advice


def test_python_behind_another_program_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/sbin/uwsgi")
    with ProcessEvaluator(PolicySource.of()) as evaluator:
        assert evaluator.judge(document("prod"))[0].rules


def test_python_that_cannot_start_fails_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "python3").write_text("#!/no/such/interpreter\n")
    (tmp_path / "python3").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    with pytest.raises(OpaUnavailable, match="cannot be started"):
        ProcessEvaluator(PolicySource.of())


def test_modules_of_the_working_directory_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"json.py": "raise SystemExit(1)\n", "flowyml_policy/__init__.py": "raise SystemExit(1)\n"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", ".", *sys.path])
    with ProcessEvaluator(PolicySource.of()) as evaluator:
        assert evaluator.judge(document("prod"))[0].rules


def test_system_that_gives_no_more_files_fails_closed() -> None:
    before = open_files()
    _, hard = limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        for more in range(1, 6):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(before) + more, hard))
            with pytest.raises(OpaUnavailable, match=r"cannot be started: .*Too many open files"):
                ProcessEvaluator(PolicySource.of())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert open_files() == before


def open_files() -> set[int]:
    found = set()
    for number in range(1024):
        with suppress(OSError):
            os.fstat(number)
            found.add(number)
    return found


def test_configuration_that_is_no_json_fails_closed() -> None:
    config = {"bundles": {"flowyml": {"resource": "shipped"}}, "labels": {"x": float("nan")}}
    with pytest.raises(OpaStartFailed, match="the policy could not be staged: ValueError"):
        ProcessEvaluator(PolicySource.of(config=config))


def test_start_that_takes_too_long_fails_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "GRACE", 0.0)
    folder = write(tmp_path / "policy", policy())
    config = {"bundles": {"flowyml": {"resource": str(folder)}}}
    with pytest.raises(OpaDeadlineExceeded, match="the policy was not loaded within 1ms"):
        ProcessEvaluator(PolicySource.of(config=config, start_timeout=0.001))
