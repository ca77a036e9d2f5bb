"""The same work for many things, side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def side_by_side(
    work: Callable[[_Item], _Result], items: Sequence[_Item], *, most: int
) -> Iterator[tuple[_Item, _Result]]:
    """What `work` returns for each item, as soon as it is there, from at most `most` threads.

    A single item needs none. What `work` raises is raised here, and nothing more is begun once this is left.
    """
    if min(len(items), most) < 2:  # noqa: PLR2004  one after the other
        yield from ((item, work(item)) for item in items)
        return
    waiting = deque(items)
    done: SimpleQueue[tuple[_Item, _Result] | BaseException] = SimpleQueue()

    def run() -> None:
        try:
            while (item := next_item()) is not None:
                done.put((item[0], work(item[0])))
        except BaseException as error:  # noqa: BLE001  it is raised where the results are awaited
            done.put(error)

    def next_item() -> tuple[_Item] | None:
        try:
            return (waiting.popleft(),)
        except IndexError:
            return None

    for _ in range(min(len(items), most)):
        Thread(target=run, daemon=True).start()
    try:
        for _ in items:
            found = done.get()
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        waiting.clear()
