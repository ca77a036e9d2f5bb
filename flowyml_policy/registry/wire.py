"""The shapes of the wire, version 1, and what a server's refusals mean. docs/registry-wire.md tells it to servers."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import Field, ValidationError

from flowyml_policy.errors.registry import (
    RegistryAccessDenied,
    RegistryAnswerInvalid,
    RegistryError,
    RegistryUnreachable,
    StackUnknown,
    StackUnregistrable,
    VersionRetired,
    VersionUnknown,
)
from flowyml_policy.mask.text import mask
from flowyml_policy.records.record import Record
from flowyml_policy.records.registry import ListedStack, RegisteredStack

if TYPE_CHECKING:
    from flowyml_policy.network.http import Response

_AnyRecord = TypeVar("_AnyRecord", bound=Record)

LARGEST_ANSWER: Final = 16 << 20
_LONGEST_MESSAGE: Final = 300
_MOST_NEAR: Final = 3
_SERVER_ERRORS: Final = range(500, 600)
_REDIRECTS: Final = range(300, 400)


class Page(Record):
    """A part of a listing. `next` is what the request for the part after it says in `after`."""

    stacks: tuple[ListedStack, ...]
    next: str | None = None


class Versions(Record):
    """All versions of one stack."""

    stacks: tuple[ListedStack, ...] = Field(min_length=1)


class RefusalReason(Record):
    """Why a request was refused; `near` holds names that are spelled like one that is not there."""

    code: str
    message: str = ""
    near: tuple[str, ...] = ()


class Refusal(Record):
    """The answer to a request that was refused. `registered` is what stands under a version that is taken."""

    error: RefusalReason
    registered: RegisteredStack | None = None


def parsed(kind: type[_AnyRecord], answer: Response, url: str) -> _AnyRecord:
    """The answer's body as a `kind`. Raises RegistryAnswerInvalid."""
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise RegistryAnswerInvalid(f"the answer is no JSON, but {_printable(media_type) or 'unnamed'}: {url}")
    try:
        return kind.model_validate_json(answer.body)
    except (ValidationError, ValueError, RecursionError) as error:
        raise RegistryAnswerInvalid(f"the answer is not of the registry's wire, version 1: {url}") from error


def refused(answer: Response, url: str, token_env: str | None) -> RegistryError:
    """The error that an answer without success stands for. `url` is what was asked for."""
    status = answer.status
    if status in {401, 403}:
        return _access_denied(answer, url, token_env)
    if status == HTTPStatus.TOO_MANY_REQUESTS or status in _SERVER_ERRORS:
        return RegistryUnreachable(f"the server answered {status}: {url}", advice="try again later, or tell its owner")
    if status in _REDIRECTS:
        return RegistryAnswerInvalid(
            f"the server answered {status}, and redirects are not followed: {url}",
            advice="set policy.registry.url to the address that it leads to",
        )
    try:
        reason = parsed(Refusal, answer, url).error
    except RegistryAnswerInvalid as error:
        error.message = f"the server answered {status}, not as a registry does: {url}"
        return error
    message = _printable(reason.message)
    meant: dict[tuple[int, str], RegistryError] = {
        (404, "stack_unknown"): StackUnknown(
            f"no such stack is registered: {url}", near=[_printable(one) for one in reason.near[:_MOST_NEAR]]
        ),
        (404, "version_unknown"): VersionUnknown(f"no such version is registered: {url}"),
        (410, "version_retired"): VersionRetired(
            f"the version was retired{f' ({message})' if message else ''}: {url}",
            advice="register it under a new metadata.version",
        ),
        (422, "stack_unregistrable"): StackUnregistrable(
            f"the registry does not take it ({message}): {url}",
            advice="correct what the server names, or ask its owner",
        ),
    }
    said = f"{status} ({_printable(reason.code)})"
    return meant.get((status, reason.code)) or RegistryAnswerInvalid(f"the server answered {said}: {url}")


def _access_denied(answer: Response, url: str, token_env: str | None) -> RegistryAccessDenied:
    given = f"the token in {token_env}" if token_env else "no token"
    if answer.status == HTTPStatus.UNAUTHORIZED:
        advice = None if token_env else "name the variable that holds a token in policy.registry.token_env"
        what = f"does not know {given}" if token_env else "wants a token"
        return RegistryAccessDenied(f"the server {what}: {url}", advice=advice)
    return RegistryAccessDenied(
        f"the server does not allow this with {given}: {url}", advice="ask its owner for access"
    )


def _printable(text: str) -> str:
    """A server's text as it may stand in a message."""
    shown = "".join(one if one.isprintable() else " " for one in text[:_LONGEST_MESSAGE])
    return mask(shown.strip())
