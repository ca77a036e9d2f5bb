"""Decisions sent to the server of `policy.audit.report_to`, as OPA sends its decision log.

Rules:
- Nothing here delays a decision, changes it or fails it. What is not acknowledged is sent the next time.
- It is sent when the recorder is closed and when the process ends, within `SECONDS` altogether; a process that goes on
  sends every `EVERY` seconds on a thread, as long as there is something to send.
- The token goes to that server alone, and no redirect is followed. A page of HTML is no acknowledgement.
- Two processes may send the same decision: the server keeps it once.
"""

from __future__ import annotations

import atexit
import gzip
import json
import os
import socket
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from flowyml_policy.audit.outbox import Outbox, Waiting
from flowyml_policy.audit.recorder import AuditRecorder
from flowyml_policy.errors.audit import AuditError
from flowyml_policy.mask.text import mask
from flowyml_policy.network.address import AddressRefused
from flowyml_policy.network.bearer import bearer
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.failures import HttpFailure
from flowyml_policy.network.messages import Request, Response
from flowyml_policy.network.offline import is_offline
from flowyml_policy.records.instant import utc_now
from flowyml_policy.records.record import Json
from flowyml_policy.records.result import DecisionRecord
from flowyml_policy.settings.settings import Settings
from flowyml_policy.version import VERSION

if TYPE_CHECKING:
    from flowyml_policy.network.http import Client

SECONDS: Final = 2.0
EVERY: Final = 30.0
APP: Final = "flowyml-policy"

_PATIENCE: Final = 0.5
"""Seconds to wait for other processes that write the audit: decisions go first."""
_LARGEST_ANSWER: Final = 1 << 16
_SUCCESS: Final = range(200, 300)
_TOO_LARGE: Final = 413
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class NotReported(Exception):
    """The server did not take what it was sent; the message says why, and holds no secret."""


class Destination(NamedTuple):
    """Where reports go, and what the settings say of it."""

    url: str
    token_env: str | None = None
    ca: Path | None = None


class _Process:
    """What a Reporter holds in one process: a child of a fork may use none of its parent's threads and locks."""

    def __init__(self, outbox: Outbox) -> None:
        self.pid = os.getpid()
        self.outbox = outbox
        self.lock = threading.Lock()
        self.sending = threading.Lock()
        self.over = threading.Event()
        self.thread: threading.Thread | None = None
        self.client: Client | None = None
        self.has_news = False


class Reporter:
    """Sends what the audit `path` holds and the server has not acknowledged. Safe from many threads and after fork.

    Closed, it starts anew with the next decision. No method raises but `try_out`.
    """

    def __init__(
        self, path: Path, destination: Destination, *, environ: Mapping[str, str] | None = None, every: float = EVERY
    ) -> None:
        self._path = path
        self._to = destination
        self._url = destination.url.rstrip("/")
        self._environ = os.environ if environ is None else environ
        self._every = every
        self._own = self._started()

    def wake(self) -> None:
        """Note that there is something to send, and see to it that it will be."""
        if self._own.pid != os.getpid() or self._own.over.is_set():
            self._own = self._started()
        own = self._own
        with own.lock:
            own.has_news = True
            if own.thread is None:
                own.thread = threading.Thread(target=self._run, args=(own,), name="flowyml-policy-reports", daemon=True)
                with suppress(RuntimeError):  # the process is about to end, which sends it too
                    own.thread.start()

    def close(self, deadline: Deadline | None = None) -> None:
        """Send what is there, within SECONDS, and stop. What cannot be sent is told on stderr, once a process."""
        own = self._own
        _open.discard(self)
        if own.pid != os.getpid() or own.over.is_set():
            return
        own.over.set()
        if own.has_news:
            with suppress(Exception):
                sys.stdout.flush()  # who waits for the answer is not to wait for the server too
            trouble = self.report(deadline or Deadline(SECONDS))
            if trouble is not None:
                _tell(self._url, trouble)
        own.outbox.close()
        if own.client is not None:
            own.client.close()

    def report(self, deadline: Deadline) -> str | None:
        """Send what is there, as far as the time goes; why not all of it was, None where it was."""
        own = self._own
        if not own.sending.acquire(timeout=deadline.left):
            return "the server is slow"
        try:
            own.has_news = False
            self._send_all(own.outbox, deadline)
        except (NotReported, AuditError) as error:
            own.has_news = True
            return mask(str(error))
        except Exception as error:  # noqa: BLE001  a decision never fails for it
            own.has_news = True
            return mask(f"unexpected {type(error).__name__}: {error}")
        finally:
            own.sending.release()
        return None

    def try_out(self, deadline: Deadline) -> int:
        """Ask the server whether it is there. How many decisions wait for it. Raises NotReported, AuditError."""
        self._token()
        self._exchange(Request("GET", f"{self._url}/health", _LARGEST_ANSWER), deadline)
        return self._own.outbox.waiting()

    def _started(self) -> _Process:
        _open.add(self)
        return _Process(Outbox(self._path, self._url, timeout=_PATIENCE))

    def _run(self, own: _Process) -> None:
        """Send now and then, until there is nothing to send."""
        while not own.over.wait(self._every):
            self.report(Deadline(SECONDS))
            with own.lock:
                if not own.has_news:
                    own.thread = None
                    return

    def _send_all(self, outbox: Outbox, deadline: Deadline) -> None:
        labels = {"id": outbox.client_id(), "version": VERSION, "app": APP, "host": mask(socket.gethostname())}
        after = outbox.acknowledged()
        while chunk := outbox.chunk(after):
            self._send(chunk, labels, deadline)
            after = chunk[-1].seq
            with suppress(AuditError):  # sent again next time, which does no harm
                outbox.acknowledge(after, utc_now())
        revisions = outbox.revisions()
        bundles = {name: {"name": name, "active_revision": revision} for name, revision in revisions.items()}
        self._post("/status", {"labels": labels, "bundles": bundles}, deadline)

    def _send(self, chunk: Sequence[Waiting], labels: dict[str, str], deadline: Deadline) -> None:
        """Send a chunk; one that is too large in halves, a single event that is without what was judged."""
        response = self._post("/logs", [{"labels": labels, **one.event} for one in chunk], deadline, may_be_large=True)
        if response.status != _TOO_LARGE:
            return
        if len(chunk) > 1:
            half = len(chunk) // 2
            self._send(chunk[:half], labels, deadline)
            self._send(chunk[half:], labels, deadline)
            return
        event = {key: value for key, value in chunk[0].event.items() if key != "input"}
        self._post("/logs", [{"labels": labels, **event, "erased": ["/input"]}], deadline)

    def _post(self, path: str, body: Json, deadline: Deadline, *, may_be_large: bool = False) -> Response:
        """Post `body`. Raises NotReported for any answer but a success, or 413 where that is foreseen."""
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Accept": "application/json"}
        packed = gzip.compress(_encode(body).encode(), 6)
        request = Request("POST", self._url + path, _LARGEST_ANSWER, headers, packed, authorization=self._token())
        response = self._exchange(request, deadline)
        if may_be_large and response.status == _TOO_LARGE:
            return response
        if response.status not in _SUCCESS:
            raise NotReported(f"the server answered {response.status}")
        if "html" in response.headers.get("content-type", "").lower():
            raise NotReported("the server answered with a page of HTML, as a sign-in page is")
        return response

    def _exchange(self, request: Request, deadline: Deadline) -> Response:
        from flowyml_policy.network.http import Client

        if self._own.client is None:
            self._own.client = Client(ca=self._to.ca, environ=self._environ)
        try:
            return self._own.client.send(request, deadline)
        except AddressRefused as error:
            raise NotReported("the address is not asked: it is no https, or http on this machine") from error
        except HttpFailure as failure:
            raise NotReported(failure.what) from failure

    def _token(self) -> str | None:
        if self._to.token_env is None:
            return None
        token = self._environ.get(self._to.token_env, "").strip()
        authorization = bearer(token)
        if authorization is None:
            raise NotReported(f"the variable {self._to.token_env} holds no token")
        return authorization


class ReportingRecorder:
    """A Recorder whose decisions are reported too, after they are recorded."""

    def __init__(self, recorder: AuditRecorder, reporter: Reporter) -> None:
        self._recorder = recorder
        self._reporter = reporter

    def record(self, records: Sequence[DecisionRecord]) -> None:
        """Append `records` in order, all or none. Raises only AuditError."""
        self._recorder.record(records)
        if records:
            self._reporter.wake()

    def close(self) -> None:
        """Report, and release the file. Closing twice is fine."""
        self._recorder.close()
        self._reporter.close()


def open_reporter(settings: Settings, *, environ: Mapping[str, str] | None = None) -> Reporter | None:
    """What reports the decisions of `settings`; None where they name no server, or none is to be asked.

    Raises UsageError for a FLOWYML_POLICY_OFFLINE that says neither.
    """
    report_to = settings.policy.audit.report_to
    if report_to is None or is_offline(os.environ if environ is None else environ):
        return None
    destination = Destination(report_to.url, report_to.token_env, settings.report_ca)
    return Reporter(settings.audit_path, destination, environ=environ)


_open: Final[weakref.WeakSet[Reporter]] = weakref.WeakSet()
"""Those that were not closed yet."""
_told: Final[set[int]] = set()


def _tell(url: str, trouble: str) -> None:
    """Say once a process that something is left to be sent."""
    if os.getpid() in _told:
        return
    _told.add(os.getpid())
    with suppress(Exception):
        sys.stderr.write(f"note: decisions are not reported yet: {mask(url)}: {trouble}; they are sent the next time\n")
        sys.stderr.flush()


def _close_all() -> None:
    """At the end of the process: all of them within one time."""
    deadline = Deadline(SECONDS)
    for reporter in list(_open):
        reporter.close(deadline)


# atexit itself is too late: from Python 3.12 on no thread starts there, and a request is made on one.
getattr(threading, "_register_atexit", atexit.register)(_close_all)
