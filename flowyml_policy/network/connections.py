"""Connections that are given up when the time of their call is over, and the proxy that they go through."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar
from urllib.parse import unquote

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import make_headers, parse_url

from flowyml_policy.network.address import Address
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.failures import HttpFailure, late

_KEPT: Final = 16
"""How many connections to one host are kept for the next requests."""

_Answer = TypeVar("_Answer")


class Call(Generic[_Answer]):
    """One call's work, in a thread of its own.

    A name service, and a server that sends one byte at a time, can hold a single call of the standard library for
    longer than its timeout, and on the main thread would keep Ctrl-C waiting.
    """

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.over = threading.Event()
        self._done = threading.Event()
        self._answer: _Answer | None = None
        self._error: BaseException | None = None
        self._connection: HTTPConnection | None = None
        self._socket: socket.socket | None = None

    def result(self, work: Callable[[], _Answer]) -> _Answer:
        """What `work` returns or raises. Raises HttpFailure where it takes too long, and leaves it to end alone."""
        self.left()
        thread = threading.Thread(target=self._run, args=(work,), name="flowyml-policy-http", daemon=True)
        thread.start()
        try:
            # Ctrl-C in Thread.join would make a thread seem to have ended that has not.
            is_done = self._done.wait(self.deadline.left)
        except BaseException:
            self._end()
            raise
        if not is_done:
            self._end()
            # Whatever comes now is no answer: headers that were cut off by the shut socket would pass for whole ones.
            raise late(self.deadline)
        if self._answer is not None:
            return self._answer
        if self._error is None or not self.deadline.left:
            raise late(self.deadline) from self._error
        raise self._error

    def left(self) -> float:
        """Seconds that are left, more than none. Raises HttpFailure where the call is over."""
        left = self.deadline.left
        if self.over.is_set() or not left:
            raise late(self.deadline)
        return left

    def use(self, connection: HTTPConnection) -> None:
        """Note what the thread waits for. Raises HttpFailure before it asks what nobody waits for any longer."""
        self._connection = connection
        self._socket = connection.sock or self._socket  # an answer may take it from its connection
        self.left()

    def _run(self, work: Callable[[], _Answer]) -> None:
        _thread.call = self
        try:
            self._answer = work()
        except BaseException as error:  # noqa: BLE001  it is raised where the answer is waited for
            self._error = error
        finally:
            self._done.set()

    def _end(self) -> None:
        """Shut the socket, so that the thread ends."""
        self.over.set()
        for found in (self._connection and self._connection.sock, self._socket):
            if found:
                with suppress(OSError, AttributeError):
                    found.shutdown(socket.SHUT_RDWR)


class _Thread(threading.local):
    call: Call[Any]


_thread: Final = _Thread()


class _Connection(HTTPConnection):
    """A connection that its call knows of from before it is made."""

    def connect(self) -> None:
        _thread.call.use(self)
        super().connect()
        _thread.call.use(self)

    def putrequest(self, *given: Any, **options: Any) -> None:
        _thread.call.use(self)
        super().putrequest(*given, **options)


class _TlsConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def open_manager(context: ssl.SSLContext | None, proxy: str | None) -> PoolManager:
    """Make what keeps the connections of one way to servers. Raises HttpFailure for an unusable proxy."""
    try:
        made = PoolManager(maxsize=_KEPT, ssl_context=context) if proxy is None else _proxy_manager(context, proxy)
    except (HTTPError, ValueError) as error:
        raise HttpFailure("proxy", "the address of the proxy cannot be used", "correct HTTPS_PROXY") from error
    made.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return made


def proxy_of(address: Address, environ: Mapping[str, str]) -> str | None:
    """The proxy that the environment names for `address`: for https to other machines, if to any."""
    proxy = _variable(environ, "https_proxy")
    if not proxy or address.scheme != "https" or address.is_loopback:
        return None
    for name in _variable(environ, "no_proxy").lower().replace(",", " ").split():
        if name == "*" or f".{address.host}".endswith(f".{name.lstrip('.')}") or name == address.place:
            return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _proxy_manager(context: ssl.SSLContext | None, proxy: str) -> ProxyManager:
    login = parse_url(proxy).auth
    headers = None if login is None else make_headers(proxy_basic_auth=unquote(login))
    own = ssl.create_default_context()  # a CA of the server's own says nothing of the proxy
    return ProxyManager(proxy, maxsize=_KEPT, proxy_headers=headers, proxy_ssl_context=own, ssl_context=context)


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper(), "")
