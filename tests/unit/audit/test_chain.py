from __future__ import annotations

import hashlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.audit.chain import GENESIS, event_hash, rows_digest, text_digest

FIELDS = (1, "e1", "2026-11-20T10:00:00Z", "PolicyChecked", "prod", None, "ada", '{"outcome":"deny","x":"é"}')

cells = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_categories=["Cs"]))


def test_event_hash_is_sha256_of_the_compact_json_array() -> None:
    text = (
        '["' + "0" * 64 + '",1,"e1","2026-11-20T10:00:00Z","PolicyChecked","prod",null,"ada",'
        '"{\\"outcome\\":\\"deny\\",\\"x\\":\\"é\\"}"]'
    )
    assert event_hash(GENESIS, FIELDS) == hashlib.sha256(text.encode()).hexdigest()


@given(st.lists(cells, min_size=8, max_size=8), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_event_hash_can_be_recomputed_by_any_json_writer(fields: list[int | str | None], prev_hash: str) -> None:
    text = json.dumps([prev_hash, *fields], ensure_ascii=False, separators=(",", ":"))
    assert event_hash(prev_hash, fields) == hashlib.sha256(text.encode()).hexdigest()


@given(st.lists(cells, max_size=6), st.lists(cells, max_size=6))
def test_rows_digest_is_equal_exactly_for_equal_rows(
    left: list[int | str | None], right: list[int | str | None]
) -> None:
    assert (rows_digest(left) == rows_digest(right)) == (left == right)


@given(st.lists(st.lists(cells, min_size=1, max_size=3), max_size=3), st.lists(st.lists(cells, min_size=1), max_size=3))
def test_rows_digest_tells_rows_from_their_neighbours(
    left: list[list[int | str | None]], right: list[list[int | str | None]]
) -> None:
    assert (rows_digest(left) == rows_digest(right)) == (left == right)


def test_rows_digest_tells_types_apart_that_sqlite_may_hold() -> None:
    cells: list[Any] = [1, "1", 1.5, b"1", None, ""]
    digests = {rows_digest([cell]) for cell in cells}
    assert len(digests) == len(cells)


def test_text_digest_is_that_of_the_bytes() -> None:
    assert text_digest(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
