"""Work that many threads bring at once, done together: a commit waits for the disk, and one can serve them all.

Rules:
- Who has the turn works for all that wait. Who finds its own work done has nothing left to do.
- Where work together fails, each is tried alone, so that one does not fail the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


class _Waiting(Generic[_Item, _Answer]):
    """What one thread brings, and what came of it."""

    def __init__(self, item: _Item) -> None:
        self.item = item
        self.is_done = False
        self.answers: Sequence[_Answer] = ()
        self.error: Exception | None = None

    def end(self, answers: Sequence[_Answer] = (), error: Exception | None = None) -> None:
        self.answers, self.error, self.is_done = answers, error, True


class GroupCommit(Generic[_Item, _Answer]):
    """Calls `work` with all the items that wait; it answers for each of them, in order, or raises for all."""

    def __init__(self, work: Callable[[Sequence[_Item]], Sequence[_Answer]]) -> None:
        self._work = work
        self._queue: list[_Waiting[_Item, _Answer]] = []
        self._adding = threading.Lock()
        self._turn = threading.Lock()

    def submit(self, item: _Item) -> _Answer:
        """What came of `item`, once its work is done. Raises what `work` raised for it."""
        mine: _Waiting[_Item, _Answer] = _Waiting(item)
        with self._adding:
            self._queue.append(mine)
        with self._turn:
            if not mine.is_done:
                with self._adding:
                    together, self._queue = self._queue, []
                self._run(together)
        if mine.error is not None:
            raise mine.error
        return mine.answers[0]

    def _run(self, together: Sequence[_Waiting[_Item, _Answer]]) -> None:
        try:
            answers = self._work([one.item for one in together])
        except Exception as error:  # noqa: BLE001  the thread that brought it raises it
            if len(together) == 1:
                together[0].end(error=error)
                return
            for one in together:
                self._run([one])
        except BaseException:  # nobody who waits may wait for ever
            for one in together:
                one.end(error=InterruptedError("the work was interrupted"))
            raise
        else:
            for one, answer in zip(together, answers, strict=True):
                one.end([answer])
