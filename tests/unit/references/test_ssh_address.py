"""Git's short form of an ssh address: what it stands for, and what is never taken for one."""

from __future__ import annotations

import pytest

from flowyml_policy.references.git import meant_by_short_form


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("git@github.com:org/repo.git", "ssh://git@github.com/org/repo.git"),
        ("git@github.com:org/repo", "ssh://git@github.com/org/repo"),
        ("github.com:org/repo.git", "ssh://github.com/org/repo.git"),
        ("git@host:/srv/git/repo.git", "ssh://git@host/srv/git/repo.git"),
        ("git@host:~ada/repo.git", "ssh://git@host/~ada/repo.git"),
        ("git@host:2222/repo.git", "ssh://git@host/2222/repo.git"),
        ("git@host:org/repo.git@v1#prod", "ssh://git@host/org/repo.git@v1#prod"),
        ("git@host:org/repo#prod", "ssh://git@host/org/repo#prod"),
        ("ssh://git@host:org/repo", "ssh://git@host/org/repo"),
        ("git+ssh://git@host:org/repo", "ssh://git@host/org/repo"),
    ],
)
def test_short_form_is_told_in_full(text: str, meant: str) -> None:
    assert meant_by_short_form(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "prod",
        "prod:latest",
        "prod@2.1.0",
        "stacks/prod.yaml",
        "ssh://git@host:2222/repo",
        "ssh://git@host:99999",
        "https://host:8443/x",
        "github://org/repo@v1",
        "ext::sh",
        "git@host:-x",
        "-oProxyCommand=x@host:y",
        "user:pass-word-1@host/x",
        "ada.l:pass-word-1@host/x",
        "ada@company.com:pass-word-1@host/x",
        "git@host:ghp_0123456789abcdefghijABCDEFGHIJ012345/x",
        "git@host:a\n",
    ],
)
def test_short_form_is_not_seen_in_what_is_none_or_may_hold_a_credential(text: str) -> None:
    assert meant_by_short_form(text) is None
