"""Tokens: made once, kept as hashes, ended for good; and what each lets its owner do."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.errors.root import UsageError
from flowyml_policy.references.url import BadValue
from flowyml_policy.server.access import Access
from flowyml_policy.server.exchange import Answer, Operation, Refused
from flowyml_policy.server.scopes import SCOPES, scope
from flowyml_policy.server.tokens import STALE_SECONDS, Tokens, TokensStale


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "server.db")


def test_token_is_found_by_its_secret_alone(tokens: Tokens, tmp_path: Path) -> None:
    secret = tokens.new(["logs:write", "bundles:read:company"])
    tokens.reload()
    found = tokens.find(secret)
    assert found is not None
    assert (found.name, found.scopes) == ("token 1", ("bundles:read:company", "logs:write"))
    assert tokens.find(secret[:-1] + ("A" if secret[-1] != "A" else "B")) is None
    assert tokens.find("") is None
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert secret.encode() not in stored
    assert secret.removeprefix("fps_").encode() not in stored


def test_token_that_is_revoked_or_expired_is_not_found(tokens: Tokens) -> None:
    kept, revoked = tokens.new(["operator"], name="ada"), tokens.new(["operator"], name="bob")
    short = tokens.new(["logs:write"], lifetime=0.001)
    tokens.reload()
    held = tokens.find(revoked)
    assert held is not None
    assert tokens.revoke("bob").revoked_at is not None
    tokens.reload()
    time.sleep(0.002)
    assert [tokens.find(one) is not None for one in (kept, revoked, short)] == [True, False, False]
    assert not tokens.is_current(held)
    assert tokens.revoke("2").revoked_at == tokens.revoke("bob").revoked_at


def test_revocation_by_another_process_holds_after_a_reload(tokens: Tokens, tmp_path: Path) -> None:
    secret = tokens.new(["logs:write"])
    tokens.reload()
    with closing(Tokens(tmp_path / "server.db")) as other:
        other.revoke("1")
    assert tokens.find(secret) is not None
    tokens.reload()
    assert tokens.find(secret) is None


def test_name_is_unique_for_ever(tokens: Tokens) -> None:
    tokens.new(["operator"], name="ada")
    tokens.revoke("ada")
    with pytest.raises(UsageError, match="there is a token of that name: ada"):
        tokens.new(["operator"], name="ada")


@pytest.mark.parametrize(
    ("scopes", "name"),
    [
        ([], None),
        (["stacks:write"], None),
        (["bundles:publish:company"], None),
        (["operator"], None),
        (["operators"], "ada"),
        (["logs:write:x"], None),
        (["operator"], "7"),
        (["operator"], "a b"),
        (["operator"], ""),
    ],
)
def test_token_that_would_mean_nothing_is_refused(tokens: Tokens, scopes: list[str], name: str | None) -> None:
    with pytest.raises(UsageError):
        tokens.new(scopes, name=name)
    assert tokens.list() == ()


def test_tokens_that_cannot_be_read_for_long_fails_closed(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tokens.new(["logs:write"])
    tokens.reload()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + STALE_SECONDS + 1)
    with pytest.raises(TokensStale):
        tokens.find(secret)


def test_tokens_of_a_damaged_file_are_an_error(tmp_path: Path) -> None:
    file = tmp_path / "server.db"
    with closing(Tokens(file)) as tokens:
        tokens.new(["logs:write"])
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP TABLE tokens")
    with closing(Tokens(file)) as tokens, pytest.raises(Exception, match="lacks a table of its schema"):
        tokens.reload()


@given(st.text(max_size=40))
def test_scope_is_one_of_the_known_or_refused(text: str) -> None:
    try:
        accepted = scope(text)
    except BadValue:
        return
    assert accepted in SCOPES or accepted.startswith(("bundles:read:", "bundles:publish:"))


def operation(wanted: str, *, is_named: bool = False) -> Operation:
    return Operation("GET", "/x", wanted, lambda _: Answer(), is_named=is_named)


def refused(access: Access, wanted: Operation, header: list[str], name: str | None = None) -> tuple[int, str] | None:
    try:
        access.admit(wanted, header, "192.0.2.1", name)
    except Refused as error:
        return error.status, error.code
    return None


def test_admission_goes_by_scope_and_name(tokens: Tokens) -> None:
    secret = tokens.new(["bundles:read:company", "operator"], name="ada")
    tokens.reload()
    access = Access(tokens, anonymous=["bundles:read:open"], failures_per_minute=20)
    bearer = [f"Bearer {secret}"]
    read, publish = operation("bundles:read", is_named=True), operation("bundles:publish", is_named=True)
    assert refused(access, read, bearer, "company") is None
    assert refused(access, read, bearer, "open") is None
    assert refused(access, read, [], "open") is None
    assert refused(access, read, bearer, "other") == (403, "no_scope")
    assert refused(access, publish, bearer, "company") == (403, "no_scope")
    assert refused(access, operation("bundles:read"), bearer, "company") == (403, "no_scope")
    assert refused(access, operation("operator"), bearer) is None
    assert refused(access, operation("stacks:read"), bearer) == (403, "no_scope")
    assert refused(access, read, [], "company") == (401, "no_token")
    assert refused(access, operation(""), []) is None


@pytest.mark.parametrize(
    "header",
    [["Bearer"], ["Bearer "], ["Basic eA=="], ["SECRET"], ["Bearer SECRET SECRET"], ["Bearer SECRET", "Bearer SECRET"]],
)
def test_header_that_is_malformed_is_no_token(tokens: Tokens, header: list[str]) -> None:
    secret = tokens.new(["operator"], name="ada")
    tokens.reload()
    access = Access(tokens, anonymous=[], failures_per_minute=20)
    sent = [one.replace("SECRET", secret) for one in header]
    assert refused(access, operation("operator"), sent) == (401, "wrong_token")
    assert refused(access, operation(""), sent) == (401, "wrong_token")


def test_wrong_tokens_are_slowed_down_and_right_ones_are_not(tokens: Tokens) -> None:
    secret = tokens.new(["operator"], name="ada")
    tokens.reload()
    access = Access(tokens, anonymous=[], failures_per_minute=2)
    wanted = operation("operator")
    answers = [refused(access, wanted, ["Bearer wrong"]) for _ in range(4)]
    assert answers == [(401, "wrong_token")] * 2 + [(429, "too_many_failures")] * 2
    assert refused(access, wanted, [f"Bearer {secret}"]) is None
