"""The server over HTTP: Starlette for the routes, uvicorn for the connections. The one importer of both.

Rules:
- A request is understood, then admitted (`access`), then its body is read, bounded in size and time; then it is
  handled, on a thread unless it waits. What waits ends when its client goes away.
- What a client sees of a fault is that there was one; operators read why. Nothing logged holds a token.
- To stop is to answer what waits, finish what was begun, and end. A certificate that changed is read without an end.
"""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import time
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.errors.server import ServerNotStarted
from flowyml_policy.mask.text import mask
from flowyml_policy.records.instant import utc_now
from flowyml_policy.records.server import Token
from flowyml_policy.server.certificate import CertificateFile, make_context
from flowyml_policy.server.configuration import Configuration, Limits, TlsSettings
from flowyml_policy.server.exchange import Answer, Call, Operation, Poll, Refused
from flowyml_policy.server.incoming import Incoming
from flowyml_policy.server.service import Service, Tell

LARGEST_HEAD: Final = 64 << 10
"""Bytes of a request's head, its address among them."""
STOP_SECONDS: Final = 15

_CHUNK: Final = 64 << 10
_CONNECTIONS_BESIDE_POLLS: Final = 2_000
_CERTIFICATE_SECONDS: Final = 1.0
_LONGEST_ADDRESS: Final = 100
_TLS_BUFFER: Final = 16 << 10
"""Bytes that asyncio keeps for each connection with TLS, in place of its 256 KiB: the largest record that TLS has."""

_ENDED_BY: Final = (signal.SIGINT, signal.SIGTERM)
_SAFE: Final = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


class _Application:
    """The routes of one server's operations."""

    def __init__(self, service: Service, tell: Tell) -> None:
        self._service = service
        self._tell = tell
        values = service.configuration.values
        self._is_behind_proxy = values.behind_proxy
        self._incoming = Incoming(largest=values.limits.body, seconds=values.limits.body_timeout)
        self.starlette = Starlette(
            routes=[
                Route(operation.path, self._endpoint(operation), methods=[operation.method])
                for operation in service.operations()
            ],
            exception_handlers={HTTPException: self._no_such},
            lifespan=self._lifespan,
        )
        self.starlette.router.redirect_slashes = False

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        beside = asyncio.create_task(self._service.run_tasks())
        try:
            yield
        finally:
            beside.cancel()
            with suppress(asyncio.CancelledError):
                await beside

    async def _no_such(self, request: Request, error: Exception) -> Response:
        """What the routes do not know: another path, or another method of a path."""
        assert isinstance(error, HTTPException)  # noqa: S101  what it is registered for
        status = HTTPStatus(error.status_code)
        refused = Refused(status, "no_such_" + ("method" if status == HTTPStatus.METHOD_NOT_ALLOWED else "path"), "")
        refused.message = status.phrase.lower()
        answer = refused.answer._replace(headers={**refused.answer.headers, **(error.headers or {})})
        self._log(request, None, answer, time.monotonic(), None)
        return _response(answer)

    def _endpoint(self, operation: Operation | Poll) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            started = time.monotonic()
            token = None
            try:
                token = self._admitted(operation, request)
                answer = await self._answered(operation, request, token)
            except Refused as refused:
                answer = refused.answer
            except ClientDisconnect:
                answer = Answer(499)
            except asyncio.CancelledError:  # what takes longer than an end may
                answer = Refused(HTTPStatus.SERVICE_UNAVAILABLE, "stopping", "the server ends; ask again").answer
            except FlowymlPolicyError as error:
                answer = self._failed(operation, HTTPStatus.SERVICE_UNAVAILABLE, error.code, str(error))
            except Exception as error:  # noqa: BLE001  a fault of one request never ends the server
                answer = self._failed(
                    operation, HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", f"{type(error).__name__}: {error}"
                )
            self._log(request, operation, answer, started, None if token is None else token.name)
            return _response(answer)

        return endpoint

    def _admitted(self, operation: Operation | Poll, request: Request) -> Token | None:
        name = request.path_params.get("name")
        authorization = request.headers.getlist("authorization")
        return self._service.access.admit(operation, authorization, self._client(request), name)

    def _client(self, request: Request) -> str:
        """The address of who asks. Of X-Forwarded-For only the end is the proxy's: anybody can send a beginning."""
        if self._is_behind_proxy:
            said = ",".join(request.headers.getlist("x-forwarded-for")).rpartition(",")[2].strip()
            if said:
                return said[:_LONGEST_ADDRESS]
        return "" if request.client is None else request.client.host

    async def _answered(self, operation: Operation | Poll, request: Request, token: Token | None) -> Answer:
        call = Call(
            names=request.path_params,
            headers=_headers(request),
            query=tuple(request.query_params.multi_items()),
            token=token,
            client=self._client(request),
            began=time.monotonic(),
        )
        if isinstance(operation, Poll):
            found = operation.answer(call)
            return found if isinstance(found, Answer) else await self._waited(found, request)
        if operation.body:
            declared = request.headers.get("content-length", "")
            async with self._incoming.body(declared, request.stream()) as body:
                return await _handled(operation, call._replace(body=body))
        return await _handled(operation, call)

    async def _waited(self, answer: Awaitable[Answer], request: Request) -> Answer:
        """What is answered after a wait, which ends when the client goes away."""
        gone = asyncio.create_task(_cancelled_when_gone(request, asyncio.current_task()))
        try:
            return await answer
        except asyncio.CancelledError as error:
            if not gone.done():  # it is the server that ends
                raise
            raise ClientDisconnect from error
        finally:
            gone.cancel()

    def _failed(self, operation: Operation | Poll, status: int, code: str, why: str) -> Answer:
        self._tell(json.dumps({"at": utc_now(), "error": code, "path": operation.path, "why": mask(why)}))
        headers = {"retry-after": "5"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        return Refused(status, code, "the server could not do this; its log says why", headers=headers).answer

    def _log(
        self, request: Request, operation: Operation | Poll | None, answer: Answer, started: float, name: str | None
    ) -> None:
        seconds = time.monotonic() - started
        path = "other" if operation is None else operation.path
        self._service.metrics.count(request.method, path, answer.status, seconds)
        line = {
            "at": utc_now(),
            "client": self._client(request),
            "token": name,
            "method": request.method,
            "path": mask(request.scope["path"]),
            "status": answer.status,
            "bytes": len(answer.body),
            "ms": round(seconds * 1000, 1),
        }
        self._tell(json.dumps(line))


class _Connection(HttpToolsProtocol):
    """A connection whose requests must come in time, with a head of bounded size, and whose answers must be taken."""

    limits: Limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head = 0
        self._is_head = True
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        self._is_taken()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """What comes next must be a request: uvicorn's own timer ends with any byte, a blank line's too."""
        super().on_response_complete()
        if self._timer is None and self.cycle.response_complete:  # else the next has begun already
            self._expect_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.limits.body_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        self._is_taken()
        super().resume_writing()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0
        self._is_head = True
        self._expect_head()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        if self._is_head:  # else it stands behind the body, and uvicorn would take it for one of the head
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_is_there()
        self._is_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():
            super().data_received(data)

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > LARGEST_HEAD:
            raise ValueError("the head of the request is too large")  # httptools answers 400 and closes

    def _is_taken(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _expect_head(self) -> None:
        self._head_is_there()
        self._timer = self.loop.call_later(self.limits.header_timeout, self.transport.close)

    def _head_is_there(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Server(uvicorn.Server):
    """Answers what waits before it ends."""

    def __init__(self, config: uvicorn.Config, service: Service, listening: Callable[[int], None]) -> None:
        super().__init__(config)
        self._service = service
        self._listening = listening

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End in order when it is told to: uvicorn's own would raise the signal again, and so never exit with 0."""
        before = {number: signal.signal(number, self.handle_exit) for number in _ENDED_BY}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._listening(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: Any = None) -> None:
        self._service.stop()
        await super().shutdown(sockets)


def run(configuration: Configuration, tell: Tell) -> None:
    """Run the server until it is told to end (SIGTERM, SIGINT). `tell` gets a line for each request and event.

    Raises ServerError where it cannot start.
    """
    SSLProtocol.max_size = _TLS_BUFFER  # type: ignore[attr-defined]  # typeshed does not know it
    service = Service(configuration, tell)
    try:
        service.start()
        application = _Application(service, tell)
        config = _uvicorn_config(configuration, application.starlette)
        server = _Server(config, service, lambda port: tell(_started(configuration, port)))
        tls = configuration.values.tls
        if tls is not None and config.ssl is not None:
            certificate = CertificateFile(configuration, tls, config.ssl)
            service.add_task("certificate", _CERTIFICATE_SECONDS, certificate.reload, is_vital=False)
        try:
            server.run()
        except SystemExit as error:
            raise ServerNotStarted(f"the server cannot listen at {configuration.values.listen}") from error
    finally:
        service.close()


def _started(configuration: Configuration, port: int) -> str:
    host, _ = configuration.listen
    scheme = "http" if configuration.values.tls is None else "https"
    shown = f"[{host}]" if ":" in host else host
    return json.dumps({"at": utc_now(), "event": "started", "address": f"{scheme}://{shown}:{port}"})


def _uvicorn_config(configuration: Configuration, application: Starlette) -> uvicorn.Config:
    values = configuration.values
    host, port = configuration.listen
    protocol = type("_Connection", (_Connection,), {"limits": values.limits})
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # it would believe the beginning of X-Forwarded-For
        limit_concurrency=values.limits.polls + _CONNECTIONS_BESIDE_POLLS,
        timeout_graceful_shutdown=STOP_SECONDS,
        backlog=4096,
        ssl_context_factory=None if values.tls is None else partial(_context, configuration, values.tls),
    )
    config.load()
    return config


def _context(configuration: Configuration, tls: TlsSettings, *_: object) -> ssl.SSLContext:
    return make_context(configuration, tls)


async def _handled(operation: Operation, call: Call) -> Answer:
    return await asyncio.get_running_loop().run_in_executor(operation.executor, operation.handle, call)


async def _cancelled_when_gone(request: Request, task: asyncio.Task[Any] | None) -> None:
    """Cancel `task`, one task for each that waits, when its client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    if task is not None:
        task.cancel()


def _headers(request: Request) -> dict[str, str]:
    """The headers of a request; what stands in several of one name is one list."""
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _response(answer: Answer) -> Response:
    headers = {**_SAFE, **answer.headers}
    if len(answer.body) <= _CHUNK:
        return Response(answer.body, answer.status, headers)
    headers["content-length"] = str(len(answer.body))
    return StreamingResponse(_chunks(answer.body), answer.status, headers)


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    """The body in parts, each sent once the one before it is under way: a slow client costs no copy of the rest."""
    view = memoryview(body)
    for start in range(0, len(view), _CHUNK):
        yield bytes(view[start : start + _CHUNK])
