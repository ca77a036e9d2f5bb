"""Addresses and refs that git is given, and those that it never sees."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.errors.sources import SourceRefMissing, SourceRefused
from flowyml_policy.references.git import is_commit
from flowyml_policy.sources.git.address import checked_address, checked_ref


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        ("https://github.com/my-org/ml-stacks", "https://github.com/my-org/ml-stacks"),
        ("https://gitlab.example:8443/group/sub/repo.git", "https://gitlab.example:8443/group/sub/repo.git"),
        ("https://robot@github.com/o/r", "https://github.com/o/r"),
        ("ssh://git@github.com/o/r.git", "ssh://git@github.com/o/r.git"),
        ("ssh://git@host:2222/~user/r", "ssh://git@host:2222/~user/r"),
        ("https://[::1]:8443/r", "https://[::1]:8443/r"),
        ("http://127.0.0.1:8080/r", "http://127.0.0.1:8080/r"),
        ("http://localhost/r", "http://localhost/r"),
        ("http://git.example/r", "http://git.example/r"),
        ("file:///srv/git/stacks.git", "file:///srv/git/stacks.git"),
    ],
)
def test_address_is_shown_without_credentials(url: str, uri: str) -> None:
    assert checked_address(url, {"git.example"}) == uri


@pytest.mark.parametrize(
    "url",
    [
        "",
        "-x",
        "--upload-pack=touch /tmp/x",
        "ext::sh -c touch% /tmp/x",
        "ext::sh",
        "fd::17",
        "https::https://host/r",
        "git@github.com:o/r.git",
        "github.com/o/r",
        "/srv/git/stacks.git",
        "../stacks",
        "git://host/r",
        "ftp://host/r",
        "rsync://host/r",
        "git+https://host/r",
        "HTTPS-x://host/r",
        "https://host",
        "https://host/",
        "https:///r",
        "https://-oProxyCommand=x/r",
        "ssh://-oProxyCommand=x/r",
        "ssh://-oProxyCommand=x@host/r",
        "ssh://host/-r",
        "https://user:pass-word-1@host/r",
        "ssh://git:pass-word-1@host/r",
        "https://user@other@host/r",
        "https://ho st/r",
        "https://host/r\n",
        "https://host/r\0",
        "https://host/a b",
        "https://host/r?x=1",
        "https://host/r#main",
        "https://host:port/r",
        "https://host:99999/r",
        "https://[::1/r",
        "https://höst/r",
        "http://host/r",
        "http://127.0.0.1.example/r",
        "file://host/srv/r",
        "file://",
        "file:///",
        "https://host/" + "a" * 1000,
    ],
)
def test_address_that_is_not_safe_is_refused(url: str) -> None:
    with pytest.raises(SourceRefused) as raised:
        checked_address(url)
    assert "pass-word-1" not in str(raised.value)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("ref", ["main", "v2.1.0", "feature/x-1", "refs/heads/main", "a" * 40, "release@2", "ü"])
def test_ref_is_taken(ref: str) -> None:
    assert checked_ref(ref) == ref


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "-x",
        "--upload-pack=x",
        "a..b",
        "a b",
        "a~1",
        "a^",
        "a:b",
        "*",
        "refs/*/x",
        "a?",
        "a[b]",
        "a\\b",
        "@",
        "a@{1}",
        "a.lock",
        "a.lock/b",
        ".a",
        "a/.b",
        "a.",
        "/a",
        "a/",
        "a//b",
        "a\nb",
        "a\x00",
        "a\x7f",
        "a\u202eb",
        "a" * 1001,
    ],
)
def test_ref_that_is_none_is_refused(ref: str) -> None:
    with pytest.raises(SourceRefMissing) as raised:
        checked_ref(ref)
    assert raised.value.message.isprintable()


@given(st.text(alphabet="ab/.-@{}~^:?*[\\ lock", min_size=1, max_size=8))
def test_ref_that_is_taken_is_one_to_git(ref: str) -> None:
    try:
        checked_ref(ref)
    except SourceRefMissing:
        return
    command = ["git", "check-ref-format", f"refs/heads/{ref}"]
    assert subprocess.run(command, check=False).returncode == 0


def test_commit_is_forty_hex_digits() -> None:
    texts = ("a" * 40, "A" * 40, "a" * 39, "a" * 64, "g" * 40, "a" * 40 + "\n", "٣" * 40)
    assert [is_commit(text) for text in texts] == [True, *[False] * 6]
