"""The OPA library, called through ctypes. The only module that knows of C.

Rules:
- An answer is copied and its memory given back before anything looks at it.
- The library belongs to this very version of the package, or it is not used.
- The Go runtime does not survive a fork: in a child of the process that loaded the library every call raises
  at once, and nothing is called while objects are cleaned up there.
- Every call runs without the GIL.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flowyml_policy.errors.opa import (
    OpaDeadlineExceeded,
    OpaError,
    OpaEvaluationFailed,
    OpaStartFailed,
    OpaUnavailable,
    OpaUndefined,
    PolicyExpired,
    PolicyInvalid,
    PolicyRolledBack,
)
from flowyml_policy.opa.limits import check_limits
from flowyml_policy.version import VERSION

if TYPE_CHECKING:
    from flowyml_policy.records.record import Json

_SUFFIX: Final = "dylib" if sys.platform == "darwin" else "so"

LIBRARY_FILE: Final = Path(__file__).parent / "_lib" / f"libflowyml_opa.{_SUFFIX}"
"""Where the build puts the library."""

SIDECAR_ADVICE: Final = "run OPA as a server and set `policy.opa.mode: sidecar`"
FORK_ADVICE: Final = (
    "start workers with the `spawn` method, or make the PolicyEngine in the worker before anything else"
)

_ERRORS: Final[Mapping[str, type[OpaError]]] = {
    "closed": OpaUnavailable,
    "start": OpaStartFailed,
    "policy": PolicyInvalid,
    "rego": PolicyInvalid,
    "rolled_back": PolicyRolledBack,
    "expired": PolicyExpired,
    "stale": OpaUnavailable,
    "undefined": OpaUndefined,
    "deadline": OpaDeadlineExceeded,
}
"""The library's codes that have a leaf of their own; every other one is an evaluation that failed."""

_ADVICE: Final[Mapping[str, str]] = {
    "rego": "correct the file that OPA names",
    "stale": "let this machine reach the bundle's server, or raise policy.opa.max_age",
}
"""The advice for codes that know better than their leaf."""

_OK: Final = b'{"ok":'


class Library:
    """A loaded OPA library. Use `load`, which loads each file once."""

    def __init__(self, file: Path, *, version: str = VERSION) -> None:
        self.file = file
        _check_process()
        self._functions = _open(file)
        self._release = self._functions.flowyml_opa_release
        self._decide = self._functions.flowyml_opa_decide
        try:
            self.versions: Mapping[str, str] = json.loads(self._answer(self._functions.flowyml_opa_version()))
        except (ValueError, OpaError) as error:
            raise OpaUnavailable(f"the OPA library does not say its version: {file}") from error
        if self.versions["library"] != version:
            raise OpaUnavailable(
                f"the OPA library is of version {self.versions['library']}, this program of version {version}: {file}"
            )

    @property
    def opa_version(self) -> str:
        """The version of the OPA inside."""
        return self.versions["opa"]

    def start(self, settings: Mapping[str, Json]) -> dict[str, Json]:
        """Start an evaluator. Raises OpaStartFailed or PolicyInvalid with OPA's own reason."""
        _check_process()
        text = json.dumps(settings).encode()
        started: dict[str, Json] = json.loads(self._answer(self._functions.flowyml_opa_start(text, len(text))))
        return started

    def decide(self, handle: int, path: bytes | None, document: bytes, deadline_ns: int) -> bytes:
        """Evaluate `path`, or the decision for None: JSON `{"result": ..., "bundles": {name: revision}}`."""
        _check_process()
        if path is not None and b"\0" in path:  # C would take the path to end there
            raise OpaEvaluationFailed(f"{path.decode()!r} is no path below data")
        return self._answer(self._decide(handle, path, document, len(document), deadline_ns))

    def status(self, handle: int, deadline_ns: int) -> dict[str, Json]:
        """What is active, and why anything is not: `{"bundles": {...}, "failures": {...}}`."""
        _check_process()
        status: dict[str, Json] = json.loads(self._answer(self._functions.flowyml_opa_status(handle, deadline_ns)))
        return status

    def describe(self, handle: int, deadline_ns: int) -> dict[str, Json]:
        """What is loaded now, as `start` answers it."""
        _check_process()
        described: dict[str, Json] = json.loads(self._answer(self._functions.flowyml_opa_describe(handle, deadline_ns)))
        return described

    def stop(self, handle: int, deadline_ns: int) -> None:
        """Stop an evaluator; stopping twice is fine."""
        _check_process()
        self._answer(self._functions.flowyml_opa_stop(handle, deadline_ns))

    def check_globs(self, patterns: Sequence[str], deadline_ns: int) -> list[dict[str, str]]:
        """Those patterns that `glob.match` refuses: `[{"pattern", "reason"}]`."""
        _check_process()
        text = json.dumps(list(patterns)).encode()
        answer = self._functions.flowyml_opa_check_globs(text, len(text), deadline_ns)
        problems: list[dict[str, str]] = json.loads(self._answer(answer))
        return problems

    def inspect(self, files: Sequence[Path], deadline_ns: int) -> dict[str, Json]:
        """Packages, rules and annotations of Rego files: `{"modules": [...], "problems": [...]}`."""
        _check_process()
        text = json.dumps([str(file) for file in files]).encode()
        answer = self._functions.flowyml_opa_inspect(text, len(text), deadline_ns)
        inspection: dict[str, Json] = json.loads(self._answer(answer))
        return inspection

    def load_program(self, settings: Mapping[str, Json]) -> int:
        """Load any Rego and data (libopa/internal/engine, ProgramSettings); answer the program's handle."""
        _check_process()
        text = json.dumps(settings).encode()
        return int(json.loads(self._answer(self._functions.flowyml_opa_load(text, len(text))))["handle"])

    def query_program(self, handle: int, query: bytes, document: bytes | None, deadline_ns: int) -> bytes:
        """Every solution of a query: JSON `[{variable: value}]`. Without a document there is no input."""
        _check_process()
        if b"\0" in query:  # C would take the query to end there
            raise OpaEvaluationFailed("the query is no Rego: it holds a NUL")
        size = 0 if document is None else len(document)
        return self._answer(self._functions.flowyml_opa_query(handle, query, document, size, deadline_ns))

    def reload_program(self, handle: int, deadline_ns: int) -> None:
        """Load a program again from where it came; where that fails, it stays as it is."""
        _check_process()
        self._answer(self._functions.flowyml_opa_reload(handle, deadline_ns))

    def program_revisions(self, handle: int, deadline_ns: int) -> dict[str, str]:
        """The revisions of a program's bundles, by the places that they were loaded from."""
        _check_process()
        answer = self._answer(self._functions.flowyml_opa_revisions(handle, deadline_ns))
        revisions: dict[str, str] = json.loads(answer)
        return revisions

    def close_program(self, handle: int) -> None:
        """Forget a program; twice is fine."""
        _check_process()
        self._answer(self._functions.flowyml_opa_close(handle))

    def command(self, argv: Sequence[str]) -> int:
        """Run OPA's command line on this process's streams. Some commands end the process themselves."""
        _check_process()
        text = json.dumps(list(argv)).encode()
        return int(self._answer(self._functions.flowyml_opa_command(text, len(text))))

    def _answer(self, address: int | None) -> bytes:
        if not address:
            raise OpaEvaluationFailed("the OPA library gave no answer")
        try:
            answer = ctypes.c_char_p(address).value or b""
        finally:
            self._release(address)
        if answer.startswith(_OK):
            return answer[len(_OK) : -1]
        error = json.loads(answer)["error"]
        code = error["code"]
        raise _ERRORS.get(code, OpaEvaluationFailed)(error["message"], advice=_ADVICE.get(code))


def _open(file: Path) -> ctypes.CDLL:
    """Load the file and declare its functions (libopa/main.go)."""
    if _is_musl():
        raise OpaUnavailable("the OPA library needs glibc, this system has musl", advice=SIDECAR_ADVICE)
    if not file.is_file():
        raise OpaUnavailable(f"the OPA library is missing: {file}")
    global _process  # there is one Go runtime in a process, and it belongs to that process
    before = _process
    try:
        _process = os.getpid()  # before it is loaded: a child that is forked meanwhile has half a runtime
        functions = ctypes.CDLL(str(file))
    except OSError as error:
        _process = before
        raise OpaUnavailable(f"the OPA library cannot be loaded: {file}: {error}") from error
    try:
        text, size, duration, handle = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int64, ctypes.c_uint64
        for name, arguments in {
            "version": [],
            "start": [text, size],
            "decide": [handle, text, text, size, duration],
            "status": [handle, duration],
            "describe": [handle, duration],
            "stop": [handle, duration],
            "check_globs": [text, size, duration],
            "inspect": [text, size, duration],
            "load": [text, size],
            "query": [handle, text, text, size, duration],
            "reload": [handle, duration],
            "revisions": [handle, duration],
            "close": [handle],
            "command": [text, size],
        }.items():
            function = getattr(functions, f"flowyml_opa_{name}")
            function.argtypes = arguments
            function.restype = ctypes.c_void_p
        functions.flowyml_opa_release.argtypes = [ctypes.c_void_p]
        functions.flowyml_opa_release.restype = None
    except AttributeError as error:
        raise OpaUnavailable(f"the OPA library cannot be loaded: {file}: {error}") from error
    return functions


def _is_musl() -> bool:
    """Whether the C library is musl, where loading a Go library ends the process."""
    if sys.platform != "linux":
        return False
    try:
        return not os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        return True


_libraries: dict[Path, Library] = {}
_lock = threading.Lock()
_process: int | None = None
"""The process that loaded the first library, or is about to, and with it the Go runtime."""


def is_alive() -> bool:
    """Whether libraries can be called, or loaded, in this process: none was loaded before it was forked."""
    return _process is None or _process == os.getpid()


def _check_process() -> None:
    if not is_alive():
        raise OpaUnavailable(
            f"OPA was loaded by process {_process}, and does not live on in its forked child {os.getpid()}",
            advice=FORK_ADVICE,
        )


def load(file: Path = LIBRARY_FILE, *, is_limited: bool = False) -> Library:
    """The library in `file`, loaded on first use. Raises OpaUnavailable.

    The limits of this process are looked at before, unless it set them itself.
    """
    _check_process()
    library = _libraries.get(file)
    if library is None:
        with _lock:
            if not is_limited:
                check_limits()
            library = _libraries.get(file) or Library(file)
            _libraries[file] = library
    return library


def _renew_lock() -> None:
    global _lock  # one that another thread holds at the fork is held for ever in the child
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
