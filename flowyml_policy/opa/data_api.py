"""What a server answers by OPA's Data API, read as if anybody had sent it. Nothing here speaks to one.

Rules:
- An answer counts only with its provenance: the server's version, and the revision of every bundle it judged by.
- A key that OPA does not send is refused, and so is a server that reads globs or YAML otherwise than this program.
- Undefined is an error, as everywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn
from urllib.parse import quote

from flowyml_policy.errors.opa import (
    OpaAnswerInvalid,
    OpaError,
    OpaEvaluationFailed,
    OpaUnavailable,
    OpaUndefined,
    PolicyInvalid,
)
from flowyml_policy.opa.bundle_files import INPUT_SCHEMA

if TYPE_CHECKING:
    from flowyml_policy.records.record import Json

OLDEST: Final = (1, 21, 0)
"""The first OPA whose `glob.match` and YAML are those of the library."""

OLDEST_SIGNED: Final = (1, 21, 3)
"""The first OPA that takes no unsigned delta of a signed bundle."""

_KEYS: Final = frozenset({"result", "provenance", "decision_id", "metrics", "explanation", "warning"})
_VERSION: Final = re.compile(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(-\S+)?(?:\+\S*)?", re.ASCII)
_LONGEST_REASON: Final = 500

_OK: Final = 200
_REDIRECTS: Final = range(300, 400)
_REFUSALS: Final = frozenset({401, 403})


class DataAnswer(NamedTuple):
    """A value, the revision of each bundle that was active in that evaluation, and the version of the OPA."""

    result: Json
    bundles: dict[str, str]
    version: str


def address_of(path: str) -> str:
    """A path below data as an address has it. Raises OpaEvaluationFailed."""
    steps = path.split("/")
    if not all(steps) or not {".", ".."}.isdisjoint(steps):
        raise OpaEvaluationFailed(f"{path!r} is no path below data", advice="write it as flowyml/main/decision")
    return quote(path)


def read_answer(path: str, status: int, body: bytes, *, require_signed: bool = False) -> DataAnswer:
    """The answer to the question for `path`. Raises OpaError, which says nothing of where it was asked."""
    if status != _OK:
        refuse(status, body)
    answer = _parsed(body)
    for key in answer.keys() - _KEYS:
        raise OpaAnswerInvalid(f"the OPA server's answer has a key that OPA does not send: {key[:60]!r}")
    provenance = answer.get("provenance")
    if not isinstance(provenance, dict):
        raise OpaAnswerInvalid("the OPA server's answer has no provenance, so it does not say what judged")
    version = provenance.get("version")
    _check_version(version, require_signed=require_signed)
    bundles = _revisions(provenance.get("bundles"))
    if "result" not in answer:
        raise OpaUndefined(f"data.{path.replace('/', '.')} is undefined")
    return DataAnswer(answer["result"], bundles, str(version))


def refuse(status: int, body: bytes) -> NoReturn:
    """Raise what another status than 200 means."""
    if status in _REDIRECTS:
        raise OpaUnavailable(
            f"the OPA server answers by a redirect (HTTP {status}), and none is followed",
            advice="name the server itself in policy.opa.sidecar.url",
        )
    if status in _REFUSALS:
        raise OpaUnavailable(
            f"the OPA server refuses this caller (HTTP {status})",
            advice="correct the token in the variable that policy.opa.sidecar.token_env names, or what the server's"
            " authorization policy allows it",
        )
    raise _evaluation_error(body) or OpaUnavailable(
        f"the OPA server answers HTTP {status}{words_of(body)}", advice="look at the server's own log"
    )


def check_manifests(bundles: Json) -> dict[str, dict[str, Any]]:
    """The metadata of each bundle by `data.system.bundles`. Raises PolicyInvalid for one for another policy input."""
    if not isinstance(bundles, dict):
        raise OpaAnswerInvalid("the OPA server does not say what it has loaded (data.system.bundles)")
    found = {}
    for name, bundle in sorted(bundles.items()):
        metadata = _mapping(_mapping(_mapping(bundle).get("manifest")).get("metadata"))
        stated = metadata.get("input_schema", INPUT_SCHEMA)
        if str(stated) != str(INPUT_SCHEMA):
            raise PolicyInvalid(
                f"bundle {name!r} is written for input schema {stated}, this program gives input schema {INPUT_SCHEMA}",
                advice="let the server load a bundle that belongs to this version of flowyml-policy",
            )
        found[name] = metadata
    return found


def _mapping(value: Json) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise OpaAnswerInvalid("the OPA server's answer is no JSON") from error
    if not isinstance(answer, dict):
        raise OpaAnswerInvalid("the OPA server's answer is no JSON object")
    return answer


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _check_version(version: object, *, require_signed: bool) -> None:
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if match is None:
        raise OpaAnswerInvalid("the OPA server does not say its version")
    found = (int(match[1]), int(match[2]), int(match[3]))
    oldest, where = (OLDEST_SIGNED, " where bundles must be signed") if require_signed else (OLDEST, "")
    if found < oldest or (found == oldest and match[4]):  # what came before a release is not yet that release
        raise OpaUnavailable(
            f"the OPA server is of version {version}; {'.'.join(map(str, oldest))} is the oldest that may judge{where}",
            advice="update the server; `flowyml-policy opa run --server` is one of the right version",
        )


def _revisions(bundles: object) -> dict[str, str]:
    if not isinstance(bundles, Mapping) or not bundles:
        raise OpaAnswerInvalid(
            "the OPA server judges by no bundle, so its answers carry no revision",
            advice="let the server load its policy as bundles, with a revision each",
        )
    revisions: dict[str, str] = {}
    for name, one in bundles.items():
        revision = one.get("revision") if isinstance(one, dict) else None
        if not isinstance(revision, str) or not revision:
            raise OpaAnswerInvalid(
                f"the OPA server does not say the revision of bundle {name!r}",
                advice="build the bundle with a revision, as `opa build --revision` does",
            )
        revisions[name] = revision
    return revisions


def _evaluation_error(body: bytes) -> OpaError | None:
    """What OPA says of an evaluation that failed, if that is what `body` says."""
    try:
        first = json.loads(body)["errors"][0]
        code, message, location = str(first["code"]), str(first["message"]), first.get("location") or {}
        place = f"{str(location['file']).lstrip('/')}:{location['row']}: " if location.get("file") else ""
    except (ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError):
        return None
    return OpaEvaluationFailed(f"{place}{code}: {message}"[:_LONGEST_REASON])


def words_of(body: bytes) -> str:
    """OPA's own words for what is wrong, for the end of a sentence; a page of HTML has none."""
    try:
        said = json.loads(body)
        words = said.get("message") or said.get("error")
    except (ValueError, RecursionError, AttributeError):
        return ""
    return f": {words[:_LONGEST_REASON]}" if isinstance(words, str) else ""
