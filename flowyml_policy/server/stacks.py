"""The company's stack registry: what docs/registry-wire.md says, version 1, on the server's own file.

Rules:
- What is registered was allowed by the server's own policy, as content: no file, repository or address that a document
  names is ever read here. It is judged, recorded, registered, in that order; only an explicit allow registers.
- Row and event are one transaction, in which the version is looked up once more: of two that come at once, one wins and
  the other hears of it. A kill between decision and registration leaves a decision, and the next request is judged.
- The token's owner is who applied and who retired. What the client says of that, and where the stack comes from, is
  recorded as its claim.
- What stands there already is answered from the record, whoever asks again and whatever policy says by now.
- A request to register is answered within `SECONDS`, also while it waits for others. What is judged later registers
  nothing; where that had begun, the same request again finds it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from time import monotonic
from typing import Final

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.decision.candidates import StackDocument
from flowyml_policy.decision.engine import PolicyEngine
from flowyml_policy.decision.registrar import Received, recorded_registry
from flowyml_policy.definitions.problems import explain_yaml
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.documents.reader import load_documents
from flowyml_policy.errors.definitions import DefinitionInvalid
from flowyml_policy.errors.documents import YamlInvalid
from flowyml_policy.errors.opa import OpaDeadlineExceeded, OpaUnavailable
from flowyml_policy.errors.references import VersionMalformed
from flowyml_policy.errors.registry import (
    StackUnknown,
    StackUnregistrable,
    VersionRetired,
    VersionTaken,
    VersionUnknown,
)
from flowyml_policy.mask.policy_input import masked_actor, masked_source
from flowyml_policy.mask.text import mask
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.opa.calls import BoundedCalls
from flowyml_policy.records.events import StackRetired
from flowyml_policy.records.instant import utc_now
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.records.record import Record
from flowyml_policy.records.registry import AlreadyThere, NewStack, Registered, RegisteredStack
from flowyml_policy.references.version import parse_version
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.registry.registrable import check_registrable, is_whole
from flowyml_policy.registry.remote import IDEMPOTENCY_KEY
from flowyml_policy.registry.wire import Page, Versions
from flowyml_policy.server import stack_requests
from flowyml_policy.server.configuration import Configuration
from flowyml_policy.server.exchange import JSON_TYPE, Answer, Call, Operation, Refused
from flowyml_policy.server.judging import Judge, open_judge
from flowyml_policy.server.scopes import STACKS_READ, STACKS_WRITE
from flowyml_policy.sources.fetcher import definition_of

SECONDS: Final = 10.0
"""Within which a request to register is answered."""
PAGE: Final = 500
"""The most stacks in one part of a listing."""

_AT_ONCE: Final = 8
_BUSY: Final = 5.0
"""Seconds that a change of the file waits for other writers."""
_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')


class Stacks:
    """The registry's operations. Safe from many threads; `start` comes before any request.

    A part of a listing has at most `page` stacks; a request to register is answered within `seconds`.
    """

    def __init__(
        self,
        configuration: Configuration,
        tell: Callable[[str], None],
        *,
        environ: Mapping[str, str] | None = None,
        page: int = PAGE,
        seconds: float = SECONDS,
    ) -> None:
        path = configuration.database
        self._configuration = configuration
        self._tell = tell
        self._page = page
        self._seconds = seconds
        self._environ = os.environ if environ is None else environ
        self._audit = AuditStore(path, timeout=_BUSY)
        self._registry = LocalRegistry(path, timeout=_BUSY)
        # Reading has connections of its own, so that it never waits for a change.
        self._journal = AuditStore(path, timeout=_BUSY)
        self._shown = LocalRegistry(path, decisions=self._journal, timeout=_BUSY)
        self._recorded = recorded_registry(self._registry, self._audit)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="flowyml-policy-stacks")
        self._calls = BoundedCalls(_AT_ONCE, name="flowyml-policy-judging")
        self._judge: Judge | None = None

    def start(self) -> None:
        """Load the policy, or begin to. Raises what is wrong with the settings."""
        self._judge = open_judge(self._configuration, self._audit, self._environ, self._tell)

    @property
    def can_judge(self) -> bool:
        """Whether nothing is known to keep stacks from being judged."""
        return self._judge is not None and self._judge.evaluator.failure is None

    def close(self) -> None:
        """Release everything; closing twice is fine."""
        self._threads.shutdown(cancel_futures=True)
        self._calls.close()
        if self._judge is not None:
            self._judge.engine.close()
        for one in (self._audit, self._registry, self._journal, self._shown):
            one.close()

    def operations(self) -> Sequence[Operation]:
        """What can be asked of the registry."""
        one = "/v1/stacks/{name}/{version}"
        return [
            Operation("GET", "/v1/stacks", STACKS_READ, self._list),
            Operation("GET", "/v1/stacks/{name}", STACKS_READ, self._versions),
            Operation("GET", one, STACKS_READ, self._get),
            Operation("PUT", one, STACKS_WRITE, self._put, body=True, executor=self._threads),
            Operation("POST", f"{one}/retirement", STACKS_WRITE, self._retire, body=True, executor=self._threads),
        ]

    def _list(self, call: Call) -> Answer:
        """A part of the listing, in the order of names, the highest version first."""
        asked = stack_requests.read_listing(call)
        part = self._shown.list(
            name=asked.name,
            labels=asked.labels,
            all_versions=asked.all_versions,
            after=asked.after,
            most=self._page + 1,
        )
        if len(part) <= self._page:
            return _given(call, Page(stacks=part))
        last = part[self._page - 1]
        return _given(call, Page(stacks=part[: self._page], next=f"{last.name}@{last.version}"))

    def _versions(self, call: Call) -> Answer:
        try:
            return _given(call, Versions(stacks=self._shown.versions(call.names["name"])))
        except StackUnknown as error:
            raise stack_requests.refused(error) from error

    def _get(self, call: Call) -> Answer:
        return _given(call, self._find(call))

    def _find(self, call: Call) -> RegisteredStack:
        """The very version of the address. Raises Refused."""
        name, version = call.names["name"], call.names["version"]
        try:
            parse_version(version)  # or it would be read as a range
            found = self._shown.get(name, version, retired=True)
        except (StackUnknown, VersionUnknown, VersionMalformed) as error:
            raise stack_requests.refused(error) from error
        if found.version != version:
            raise stack_requests.refused(VersionUnknown(f"another build of it is registered: {found.version}"))
        return found

    def _put(self, call: Call) -> Answer:
        deadline = Deadline(self._seconds - (monotonic() - call.began if call.began else 0.0))
        stack = stack_requests.read_stack(call)
        if not is_whole(stack):
            raise stack_requests.unregistrable("the document is not what its name, version, labels and digest say")
        there = self._there(stack)
        if there is not None:
            return there
        try:
            return self._calls.run(lambda: self._judged(stack, call.actor, deadline), deadline.left)
        except TimeoutError as error:
            raise _too_slow() from error

    def _there(self, stack: NewStack) -> Answer | None:
        """The answer of the record, where something stands under the version, whatever its build. Raises Refused."""
        try:
            found = self._shown.get(stack.name, stack.version.partition("+")[0], retired=True)
        except (StackUnknown, VersionUnknown, VersionMalformed):
            return None
        if found.digest != stack.digest:
            raise stack_requests.taken(found)
        if found.is_retired:
            raise stack_requests.retired(found)
        return _answer(AlreadyThere(stack=found))

    def _judged(self, stack: NewStack, actor: str, deadline: Deadline) -> Answer:
        """Judge `stack`, record that, and register it where it is allowed. Raises Refused."""
        document = _document(stack)
        kept = stack.model_copy(
            update={"applied_by": actor, "applied_at": utc_now(), "source": masked_source(stack.source)}
        )
        if isinstance(document.content, StackDefinition):
            try:
                check_registrable(kept)
            except StackUnregistrable as error:
                raise stack_requests.refused(error) from error
        claims = stack_requests.claims_of(stack)
        result = self._engine().answer(
            document, operation="apply", told=_until(deadline), actor=masked_actor(actor, (), claims)
        )
        if result.error is not None:
            told = f"; its audit has decision {result.decision_id}" if result.decision_id else ""
            raise stack_requests.undecided(f"the server could not judge it ({result.error.code}){told}")
        if not result.allowed:
            raise stack_requests.denied(result)
        if not deadline.left:
            raise _too_slow()
        try:
            done = self._recorded.put(kept, received=Received(stack.decision_id, claims, result.decision_id))
        except (VersionTaken, VersionRetired):
            there = self._there(stack)  # it came while this one was judged
            if there is None:
                raise
            return there
        return _answer(Registered(stack=done.stack) if done.changed else AlreadyThere(stack=done.stack))

    def _engine(self) -> PolicyEngine:
        if self._judge is None:
            raise OpaUnavailable("the registry was not started", advice="")
        return self._judge.engine

    def _retire(self, call: Call) -> Answer:
        asked, key = stack_requests.read_retirement(call)
        there = self._find(call)
        claims = stack_requests.clipped({"by": asked.by, "at": asked.at})
        done = self._recorded.retire(
            there.name,
            there.version,
            by=call.actor,
            at=utc_now(),
            reason=asked.reason,
            received=Received(key, claims),
        )
        kept = key if done.changed else self._key_of(done.stack)
        return _answer(done.stack, headers={} if kept is None else {IDEMPOTENCY_KEY.lower(): kept})

    def _key_of(self, stack: RegisteredStack) -> str | None:
        """The idempotency key of the request that retired `stack`, where it had one."""
        events = self._audit.get_events(stack_name=mask(stack.name), type=StackRetired.TYPE)
        of_version = (one for one in events if isinstance(one, StackRetired) and one.version == stack.version)
        return next((one.request for one in of_version), None)


def _document(stack: NewStack) -> StackDocument:
    """What is to be judged: the definition, or why it is none. Where it comes from is the client's claim."""
    said = stack.source
    origin = Provenance(kind="object", uri=f"claimed:{said.uri}", ref=said.ref, commit=said.commit)
    source = origin.as_source()
    try:
        # Bounded, and as strict as the reader of files; the digest stands for what the client sent.
        load_documents(json.dumps(stack.document, ensure_ascii=False).encode(), f"{stack.name}@{stack.version}")
        return StackDocument(source, definition_of(stack).located(origin))
    except YamlInvalid as error:
        return StackDocument(source, explain_yaml(error))
    except DefinitionInvalid as error:
        return StackDocument(source, error)


def _until(deadline: Deadline) -> Callable[[int, int], None]:
    """Ends the examination of images when the time is over."""

    def told(_done: int, _all: int) -> None:
        if not deadline.left:
            raise OpaDeadlineExceeded(f"the stack was not judged within {deadline.seconds:g} seconds")

    return told


def _too_slow() -> Refused:
    return stack_requests.undecided("the server did not come to judge it in time")


def _answer(record: Registered | AlreadyThere | RegisteredStack, *, headers: Mapping[str, str] | None = None) -> Answer:
    status = HTTPStatus.CREATED if isinstance(record, Registered) else HTTPStatus.OK
    return Answer(status, record.model_dump_json().encode(), {"content-type": JSON_TYPE, **(headers or {})})


def _given(call: Call, record: Record) -> Answer:
    """A strong ETag with what was asked for, or alone where the client has it."""
    body = record.model_dump_json().encode()
    etag = f'"{hashlib.sha256(body).hexdigest()}"'
    held = call.headers.get("if-none-match", "")
    if held.strip() == "*" or etag in _TAG.findall(held):
        return Answer(HTTPStatus.NOT_MODIFIED, headers={"etag": etag})
    return Answer(body=body, headers={"content-type": JSON_TYPE, "etag": etag})
