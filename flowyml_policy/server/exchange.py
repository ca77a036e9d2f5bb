"""What the server's parts are asked and what they answer, as plain values: no part knows an HTTP library.

Rules:
- A part is a list of `Operation`s. Who may call one is said by its scope, and checked in one place before it is called.
- What a part refuses it raises as `Refused`; its body is always `{"error": {"code", "message"}, ...}`.
- Handlers are plain functions, and are run on threads; only what may wait, long polls, is asked on the
  event loop.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from http import HTTPStatus
from typing import Final, Literal, NamedTuple, TypeAlias

from flowyml_policy.records.record import Json
from flowyml_policy.records.server import Token

Method: TypeAlias = Literal["GET", "PUT", "POST", "DELETE"]
"""What a client may ask for. HEAD is asked as GET, and answered without a body."""

JSON_TYPE: Final = "application/json"


class Call(NamedTuple):
    """One request that was let in.

    `names` are the parts of the path that the operation leaves open, decoded. The keys of `headers` are in small
    letters. `query` keeps order and repetitions. `token` is None where the operation is open to everybody. `client` is
    the address of who asks. `began` is when it was let in, by the monotonic clock; 0 is now.
    """

    names: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    token: Token | None = None
    client: str = ""
    began: float = 0.0

    @property
    def actor(self) -> str:
        """Who asks, as records name them."""
        return "anonymous" if self.token is None else self.token.name


class Answer(NamedTuple):
    """What is answered. Every header is sent as it is written here."""

    status: int = HTTPStatus.OK
    body: bytes = b""
    headers: Mapping[str, str] = {}

    @classmethod
    def of_json(cls, body: Json, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Answer:
        """`body` as JSON."""
        return cls(
            status, json.dumps(body, ensure_ascii=False).encode(), {"content-type": JSON_TYPE, **(headers or {})}
        )


class Refused(Exception):
    """A request that is refused: `status` and `code` are for programs, `message` is for people.

    `near` are names spelled like one that is not there. `more` stands beside `error` in the body; `headers` are sent.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        near: Sequence[str] = (),
        more: Mapping[str, Json] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.near = tuple(near)
        self.more = dict(more or {})
        self.headers = dict(headers or {})
        super().__init__(message)

    @property
    def answer(self) -> Answer:
        """What is sent."""
        error: dict[str, Json] = {"code": self.code, "message": self.message}
        if self.near:
            error["near"] = list(self.near)
        return Answer.of_json({"error": error, **self.more}, self.status, self.headers)


class Operation(NamedTuple):
    """Something that can be asked of the server.

    `path` is a template, `/bundles/{name}`. `scope` is what a token needs, "" for what everybody may ask; where it is
    `is_named`, a scope for the `name` of the path alone is enough. `handle` is run on a thread. `body` says whether a
    request has one. `executor` runs it where it may take long, so that none of the threads that all share waits for it.
    """

    method: Method
    path: str
    scope: str
    handle: Callable[[Call], Answer]
    is_named: bool = False
    body: bool = False
    executor: Executor | None = None


class Poll(NamedTuple):
    """Something that can be asked for, and may be waited for; see Operation.

    `answer` runs on the event loop, must never block, and gives what there is to wait for where the answer has time.
    """

    path: str
    scope: str
    answer: Callable[[Call], Answer | Awaitable[Answer]]
    is_named: bool = False
    method: Method = "GET"
