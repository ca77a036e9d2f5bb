"""Opa: the Open Policy Agent as a Python library. Any Rego, any JSON, in this process, without a server.

    from flowyml_policy.opa import Opa

    with Opa("policy/", "data.json") as opa:
        if opa.evaluate("data.authz.allow", {"user": "ada", "method": "GET"}):
            ...

None of this program's own rules about policy hold for it; what judges stacks is `evaluator`.

Rules:
- What is undefined is an error, `OpaUndefined`, and never a value; a default may be asked for.
- Rego reaches no host, file or variable of this machine, but for hosts that are allowed.
- No signature of a bundle is verified: what is loaded is believed.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from typing_extensions import Self

from flowyml_policy.errors.opa import (
    OpaAnswerInvalid,
    OpaDeadlineExceeded,
    OpaEvaluationFailed,
    OpaStartFailed,
    OpaUnavailable,
    OpaUndefined,
)
from flowyml_policy.opa.library import Library, is_alive, load

if TYPE_CHECKING:
    from flowyml_policy.records.record import Json

_NANOSECONDS: Final = 1_000_000_000
_STOP_NS: Final = 5 * _NANOSECONDS
_RESULT: Final = "result"
_MISSING: Final[Any] = object()

_Default = TypeVar("_Default")


class Opa:
    """Rego and data, compiled and ready to be asked. Safe from many threads, which evaluate side by side.

    `paths` are files and folders, taken as `opa eval --data` takes them: `.rego`, and `.json` and `.yaml` as data below
    the names of their folders, or, for the text `users:data.json`, below that name. `bundles` are archives and folders
    as with `--bundle`. `modules` is Rego given as text, by a name for messages; `data` is given as values. Rego is of
    version 1 unless `rego_version` says 0.

    A builtin that fails, as a division by zero, is undefined, or with `strict_builtin_errors` an error. `allow_hosts`
    are the only hosts that `http.send` may reach. Times are in seconds: `deadline` of one evaluation, `start_timeout`
    of loading. A call of a builtin that does not look at the clock may outlast its deadline.

    Raises PolicyInvalid where Rego does not parse or compile, OpaStartFailed where something cannot be read, and
    OpaUnavailable without an OPA: in a child that was forked after OPA was loaded, too.
    """

    def __init__(
        self,
        *paths: str | Path,
        bundles: Sequence[str | Path] = (),
        modules: Mapping[str, str] | None = None,
        data: Mapping[str, Json] | None = None,
        rego_version: Literal[0, 1] = 1,
        strict_builtin_errors: bool = False,
        allow_hosts: Sequence[str] = (),
        deadline: float = 10.0,
        start_timeout: float = 30.0,
    ) -> None:
        if rego_version not in (0, 1):
            raise OpaEvaluationFailed(f"there is no Rego of version {rego_version!r}", advice="give 0 or 1")
        self._deadline = deadline
        self._timeout_ns = _nanoseconds(start_timeout)
        self._library = load()
        settings: dict[str, Json] = {
            # An address, since OPA would take a colon in a path for the end of a prefix, as it may be in a text.
            "paths": [path if isinstance(path, str) else path.absolute().as_uri() for path in paths],
            "bundles": [str(path) for path in bundles],
            "modules": dict(modules or {}),
            "data": json.loads(_encoded(dict(data or {}))),
            "version": rego_version,
            "strict": strict_builtin_errors,
            "allow_hosts": list(allow_hosts),
            "deadline_ns": self._timeout_ns,
        }
        with _advised():
            self._handle = self._library.load_program(settings)
        self._finalizer = weakref.finalize(self, _close, self._library, self._handle)

    @property
    def version(self) -> str:
        """The version of OPA."""
        return self._library.opa_version

    @property
    def revisions(self) -> dict[str, str]:
        """The revision of each bundle, by the place that it was loaded from."""
        self._require_open()
        return self._library.program_revisions(self._handle, _STOP_NS)

    @overload
    def evaluate(self, rule: str, document: Json = ..., *, deadline: float | None = ...) -> Json: ...

    @overload
    def evaluate(
        self, rule: str, document: Json = ..., *, default: _Default, deadline: float | None = ...
    ) -> Json | _Default: ...

    def evaluate(
        self, rule: str, document: Json = _MISSING, *, default: Any = _MISSING, deadline: float | None = None
    ) -> Json:
        """The value of a rule or of data, `data.authz.allow` or `authz/allow`, for the input `document`.

        Without a document there is no input. A set becomes a list in OPA's order. Where the rule is undefined, the
        `default` if one is given. Raises OpaUndefined, OpaDeadlineExceeded, OpaEvaluationFailed.
        """
        found = self.query(f"{_RESULT} = {_reference(rule)}", document, deadline=deadline)
        if found:
            return found[0][_RESULT]
        if default is not _MISSING:
            return default
        raise OpaUndefined(f"{_reference(rule)} is undefined", advice="load what defines it, or give a default")

    def query(self, query: str, document: Json = _MISSING, *, deadline: float | None = None) -> list[dict[str, Json]]:
        """Every solution of a Rego query, as `opa eval` finds them: the values of its variables.

        `x = data.users[name].age; x > 17` gives `[{"name": "ada", "x": 36}]`; no solution is an empty list, and a query
        without variables that holds is `[{}]`. A query that is asked again is not compiled again: let what
        changes be input.
        """
        self._require_open()
        encoded = None if document is _MISSING else _encoded(document)
        within = _nanoseconds(self._deadline if deadline is None else deadline)
        with _advised():
            answer = self._library.query_program(self._handle, query.encode(), encoded, within)
        try:
            solutions: list[dict[str, Json]] = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise OpaAnswerInvalid("a result is more than Python's JSON can hold", advice="ask for less") from error
        return solutions

    def reload(self) -> None:
        """Load everything again from where it came, for all threads at once.

        Evaluations under way end by what they began with. Where it cannot be loaded, what was there before goes on.
        Raises PolicyInvalid, OpaStartFailed, OpaDeadlineExceeded.
        """
        self._require_open()
        with _advised():
            self._library.reload_program(self._handle, self._timeout_ns)

    def close(self) -> None:
        """Release everything; later calls raise OpaUnavailable. Closing twice is fine."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_open(self) -> None:
        if not self._finalizer.alive:
            raise OpaUnavailable("this Opa is closed", advice="make a new one")


@contextmanager
def _advised() -> Iterator[None]:
    """Errors of the library with advice for this class: what they say by default is of this program's settings."""
    try:
        yield
    except OpaStartFailed as error:
        raise OpaStartFailed(error.message, advice="name what exists and can be read") from error
    except OpaDeadlineExceeded as error:
        raise OpaDeadlineExceeded(error.message, advice="give it more time, or less to do") from error


def _close(library: Library, handle: int) -> None:
    if is_alive():  # in a forked child there is nothing left to release
        library.close_program(handle)


def _reference(rule: str) -> str:
    """A rule as Rego refers to it: `authz/allow` is `data["authz"]["allow"]`, and what begins with data stays."""
    if rule == "data" or rule.startswith(("data.", "data[")):
        return rule
    steps = rule.strip("/").split("/")
    if not all(steps):
        raise OpaEvaluationFailed(f"{rule!r} is no rule", advice="write it as data.authz.allow or authz/allow")
    return "data" + "".join(f"[{json.dumps(step)}]" for step in steps)


def _encoded(document: Json) -> bytes:
    try:
        return json.dumps(document, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise OpaEvaluationFailed(f"what is given is no JSON: {error}", advice="give JSON values alone") from error


def _nanoseconds(seconds: float) -> int:
    return round(seconds * _NANOSECONDS)
