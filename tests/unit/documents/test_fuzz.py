"""Whatever the bytes, the answer is documents or one YamlInvalid; with libyaml and without it."""

from __future__ import annotations

import json
import subprocess
import sys

from hypothesis import example, given
from hypothesis import strategies as st

from flowyml_policy.documents.reader import Limits, load_documents
from flowyml_policy.errors.documents import YamlInvalid

PIECES = [
    *"abn01-?:,[]{}#&*!|>'\"%@`~=. \n\t\r\\/\0\u0085\u2028\u202e\ufeffé😀",
    *("---\n", "...\n", "<<: ", "*a", "&a ", "!!str ", "!<x>", "%YAML 1.2\n", "%TAG ! x\n", "\\u", "\\x", "\\U0011"),
    *(
        "${X}",
        "{{ x }}",
        "0x",
        "0o",
        ".inf",
        "1e999",
        "9" * 50,
        "null",
        "true",
        "a: b\n",
        "- ",
        "? ",
        ": ",
        "  ",
        "|2-\n",
    ),
]
yaml_like = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)

CORPUS = [
    "a: 1\nb: [x, 'y', \"z\\n\"]\nc:\n  d: |\n    text\n  e: >-\n    folded\n    text\n",
    "- &a {x: 1.50, y: ~}\n- *a\n- yes\n---\nk: 0o17\n",
    "é: 😀\n",
    "a: 1\na: 2",
    "a: !x 1",
    "1: a",
    "<<: {a: 1}",
    "a: &a [*a]",
    "a: *b",
    "a:\n\tb: 1",
    "a: {b: ${X}}",
    "a: {{ x }}",
    'a: "\\ud800"',
    'a: "\\U00110000"',
    "[" * 100,
    "a: .inf",
    "%YAML 1.1\n--- a",
]

PURE = """
import json, sys
sys.modules["yaml._yaml"] = None
from flowyml_policy.errors.documents import YamlInvalid
from flowyml_policy.documents.reader import load_documents
from flowyml_policy.documents import reader
assert reader.PARSER.__name__ == "_PureParser", reader.PARSER
answers = []
for text in json.load(sys.stdin):
    try:
        answers.append([[d.value, str(d.location())] for d in load_documents(text.encode(), "f")])
    except YamlInvalid as error:
        answers.append(error.location.line)
json.dump(answers, sys.stdout)
"""


def answer(data: bytes) -> object:
    """Values and places of the documents, or the line of the refusal."""
    try:
        return [[document.value, str(document.location())] for document in load_documents(data, "f")]
    except YamlInvalid as error:
        refusal = error
    assert refusal.problem
    assert refusal.fix
    assert refusal.location.line >= 1
    assert refusal.location.column >= 1
    return refusal.location.line


def depth(value: object) -> int:
    if not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0)


@given(st.binary(max_size=60))
@example(b"\xff\xfe")
@example(b"\x00")
def test_load_documents_of_any_bytes_reads_or_refuses(data: bytes) -> None:
    answer(data)


@given(yaml_like)
@example("? ? ? :")
@example("- ? - ? : -")
@example("{? : }")
@example("[? a : b]")
@example('"\\xg"')
@example("!<")
@example("|99")
@example("%YAML 9" + "9" * 50)
@example("---\n%YAML 1.2\n---")
def test_load_documents_of_text_like_yaml_reads_or_refuses(text: str) -> None:
    answer(text.encode())


@given(yaml_like)
def test_load_documents_never_gives_more_than_its_limits(text: str) -> None:
    limits = Limits(depth=3, nodes=12)
    try:
        documents = load_documents(text.encode(), "f", limits=limits)
    except YamlInvalid:
        return
    for document in documents:
        assert depth(document.value) <= 3
        assert len(json.dumps(document.value)) < 12 * 64 * 12


def test_load_documents_without_libyaml_answers_the_same() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PURE], input=json.dumps(CORPUS), capture_output=True, text=True, check=True
    )

    assert json.loads(run.stdout) == [answer(text.encode()) for text in CORPUS]
