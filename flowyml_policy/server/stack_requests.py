"""What clients of the stack registry send, read; and what they are refused with: docs/registry-wire.md.

Rules:
- Nothing of a body is believed that can be checked, and what cannot be is bounded.
- A refusal tells no path of this machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, NamedTuple, TypeVar

from pydantic import ValidationError

from flowyml_policy.errors.references import VersionMalformed
from flowyml_policy.errors.registry import RegistryError, StackUnknown, StackUnregistrable
from flowyml_policy.mask.text import mask
from flowyml_policy.records.record import Record
from flowyml_policy.records.registry import NewStack, RegisteredStack, Retirement
from flowyml_policy.records.result import Result
from flowyml_policy.references.version import parse_version
from flowyml_policy.registry.remote import IDEMPOTENCY_KEY
from flowyml_policy.server.exchange import JSON_TYPE, Call, Refused

LARGEST_BODY: Final = 8 << 20
LARGEST_LISTED: Final = 16 << 10
"""Bytes of a stack without its document, as listings have it."""
LONGEST_REASON: Final = 2000
_LONGEST_CLAIM: Final = 256
_MOST_LABELS: Final = 32
_LONGEST_QUERY: Final = 512
_RETRY: Final = {"retry-after": "5"}

_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)

_AnyRecord = TypeVar("_AnyRecord", bound=Record)


class Listing(NamedTuple):
    """Which stacks are asked for. `after` is the name and version that the part before ended with."""

    name: str | None
    labels: dict[str, str]
    all_versions: bool
    after: tuple[str, str] | None


def read_listing(call: Call) -> Listing:
    """What the query of a listing asks for. Raises Refused."""
    name: str | None = None
    labels: dict[str, str] = {}
    all_versions, after = False, None
    for key, value in call.query:
        label, equals, wanted = value.partition("=")
        if len(value) > _LONGEST_QUERY:
            raise _query(f"`{key}` is too long")
        if key == "name" and name is None:
            name = value
        elif key == "label" and label and equals and label not in labels and len(labels) < _MOST_LABELS:
            labels[label] = wanted
        elif key == "all_versions" and value == "true":
            all_versions = True
        elif key == "after" and after is None:
            after = _cursor(value)
        else:
            raise _query("a listing takes `name`, `label=KEY=VALUE`, `all_versions=true` and `after`")
    return Listing(name, labels, all_versions, after)


def _cursor(value: str) -> tuple[str, str]:
    name, _, version = value.partition("@")
    try:
        parse_version(version)
    except VersionMalformed as error:
        raise _query("`after` is not what a listing said in `next`") from error
    return name, version


def read_stack(call: Call) -> NewStack:
    """The stack that is to be registered, as the client sent it. Raises Refused."""
    stack = _read(call, NewStack)
    if (stack.name, stack.version) != (call.names["name"], call.names["version"]):
        raise _invalid("the body is about another stack, or another version, than the address")
    if stack.source.commit is not None and _COMMIT.fullmatch(stack.source.commit) is None:
        raise _invalid("`source.commit` is no commit")
    if stack.decision_id is not None and (
        _ID.fullmatch(stack.decision_id) is None or mask(stack.decision_id) != stack.decision_id
    ):
        raise _invalid("`decision_id` is no id")
    if stack.source.kind == "builtin":
        raise unregistrable("the built-in stack is part of every client, and never registered")
    if len(stack.model_dump_json(exclude={"document"})) > LARGEST_LISTED:
        raise unregistrable(f"it has more than {LARGEST_LISTED:,} bytes beside its document, labels among them")
    return stack


def read_retirement(call: Call) -> tuple[Retirement, str | None]:
    """The retirement that is asked for, and its idempotency key. Raises Refused."""
    asked = _read(call, Retirement)
    key = call.headers.get(IDEMPOTENCY_KEY.lower())
    if key is not None and _UUID.fullmatch(key) is None:
        raise _invalid(f"the header {IDEMPOTENCY_KEY} is no UUID")
    if len(asked.reason) > LONGEST_REASON:
        raise _invalid(f"the reason is longer than {LONGEST_REASON:,} characters")
    return asked, key


def claims_of(stack: NewStack) -> dict[str, str]:
    """What the client says of itself and of where the stack comes from."""
    source = stack.source
    said = {
        "applied_by": stack.applied_by,
        "applied_at": stack.applied_at,
        "source_kind": source.kind,
        "source_uri": source.uri,
        "source_ref": source.ref,
        "source_commit": source.commit,
        "source_pinned": str(source.pinned).lower(),
    }
    return clipped({name: value for name, value in said.items() if value})


def clipped(claims: Mapping[str, str]) -> dict[str, str]:
    """`claims`, each of a length that records bear."""
    return {name: value[:_LONGEST_CLAIM] for name, value in claims.items()}


def _read(call: Call, kind: type[_AnyRecord]) -> _AnyRecord:
    media_type = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON_TYPE or call.headers.get("content-encoding", "identity") != "identity":
        what = f"the body must be {JSON_TYPE}, without content encoding"
        raise _refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_json", what)
    if len(call.body) > LARGEST_BODY:
        what = f"at most {LARGEST_BODY:,} bytes are taken"
        raise _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", what)
    try:
        return kind.model_validate_json(call.body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(one) for one in first["loc"][:2])
        raise _invalid(mask(f"{where or 'the body'}: {first['msg']}"[:_LONGEST_QUERY])) from error
    except (ValueError, RecursionError) as error:
        raise _invalid("the body is no JSON that can be read") from error


def refused(error: RegistryError | VersionMalformed) -> Refused:
    """How a client is told that the registry has no such stack, or does not take one."""
    if isinstance(error, StackUnknown):
        return _refusal(HTTPStatus.NOT_FOUND, error.code, "no stack of that name is registered", near=error.near)
    if isinstance(error, StackUnregistrable):
        return unregistrable(str(error))
    return _refusal(HTTPStatus.NOT_FOUND, "version_unknown", "the stack has no such version")


def taken(there: RegisteredStack) -> Refused:
    """Other content stands under the version."""
    return _refusal(
        HTTPStatus.CONFLICT, "version_taken", f"other content was registered by {there.applied_by}", registered=there
    )


def retired(there: RegisteredStack) -> Refused:
    """The same content stands there, and was retired."""
    how = there.retired
    what = "it was retired" if how is None else f"retired by {how.by} at {how.at}"
    return _refusal(HTTPStatus.GONE, "version_retired", what)


def unregistrable(why: str) -> Refused:
    """The registry does not take the stack."""
    return _refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "stack_unregistrable", why)


def denied(result: Result) -> Refused:
    """The server's policy denies the stack."""
    codes = ", ".join(dict.fromkeys(finding.code for finding in result.denials))
    first = next((f": {finding.message}" for finding in result.denials), "")
    return unregistrable(f"denied by {codes}{first}")


def undecided(what: str) -> Refused:
    """The stack could not be judged; another time it may be."""
    return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "stack_undecided", what, headers=_RETRY)


def _refusal(
    status: int,
    code: str,
    message: str,
    *,
    near: tuple[str, ...] = (),
    registered: RegisteredStack | None = None,
    headers: Mapping[str, str] | None = None,
) -> Refused:
    shown = None if registered is None else registered.model_dump(mode="json")
    return Refused(status, code, message, near=near, more={"registered": shown}, headers=headers)


def _invalid(what: str) -> Refused:
    return _refusal(HTTPStatus.BAD_REQUEST, "body_invalid", what)


def _query(what: str) -> Refused:
    return _refusal(HTTPStatus.BAD_REQUEST, "query_invalid", what)
