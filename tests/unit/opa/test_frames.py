"""Frames as they come over a socket: whole, in pieces, too long, cut off."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from threading import Thread
from time import monotonic

import pytest

from flowyml_policy.errors import opa
from flowyml_policy.errors.opa import OpaEvaluationFailed
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.errors.settings import FeatureUnavailable
from flowyml_policy.opa import frames

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.mark.parametrize("size", [0, 1, 2**18, 2**21])
def test_frame_that_is_sent_is_received(pair: Pair, size: int) -> None:
    sender = Thread(target=frames.send, args=(pair[0], frames.ANSWER, b"x" * size, monotonic() + 10))
    sender.start()
    assert frames.receive(pair[1], monotonic() + 10) == (frames.ANSWER, b"x" * size)
    sender.join()


def test_frame_in_pieces_is_put_together(pair: Pair) -> None:
    def send() -> None:
        for byte in struct.pack(">cI", frames.ANSWER, 3) + b"abc":
            pair[0].sendall(bytes([byte]))

    sender = Thread(target=send)
    sender.start()
    assert frames.receive(pair[1], monotonic() + 10) == (frames.ANSWER, b"abc")
    sender.join()


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", frames.Silent),
        (b"A\0\0", frames.Silent),
        (b"A\0\0\0\2x", frames.Silent),
        (b"A\0\0\0\1xy", frames.Garbled),
        (b"A\xff\xff\xff\xff", frames.Garbled),
    ],
)
def test_frame_that_is_not_whole_is_none(pair: Pair, sent: bytes, error: type[Exception]) -> None:
    pair[0].sendall(sent)
    with pytest.raises(error):
        frames.receive(pair[1], monotonic() + 0.05)


@pytest.mark.parametrize("sent", [b"", b"A\0", b"A\0\0\0\2x"])
def test_frame_whose_sender_went_away_is_none(pair: Pair, sent: bytes) -> None:
    pair[0].sendall(sent)
    pair[0].close()
    with pytest.raises(frames.Gone):
        frames.receive(pair[1], monotonic() + 10)


def test_frame_that_nobody_takes_is_given_up(pair: Pair) -> None:
    with pytest.raises(frames.Silent):
        frames.send(pair[0], frames.DECIDE, b"x" * 2**24, monotonic() + 0.05)
    pair[1].close()
    with pytest.raises(frames.Gone):
        frames.send(pair[0], frames.DECIDE, b"x", monotonic() + 10)


def test_document_that_is_too_long_is_not_sent(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "LONGEST", 3)
    with pytest.raises(OpaEvaluationFailed, match="a document of 4 bytes is too large"):
        frames.send(pair[0], frames.DECIDE, b"abcd")


@pytest.mark.parametrize("path", ["", "flowyml/main/catalogue", "é"])
def test_query_is_what_it_was(path: str) -> None:
    assert frames.decode_query(frames.encode_query(path, b"{}\0")) == (path, b"{}\0")


def leaves(kind: type[FlowymlPolicyError]) -> Iterator[type[FlowymlPolicyError]]:
    yield kind
    for leaf in kind.__subclasses__():
        yield from leaves(leaf)


@pytest.mark.parametrize(
    "kind", [*(one for one in leaves(opa.OpaError) if one.__module__ == opa.__name__), FeatureUnavailable]
)
def test_error_crosses_with_its_class_and_words(kind: type[FlowymlPolicyError]) -> None:
    crossed = frames.decode_error(frames.encode_error(kind("what: where", advice="what to do")))
    assert (type(crossed), crossed.message, crossed.advice) == (kind, "what: where", "what to do")


def test_error_of_an_unknown_code_is_undecided() -> None:
    crossed = frames.decode_error(b'{"code": "new", "message": "m", "advice": "a"}')
    assert (type(crossed), crossed.message, crossed.advice) == (OpaEvaluationFailed, "m", "a")


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"\xff", b'{"code": 1}'])
def test_error_that_is_none_is_garbled(payload: bytes) -> None:
    with pytest.raises(frames.Garbled):
        frames.decode_error(payload)
