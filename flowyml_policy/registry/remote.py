"""RemoteRegistry: the company's registry, over HTTP. What it answers is checked as if anybody had sent it."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from flowyml_policy.errors.references import VersionMalformed
from flowyml_policy.errors.registry import RegistryAccessDenied, RegistryAnswerInvalid, RegistryUnreachable
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.mask.registry import retirement
from flowyml_policy.mask.text import mask
from flowyml_policy.network.address import AddressRefused, parse_address
from flowyml_policy.network.bearer import bearer
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.failures import FailureReason, HttpFailure
from flowyml_policy.records.protocols import ContentStore
from flowyml_policy.records.record import Record
from flowyml_policy.records.registry import (
    AlreadyThere,
    ListedStack,
    NewStack,
    Registered,
    RegisteredStack,
    Registration,
    Retirement,
)
from flowyml_policy.references.version import parse_version
from flowyml_policy.registry.registrable import can_be_named, check_registrable, is_whole
from flowyml_policy.registry.versions import (
    VersionChoice,
    by_precedence,
    choose,
    has_labels,
    matches,
    newest_of_each,
    retired_already,
    taken,
    unknown_stack,
)
from flowyml_policy.registry.wire import LARGEST_ANSWER, Page, Refusal, Versions, parsed, refused

if TYPE_CHECKING:
    from flowyml_policy.network.http import Client, Request, Response

TIMEOUT: Final = 15.0
MOST_PAGES: Final = 200
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
"""The header of a retirement's key, as draft-ietf-httpapi-idempotency-key-header names it."""

_OK: Final = 200
_CREATED: Final = 201
_NOT_MODIFIED: Final = 304
_CONFLICT: Final = 409
_KEPT_ANSWERS: Final = 64
_LARGEST_KEPT: Final = 1 << 20
_INVALID: Final = frozenset({"not_http", "too_large", "encoded"})
_ADVICE_FOR: Final[Mapping[FailureReason, str]] = {
    "untrusted": "name its CA certificates in policy.registry.ca, or correct the address",
    "certificates": "name a readable PEM file in policy.registry.ca",
}


class RemoteRegistry:
    """The registry at `url`: https, or http on this machine itself.

    `token_env` names the environment variable that holds its bearer token, `ca` a PEM file of the certificates to trust
    in place of the system's. Each call takes at most `timeout` seconds, however many requests it needs. Answers are
    asked for again with their ETag; `cache` keeps them for other processes. `offline` asks nothing: every call is then
    RegistryUnreachable, for nobody here knows what is registered now. Safe from many threads. Every method, and
    the constructor, raises only RegistryError.
    """

    def __init__(
        self,
        url: str,
        *,
        token_env: str | None = None,
        ca: str | Path | None = None,
        timeout: float = TIMEOUT,
        cache: ContentStore | None = None,
        offline: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        _check_address(url)
        self._uri = url.rstrip("/")
        self._ca = None if ca is None else Path(ca)
        self._token_env = token_env
        self._environ = os.environ if environ is None else environ
        self._timeout = timeout
        self._cache = cache
        self._offline = offline
        self._kept: OrderedDict[tuple[str, str], tuple[str, bytes]] = OrderedDict()

    @property
    def uri(self) -> str:
        """Its address."""
        return self._uri

    def get(self, name: str, wanted: str | None = None, *, retired: bool = False) -> RegisteredStack:
        """The highest version of `name` that is wanted; see StackRegistry."""
        deadline = Deadline(self._timeout)
        listed = {one.version: one for one in self._versions(name, deadline)}
        candidates = [_candidate(one) for one in listed.values()]
        version = choose(name, wanted, candidates, self.uri, retired=retired)
        path = _path(name, version)
        found = parsed(RegisteredStack, self._fetch(path, deadline), self._url(path))
        if found.digest != listed[version].digest:
            raise self._tampered(path)
        self._check(found, name, version, path)
        if found.is_retired and not retired:
            raise retired_already(found, self.uri)
        return found

    def versions(self, name: str) -> tuple[ListedStack, ...]:
        """Every version of `name`, retired ones too, the highest first. Raises StackUnknown."""
        return self._versions(name, Deadline(self._timeout))

    def list(
        self, *, name: str | None = None, labels: Mapping[str, str] | None = None, all_versions: bool = False
    ) -> tuple[ListedStack, ...]:
        """What is registered, by name, the highest version first; see StackRegistry."""
        deadline = Deadline(self._timeout)
        asked = [("name", name)] if name is not None else []
        asked += [("label", f"{key}={value}") for key, value in (labels or {}).items()]
        asked += [("all_versions", "true")] if all_versions else []
        found: dict[tuple[str, str], ListedStack] = {}
        after: list[tuple[str, str]] = []
        for _ in range(MOST_PAGES):
            path = _path() + "?" * bool(asked + after) + urlencode(asked + after)
            page = parsed(Page, self._fetch(path, deadline), self._url(_path()))
            found |= {(one.name, one.version): one for one in page.stacks}
            if page.next is None:
                break
            if after == [("after", page.next)]:
                raise RegistryAnswerInvalid(f"the listing does not end: {self._url(_path())}")
            after = [("after", page.next)]
        else:
            raise RegistryAnswerInvalid(f"the listing has more than {MOST_PAGES} parts: {self._url(_path())}")
        kept = [one for one in found.values() if name is None or matches(one.name, name)]
        ordered = self._ordered([_candidate(one) for one in kept if has_labels(one.labels, labels)])
        chosen = ordered if all_versions else newest_of_each(ordered)
        return tuple(found[one.name, one.version] for one in chosen)

    def put(self, stack: NewStack) -> Registration:
        """Register a version; see StackRegistry. The server says who applied it, and when."""
        check_registrable(stack)
        path = _path(stack.name, stack.version)
        answer = self._send("PUT", path, stack, Deadline(self._timeout))
        if answer.status == _CONFLICT:
            there = parsed(Refusal, answer, self._url(path)).registered
            if there is None or there.digest == stack.digest or not is_whole(there) or there.name != stack.name:
                raise self._tampered(path)
            raise taken(there, stack, self.uri)
        kinds: dict[int, type[Registered | AlreadyThere]] = {_CREATED: Registered, _OK: AlreadyThere}
        if answer.status not in kinds:
            raise refused(answer, self._url(path), self._token_env)
        said = parsed(kinds[answer.status], answer, self._url(path))
        self._check(said.stack, stack.name, stack.version, path)
        if said.stack.digest != stack.digest:
            raise self._tampered(path)
        return said

    def retire(self, name: str, version: str, *, by: str, at: str, reason: str = "") -> RegisteredStack:
        """Take a version out of use; see StackRegistry. The server says who retired it, and when."""
        return self._retire(name, version, retirement(at=at, by=by, reason=reason), None)[0]

    def retire_once(
        self, name: str, version: str, *, by: str, at: str, reason: str, key: str
    ) -> tuple[RegisteredStack, bool | None]:
        """As `retire`; see StackRegistry. A server that keeps keys repeats the one by which it retired a version."""
        found, done_by = self._retire(name, version, retirement(at=at, by=by, reason=reason), key)
        return found, None if done_by is None else done_by == key

    def _retire(
        self, name: str, version: str, asked: Retirement, key: str | None
    ) -> tuple[RegisteredStack, str | None]:
        parse_version(version)
        deadline = Deadline(self._timeout)
        candidates = [_candidate(one) for one in self._versions(name, deadline)]
        version = choose(name, version, candidates, self.uri, retired=True)
        path = _path(name, version)
        answer = self._send("POST", path + "/retirement", asked, deadline, key=key)
        if answer.status != _OK:
            raise refused(answer, self._url(path), self._token_env)
        found = parsed(RegisteredStack, answer, self._url(path))
        self._check(found, name, version, path)
        if not found.is_retired:
            raise RegistryAnswerInvalid(f"the server says that it retired a version, and did not: {self._url(path)}")
        return found, answer.headers.get(IDEMPOTENCY_KEY.lower())

    def _versions(self, name: str, deadline: Deadline) -> tuple[ListedStack, ...]:
        if not can_be_named(name):
            raise unknown_stack(name, (), self.uri)
        path = _path(name)
        found = parsed(Versions, self._fetch(path, deadline), self._url(path)).stacks
        by_version = {one.version: one for one in found}
        if len(by_version) != len(found) or any(one.name != name for one in found):
            raise RegistryAnswerInvalid(f"the answer is not about the stack that was asked for: {self._url(path)}")
        ordered = self._ordered([_candidate(one) for one in found])
        return tuple(by_version[one.version] for one in ordered)

    def _ordered(self, candidates: Sequence[VersionChoice]) -> Sequence[VersionChoice]:
        try:
            return by_precedence(candidates)
        except VersionMalformed as error:
            raise RegistryAnswerInvalid(f"a registered version is no semantic version: {self.uri}") from error

    def _check(self, found: RegisteredStack, name: str, version: str, path: str) -> None:
        if (found.name, found.version) != (name, version) or not is_whole(found):
            raise self._tampered(path)

    def _tampered(self, path: str) -> RegistryAnswerInvalid:
        return RegistryAnswerInvalid(
            f"what the server gives is not what its name, version and digest say: {self._url(path)}",
            advice="use nothing of it, and tell the registry's owner",
        )

    def _fetch(self, path: str, deadline: Deadline) -> Response:
        """What stands at `path`; asked for with the ETag of what is kept of it."""
        request = self._request("GET", path)
        with self._only_leaves():
            key = (request.url, self._client.trust_of(request))
            kept = self._kept_answer(key)
            response = self._client.send(replace(request, etag=kept and kept[0]), deadline)
        if kept is not None and response.not_modified:
            return replace(response, status=_OK, headers={"content-type": "application/json"}, body=kept[1])
        if response.status == _NOT_MODIFIED:
            raise RegistryAnswerInvalid(f"the server says 304 of something that was not asked: {self._url(path)}")
        if response.status != _OK:
            raise refused(response, self._url(path.partition("?")[0]), self._token_env)
        self._keep(response)
        return response

    def _send(self, method: str, path: str, record: Record, deadline: Deadline, *, key: str | None = None) -> Response:
        try:
            body = record.model_dump_json().encode()
        except ValueError as error:
            raise RegistryAnswerInvalid("what is to be sent holds text that UTF-8 cannot hold") from error
        request = self._request(method, path, body)
        if key is not None:
            request = replace(request, headers={**request.headers, IDEMPOTENCY_KEY: key})
        with self._only_leaves():
            return self._client.send(request, deadline)

    def _request(self, method: str, path: str, body: bytes | None = None) -> Request:
        from flowyml_policy.network.http import Request

        headers = {"Accept": "application/json"} | ({} if body is None else {"Content-Type": "application/json"})
        url, authorization = self._url(path), self._authorization()
        return Request(method, url, LARGEST_ANSWER, headers=headers, body=body, authorization=authorization)

    @cached_property
    def _client(self) -> Client:
        from flowyml_policy.network.http import Client

        return Client(ca=self._ca, offline=self._offline, environ=self._environ)

    def _authorization(self) -> str | None:
        if self._token_env is None:
            return None
        token = self._environ.get(self._token_env, "").strip()
        authorization = bearer(token)
        if authorization is None:
            what = "holds no token" if token else "is not set"
            raise RegistryAccessDenied(f"the variable {self._token_env} {what}: {self.uri}")
        return authorization

    @contextmanager
    def _only_leaves(self) -> Iterator[None]:
        """Make leaves of RegistryError of what the client raises."""
        try:
            yield
        except AddressRefused as error:
            raise _refused_address(error, self.uri) from error
        except HttpFailure as failure:
            leaf = RegistryAnswerInvalid if failure.reason in _INVALID else RegistryUnreachable
            is_offline = failure.reason == "offline"
            what = "the registry is a server, and none is asked offline" if is_offline else failure.what
            advice = failure.advice_for(_ADVICE_FOR)
            raise leaf(f"{what}: {self.uri}", advice=advice) from failure

    def _kept_answer(self, key: tuple[str, str]) -> tuple[str, bytes] | None:
        kept = self._kept.get(key)
        if kept is not None or self._cache is None:
            return kept
        with suppress(FlowymlPolicyError):
            found = self._cache.get("registry", *key)
            if found is not None and "etag" in found.notes:
                return found.notes["etag"], found.data
        return None

    def _keep(self, response: Response) -> None:
        """Keep an answer by its address and why it is believed, so that nobody else's stands for it."""
        is_json = response.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
        if response.etag is None or not is_json or len(response.body) > _LARGEST_KEPT:
            return
        key = (response.url, response.trust)
        self._kept[key] = (response.etag, response.body)
        if len(self._kept) > _KEPT_ANSWERS:
            with suppress(KeyError):
                self._kept.popitem(last=False)
        if self._cache is not None:
            with suppress(FlowymlPolicyError):
                self._cache.put("registry", *key, data=response.body, notes={"etag": response.etag})

    def _url(self, path: str) -> str:
        return self.uri + path


def _check_address(url: str) -> None:
    shown = mask(ascii(url))
    try:
        address = parse_address(url)
    except AddressRefused as error:
        raise _refused_address(error, shown) from error
    if "?" in address.target:
        raise _refused_address(AddressRefused("unreadable", url), shown)


def _refused_address(error: AddressRefused, shown: str) -> RegistryUnreachable:
    is_plain = error.reason in {"plain", "scheme"}
    why = "it is neither https, nor http on this machine itself" if is_plain else "it is no plain address of a server"
    return RegistryUnreachable(
        f"the address of the registry cannot be used, {why}: {shown}",
        advice="set policy.registry.url to an https address",
    )


def _path(*parts: str) -> str:
    """The place of a stack or of a version of it, in a form that has no second spelling."""
    return "/v1/stacks" + "".join("/" + quote(part, safe="") for part in parts)


def _candidate(one: ListedStack) -> VersionChoice:
    return VersionChoice(one.name, one.version, one.retired)
