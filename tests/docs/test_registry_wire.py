"""docs/registry-wire.md shows what the client reads: its examples are read by it, its refusals are those it knows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from flowyml_policy.errors.registry import RegistryAnswerInvalid, VersionTaken
from flowyml_policy.network.http import Response
from flowyml_policy.records.registry import RegisteredStack
from flowyml_policy.registry.registrable import is_whole
from flowyml_policy.registry.remote import MOST_PAGES, TIMEOUT
from flowyml_policy.registry.wire import LARGEST_ANSWER, Page, parsed, refused

TEXT = (Path(__file__).parents[2] / "docs" / "registry-wire.md").read_text()
EXAMPLES = re.findall(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
REFUSALS = re.findall(r"^\| (\d+) \| `(\w+)` \|", TEXT, re.MULTILINE)


def answer(body: str, status: int = 200) -> Response:
    return Response(status, {"content-type": "application/json"}, body.encode())


def test_examples_are_read_by_the_client() -> None:
    stack, page = EXAMPLES
    assert is_whole(parsed(RegisteredStack, answer(stack), "url"))
    assert parsed(Page, answer(page), "url").next is None


@pytest.mark.parametrize(("status", "code"), [pair for pair in REFUSALS if pair[1] != VersionTaken.code])
def test_refusals_are_those_the_client_knows(status: str, code: str) -> None:
    error = refused(answer(json.dumps({"error": {"code": code}}), int(status)), "url", None)
    assert (error.code, isinstance(error, RegistryAnswerInvalid)) == (code, False)


def test_limits_are_those_of_the_client() -> None:
    assert f"at most {LARGEST_ANSWER >> 20} MiB" in TEXT
    assert f"waits {TIMEOUT:g} seconds" in TEXT
    assert f"at most {MOST_PAGES} parts" in TEXT
    assert len(REFUSALS) == 5
