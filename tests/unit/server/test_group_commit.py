"""Work that is done together fails alone, and is waited for by nobody for ever."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from flowyml_policy.server.group_commit import GroupCommit


def test_one_item_that_fails_does_not_fail_the_others() -> None:
    begun, go_on = threading.Event(), threading.Event()
    batches: list[list[int]] = []

    def work(items: Sequence[int]) -> list[int]:
        begun.set()
        go_on.wait(10)
        batches.append(list(items))
        if 3 in items:
            raise ValueError("three")
        return [item * 2 for item in items]

    commits = GroupCommit(work)
    found: dict[int, object] = {}

    def submit(item: int) -> None:
        try:
            found[item] = commits.submit(item)
        except ValueError as error:
            found[item] = str(error)

    threads = [threading.Thread(target=submit, args=(item,)) for item in range(6)]
    threads[0].start()
    begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert found == {0: 0, 1: 2, 2: 4, 3: "three", 4: 8, 5: 10}
    assert batches[0] == [0]


def test_interrupted_work_is_an_error_for_all_who_wait() -> None:
    interrupts = True

    def work(items: Sequence[int]) -> list[int]:
        if interrupts:
            raise KeyboardInterrupt
        return list(items)

    commits = GroupCommit(work)
    with pytest.raises(KeyboardInterrupt):
        commits.submit(1)
    interrupts = False
    assert commits.submit(2) == 2
