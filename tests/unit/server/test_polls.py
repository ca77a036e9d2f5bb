"""What waits: woken at once, in turns, and never left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from time import monotonic

import pytest

from flowyml_policy.records.server import Token
from flowyml_policy.server.exchange import Refused
from flowyml_policy.server.polls import Polls

LONG = 60.0


def token(name: str) -> Token:
    return Token(1, name, name, ("bundles:read",), "2026-01-01T00:00:00.000000Z", None, None)


def ran(work: Callable[[], Awaitable[None]]) -> float:
    """How long it took."""
    began = monotonic()
    asyncio.run(asyncio.wait_for(work(), 20))
    return monotonic() - began


async def parked(polls: Polls, count: int) -> None:
    for _ in range(100):
        if polls.count == count:
            break
        await asyncio.sleep(0)


def test_news_wakes_all_of_its_name_and_no_other() -> None:
    async def work() -> None:
        polls = Polls(1000)
        polls.open()
        waiting = [asyncio.create_task(polls.wait("a", LONG, None)) for _ in range(300)]
        other = asyncio.create_task(polls.wait("b", LONG, None))
        await parked(polls, 301)
        threading.Thread(target=polls.tell, args=("a",)).start()
        await asyncio.gather(*waiting)
        assert (polls.count, other.done()) == (1, False)
        other.cancel()

    assert ran(work) < LONG / 2


def test_news_that_comes_while_the_first_begins_to_wait_is_heard() -> None:
    async def work() -> None:
        polls = Polls(1)
        polls.open()
        polls.tell("a")  # by now the old bundle was looked at
        await polls.wait("a", LONG, None)

    assert ran(work) < LONG / 2


def test_others_get_their_turn_while_many_are_woken() -> None:
    async def work() -> None:
        polls = Polls(1000)
        polls.open()
        woken = 0

        async def wait() -> None:
            nonlocal woken
            await polls.wait("a", LONG, None)
            woken += 1

        waiting = [asyncio.create_task(wait()) for _ in range(500)]
        await parked(polls, 500)
        polls.tell("a")
        seen = []
        while woken < 500:
            await asyncio.sleep(0)
            seen.append(woken)
        await asyncio.gather(*waiting)
        assert len(set(seen)) > 4

    ran(work)


def test_wait_ends_by_itself_and_not_before() -> None:
    async def work() -> None:
        polls = Polls(1)
        polls.open()
        await polls.wait("a", 0.2, None)
        assert polls.count == 0

    assert 0.2 <= ran(work) < LONG


def test_too_many_are_refused() -> None:
    async def work() -> None:
        polls = Polls(1)
        polls.open()
        first = asyncio.create_task(polls.wait("a", LONG, None))
        await parked(polls, 1)
        with pytest.raises(Refused) as refused:
            await polls.wait("b", LONG, None)
        assert (refused.value.status, refused.value.headers) == (503, {"retry-after": "10"})
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert polls.count == 0

    ran(work)


def test_token_that_ends_ends_its_polls_alone() -> None:
    async def work() -> None:
        polls = Polls(10)
        polls.open()
        gone = [asyncio.create_task(polls.wait(name, LONG, token("gone"))) for name in "ab"]
        stays = [asyncio.create_task(polls.wait("a", LONG, one)) for one in (token("stays"), None)]
        await parked(polls, 4)
        polls.end_unless(lambda one: one.name == "stays")
        await asyncio.gather(*gone)
        assert not any(task.done() for task in stays)
        polls.stop()
        await asyncio.gather(*stays)
        await polls.wait("a", LONG, None)  # at once

    assert ran(work) < LONG / 2


def test_news_before_anybody_waited_is_none() -> None:
    polls = Polls(1)
    polls.tell("a")
    polls.end_unless(lambda _: False)
    assert polls.count == 0
