"""A policy that a server replaces while threads decide by it: no decision is lost, and none is of two revisions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from tests.bundle_server import BundleServer
from tests.contract.conftest import document
from tests.contract.remote import Publisher, config, eventually, start

THREADS = 8
PAGE = 4096


def replace(folder: Path, revisions: int, activated: Callable[[], None] = lambda: None) -> None:
    """Let threads decide while a server gives one revision after another; `activated` is called after each.

    Every other revision allows the stack that is judged, so that a decision shows which one gave it.
    """
    folder.mkdir()
    publisher = Publisher(folder)
    asked, ended = document("a-long-name"), threading.Event()
    seen: set[str] = set()
    wrong: list[object] = []

    def judge() -> None:
        while not ended.is_set():
            try:
                decision, evaluation = evaluator.judge(asked)
            except Exception as error:  # noqa: BLE001  it is what the test looks for
                wrong.append(error)
                return
            revision = evaluation.bundles["flowyml"]
            seen.add(revision)
            if decision.allowed is not bool(int(revision) % 2):
                wrong.append((revision, decision))

    with BundleServer() as server:
        server.put("flowyml", publisher.bundle("0", longest=3))
        evaluator = start("embedded", config(server), folder / "state")
        threads = [threading.Thread(target=judge) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            for number in range(revisions):
                server.put("flowyml", publisher.bundle(str(number), longest=20 if number % 2 else 3))
                eventually(lambda number=number: str(number) in seen or bool(wrong))  # type: ignore[misc]
                activated()
        finally:
            ended.set()
            for thread in threads:
                thread.join()
            evaluator.close()
    assert not wrong
    assert seen == {str(number) for number in range(revisions)}


def test_eight_threads_under_reload_see_whole_revisions(tmp_path: Path) -> None:
    replace(tmp_path / "publisher", 5)


@pytest.mark.slow
def test_fifty_reloads_under_eight_threads_leave_no_memory_behind(tmp_path: Path) -> None:
    used: list[int] = []

    def look() -> None:
        used.append(int(Path("/proc/self/statm").read_text().split()[1]) * PAGE)

    replace(tmp_path / "publisher", 51, look)
    assert median(used[-10:]) <= median(used[10:20]) * 1.1
