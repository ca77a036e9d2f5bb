"""RemoteRegistry: the company's registry, over HTTP. What it answers is checked as if anybody had sent it."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

from flowyml_policy.errors.references import VersionMalformed
from flowyml_policy.errors.registry import RegistryAccessDenied, RegistryAnswerInvalid, RegistryUnreachable
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.mask.text import mask_text
from flowyml_policy.network.exchange import Answer, Deadline, Server
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
from flowyml_policy.registry.wire import Page, Refusal, Versions, parsed, refused

TIMEOUT: Final = 15.0
MOST_PAGES: Final = 200

_OK: Final = 200
_CREATED: Final = 201
_NOT_MODIFIED: Final = 304
_CONFLICT: Final = 409
_KEPT_ANSWERS: Final = 64
_LARGEST_KEPT: Final = 1 << 20
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)
_ETAG: Final = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,200}"', re.ASCII)


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
        try:
            self._server = Server(url, None if ca is None else Path(ca))
        except ValueError as error:
            raise RegistryUnreachable(
                f"the address of the registry cannot be used, {error}: {mask_text(ascii(url))[0]}",
                advice="set policy.registry.url to an https address",
            ) from error
        self._token_env = token_env
        self._environ = os.environ if environ is None else environ
        self._timeout = timeout
        self._cache = cache
        self._offline = offline
        self._kept: OrderedDict[str, tuple[str, bytes]] = OrderedDict()

    @property
    def uri(self) -> str:
        """Its address."""
        return self._server.url

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
        parse_version(version)
        deadline = Deadline(self._timeout)
        candidates = [_candidate(one) for one in self._versions(name, deadline)]
        version = choose(name, version, candidates, self.uri, retired=True)
        path = _path(name, version)
        retirement = Retirement(at=at, by=by, reason=mask_text(reason)[0])
        answer = self._send("POST", path + "/retirement", retirement, deadline)
        if answer.status != _OK:
            raise refused(answer, self._url(path), self._token_env)
        found = parsed(RegisteredStack, answer, self._url(path))
        self._check(found, name, version, path)
        if not found.is_retired:
            raise RegistryAnswerInvalid(f"the server says that it retired a version, and did not: {self._url(path)}")
        return found

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

    def _fetch(self, path: str, deadline: Deadline) -> Answer:
        """What stands at `path`; asked for with the ETag of what is kept of it."""
        kept = self._kept_answer(path)
        headers = self._headers() | ({"If-None-Match": kept[0]} if kept else {})
        answer = self._ask("GET", path, headers, None, deadline)
        etag = answer.headers.get("etag", "")
        if answer.status == _NOT_MODIFIED:
            if kept is None or etag not in ("", kept[0]):
                raise RegistryAnswerInvalid(f"the server says 304 of something that was not asked: {self._url(path)}")
            return Answer(_OK, {"content-type": "application/json"}, kept[1])
        if answer.status != _OK:
            raise refused(answer, self._url(path.partition("?")[0]), self._token_env)
        if _ETAG.fullmatch(etag):
            self._keep(path, etag, answer)
        return answer

    def _send(self, method: str, path: str, record: Record, deadline: Deadline) -> Answer:
        headers = self._headers() | {"Content-Type": "application/json"}
        try:
            body = record.model_dump_json().encode()
        except ValueError as error:
            raise RegistryAnswerInvalid("what is to be sent holds text that UTF-8 cannot hold") from error
        return self._ask(method, path, headers, body, deadline)

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None, deadline: Deadline) -> Answer:
        if self._offline:
            raise RegistryUnreachable(
                f"the registry is a server, and none is asked offline: {self.uri}", advice="go online to ask it"
            )
        return self._server.ask(method, path, headers, body, deadline)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if self._token_env is None:
            return headers
        token = self._environ.get(self._token_env, "").strip()
        if _TOKEN.fullmatch(token) is None:
            what = "holds no token" if token else "is not set"
            raise RegistryAccessDenied(f"the variable {self._token_env} {what}: {self.uri}")
        return headers | {"Authorization": f"Bearer {token}"}

    def _kept_answer(self, path: str) -> tuple[str, bytes] | None:
        kept = self._kept.get(path)
        if kept is not None or self._cache is None:
            return kept
        with suppress(FlowymlPolicyError):
            found = self._cache.get("registry", self.uri, path)
            if found is not None and _ETAG.fullmatch(found.notes.get("etag", "")):
                return found.notes["etag"], found.data
        return None

    def _keep(self, path: str, etag: str, answer: Answer) -> None:
        if answer.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return
        if len(answer.body) > _LARGEST_KEPT:
            return
        self._kept[path] = (etag, answer.body)
        if len(self._kept) > _KEPT_ANSWERS:
            with suppress(KeyError):
                self._kept.popitem(last=False)
        if self._cache is not None:
            with suppress(FlowymlPolicyError):
                self._cache.put("registry", self.uri, path, data=answer.body, notes={"etag": etag})

    def _url(self, path: str) -> str:
        return self.uri + path


def _path(*parts: str) -> str:
    """The place of a stack or of a version of it, in a form that has no second spelling."""
    return "/v1/stacks" + "".join("/" + quote(part, safe="") for part in parts)


def _candidate(one: ListedStack) -> VersionChoice:
    return VersionChoice(one.name, one.version, one.retired)
