"""docs/registry-wire.md shows what the client reads: its examples, the refusals it knows; and what our server adds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from flowyml_policy.documents.reader import Limits
from flowyml_policy.errors.registry import RegistryAnswerInvalid, RegistryUnreachable, StackUnregistrable, VersionTaken
from flowyml_policy.network.http import Response
from flowyml_policy.records.registry import RegisteredStack
from flowyml_policy.registry.registrable import is_whole
from flowyml_policy.registry.remote import MOST_PAGES, TIMEOUT
from flowyml_policy.registry.wire import LARGEST_ANSWER, Page, parsed, refused
from flowyml_policy.server.judging import LONGEST_IMAGE
from flowyml_policy.server.stack_requests import LARGEST_BODY, LARGEST_LISTED, LONGEST_REASON
from flowyml_policy.server.stacks import PAGE, SECONDS

TEXT = (Path(__file__).parents[2] / "docs" / "registry-wire.md").read_text()
EXAMPLES = re.findall(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
WIRE, OURS = TEXT.split("\n## The server of this program\n")
_REFUSAL = re.compile(r"^\| (\d+) \| `(\w+)` \|", re.MULTILINE)
REFUSALS = _REFUSAL.findall(WIRE)


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


def test_limits_are_those_of_the_server() -> None:
    for words in (
        f"more than {LARGEST_BODY >> 20} MiB",
        f"more than {LARGEST_LISTED >> 10} KiB beside its document",
        f"at most {LONGEST_REASON:,} characters",
        f"at most {PAGE} stacks",
        f"answered within {SECONDS:g} seconds",
        f"each within {LONGEST_IMAGE:g} seconds",
        f"{Limits().size >> 20} MiB, {Limits().depth} levels, {Limits().nodes:,} values",
    ):
        assert words in OURS.replace("\n", " ")


@pytest.mark.parametrize(("status", "code"), _REFUSAL.findall(OURS))
def test_refusals_of_the_server_are_errors_of_the_client(status: str, code: str) -> None:
    """What the wire does not name is some other server's, or not now; none of it is an answer."""
    error = refused(answer(json.dumps({"error": {"code": code}}), int(status)), "url", None)
    known = {"422": StackUnregistrable, "503": RegistryUnreachable}
    assert type(error) is known.get(status, RegistryAnswerInvalid)
