"""OPA's bundle protocol, and how bundles are published: /bundles/NAME.

Rules:
- The ETag is that of the bytes. A client that has them is answered 304, always with the ETag; one that shows no ETag
  never is, since OPA would stay without policy, and say nothing.
- Who waits (`Prefer: wait=N`) waits all of it: OPA asks again at once after an early 304. Only a publication, a token
  that ended or the end of the server is answered sooner.
- `application/vnd.openpolicyagent.bundles`, without a charset, tells OPA that it may wait. No content encoding: the
  archive itself is what is packed.
- What has expired is served on; its clients refuse it by themselves, and deny.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Final

from flowyml_policy.records.record import Json
from flowyml_policy.records.server import Publication
from flowyml_policy.server.access import Access
from flowyml_policy.server.bundles import Active, Publications, Put, has_expired
from flowyml_policy.server.etags import is_match, is_of_opa, wait_of
from flowyml_policy.server.exchange import Answer, Call, Operation, Poll, Refused
from flowyml_policy.server.polls import Polls
from flowyml_policy.server.scopes import BUNDLES_PUBLISH, BUNDLES_READ

OPA_TYPE: Final = "application/vnd.openpolicyagent.bundles"
GZIP_TYPE: Final = "application/gzip"

_MOST_LISTED: Final = 1000
_AT_ONCE: Final = 2
"""How many bundles are checked at once; each is a process with an OPA in it."""


class BundleProtocol:
    """What can be asked of bundles. `most_seconds` is how long one may wait."""

    def __init__(self, publications: Publications, polls: Polls, access: Access, *, most_seconds: float) -> None:
        self._publications = publications
        self._polls = polls
        self._access = access
        self._most_seconds = most_seconds
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="flowyml-policy-bundles")

    def close(self) -> None:
        """Let what is being published end."""
        self._threads.shutdown(cancel_futures=True)

    def operations(self) -> Sequence[Operation | Poll]:
        """Everything that can be asked of bundles."""
        bundle = "/bundles/{name}"
        return [
            Poll(bundle, BUNDLES_READ, self._get, is_named=True),
            Operation("PUT", bundle, BUNDLES_PUBLISH, self._put, is_named=True, body=True, executor=self._threads),
            Operation("GET", f"{bundle}/history", BUNDLES_PUBLISH, self._history, is_named=True),
            Operation("GET", f"{bundle}/revisions/{{revision}}", BUNDLES_PUBLISH, self._revision, is_named=True),
        ]

    def _get(self, call: Call) -> Answer | Awaitable[Answer]:
        active = self._active(call.names["name"])
        etag, prefer = active.publication.etag, call.headers.get("prefer", "")
        if not is_match(call.headers.get("if-none-match", ""), etag):
            return _whole(active, prefer)
        seconds = min(wait_of(prefer), self._most_seconds)
        return self._waited(call, etag, seconds) if seconds else _unchanged(etag)

    async def _waited(self, call: Call, etag: str, seconds: float) -> Answer:
        """What is new after `seconds`, or sooner."""
        name = call.names["name"]
        await self._polls.wait(name, seconds, call.token)
        self._access.require_current(call.token)
        active = self._active(name)
        if active.publication.etag == etag:
            return _unchanged(etag)
        return _whole(active, call.headers["prefer"])

    def _put(self, call: Call) -> Answer:
        if not call.body:
            raise Refused(HTTPStatus.BAD_REQUEST, "no_body", "the body is the bundle, a .tar.gz")
        if call.headers.get("content-encoding", "identity") != "identity":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoded", "the bundle is sent as it is, not encoded")
        asked = Put(
            call.names["name"],
            call.body,
            call.actor,
            if_match=call.headers.get("if-match"),
            if_none_match=call.headers.get("if-none-match"),
        )
        publication, is_new = self._publications.put(asked)
        status = HTTPStatus.CREATED if is_new else HTTPStatus.OK
        return Answer.of_json({"bundle": _described(publication)}, status, {"etag": publication.etag})

    def _history(self, call: Call) -> Answer:
        name = call.names["name"]
        active = self._active(name).publication
        history: list[Json] = [
            {
                **_described(one),
                "active": one.number == active.number,
                "kept": self._publications.is_kept(one),
                "expired": has_expired(one.expires),
            }
            for one in self._publications.history(name)[:_MOST_LISTED]
        ]
        return Answer.of_json({"name": name, "history": history}, headers={"etag": active.etag})

    def _revision(self, call: Call) -> Answer:
        name, revision = call.names["name"], call.names["revision"]
        packed = self._publications.archive(name, revision)
        if packed is None:
            raise Refused(HTTPStatus.NOT_FOUND, "no_such_revision", "no archive of this revision is kept")
        return Answer(body=packed, headers={"content-type": GZIP_TYPE})

    def _active(self, name: str) -> Active:
        active = self._publications.active(name)
        if active is None:
            raise Refused(HTTPStatus.NOT_FOUND, "no_such_bundle", "no bundle of this name is published")
        return active


def _unchanged(etag: str) -> Answer:
    return Answer(HTTPStatus.NOT_MODIFIED, headers={"etag": etag})


def _whole(active: Active, prefer: str) -> Answer:
    """The archive, and to OPA that it may wait for the next."""
    if active.packed is None:
        raise Refused(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "archive_damaged",
            "the server's copy of this bundle is damaged; publish it again",
            headers={"retry-after": "60"},
        )
    kind = OPA_TYPE if is_of_opa(prefer) or wait_of(prefer) else GZIP_TYPE
    return Answer(body=active.packed, headers={"etag": active.publication.etag, "content-type": kind})


def _described(publication: Publication) -> dict[str, Json]:
    described: dict[str, Json] = publication._asdict()
    del described["number"]
    return {**described, "etag": publication.etag}
