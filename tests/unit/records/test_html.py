"""What a notebook shows of decisions and of resolved stacks: read by people, and inert whatever a stack is called."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy import Decision, Finding, StackResolver
from flowyml_policy.records.decision import Waivers
from flowyml_policy.records.html import escaped

HOSTILE = '</td><script>alert(1)</script><img src=x onerror="a()">&\'\u202egnp\u0000\ud800'


class Page(HTMLParser):
    """The tags and the texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def finding(severity: str, text: str) -> Finding:
    return Finding.model_validate(
        {
            "code": "labels.value",
            "severity": severity,
            "enforcement": "hard" if severity == "deny" else "advisory",
            "subject": text,
            "path": ("metadata",),
            "message": text,
            "fix": "set it",
            "waiver": None,
            "override": None,
            "effective_on": None,
        }
    )


def decision(*findings: Finding) -> Decision:
    return Decision(
        schema_version=1,
        allow=not any(one.denies for one in findings),
        findings=findings,
        waivers=Waivers(applied=(), expired=()),
        rules=("labels",),
    )


def test_decision_shows_denials_first() -> None:
    page = Page(decision(finding("warn", "second"), finding("deny", "first"))._repr_html_())
    assert page.texts == [
        *["DENIED", "code", "subject", "what is wrong", "fix"],
        *["DENIED", "labels.value", "first", "first", "set it"],
        *["warning", "labels.value", "second", "second", "set it"],
    ]


def test_decision_without_findings_is_one_line() -> None:
    assert Page(decision()._repr_html_()).texts == ["allowed"]


def test_hostile_names_are_text_and_nothing_else() -> None:
    page = Page(decision(finding("deny", HOSTILE))._repr_html_())
    assert page.tags == {"div", "strong", "table", "tr", "th", "td"}
    assert page.attributes == {"style"}
    shown = '</td><script>alert(1)</script><img src=x onerror="a()">&\'\\u202egnp\\x00\\ud800'
    assert page.texts.count(shown) == 2


@given(st.text())
def test_escaped_text_is_printable_and_opens_no_tag(text: str) -> None:
    shown = escaped(text)
    assert shown.isprintable()
    assert not re.search("[<>\"']", shown)
    shown.encode()


def test_resolved_stack_shows_where_it_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flowyml.yaml").write_text("project: {name: fraud}\n")
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "a.yaml").write_text(
        "apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: prod-a, version: 1.0.0}\nspec: {}\n"
    )
    with StackResolver() as resolver:
        resolved = resolver.locate("prod-a")
    page = Page(resolved._repr_html_())
    assert page.tags == {"div", "strong", "table", "tr", "th", "td"}
    assert page.texts[:3] == ["prod-a 1.0.0", "named", "prod-a, by the argument"]
    assert page.texts[-2:] == ["pinned", "no: it may change under this name"]
