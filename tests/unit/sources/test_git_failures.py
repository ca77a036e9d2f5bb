"""What git says, told apart."""

from __future__ import annotations

import pytest

from flowyml_policy.errors.sources import (
    SourceAccessDenied,
    SourceError,
    SourceMissing,
    SourceRefMissing,
    SourceRefused,
    SourceTooLarge,
    SourceUnreachable,
)
from flowyml_policy.sources.git.command import GitFailed
from flowyml_policy.sources.git.failures import explained, reason_of

URI = "https://git.example/o/r"
CHANGED = "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n  remove with:\r\n"
AFTER_SSH = (
    "\r\nfatal: Could not read from remote repository.\n\n"
    "Please make sure you have the correct access rights\nand the repository exists.\n"
)


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        (
            "fatal: could not read Username for 'https://git.example': terminal prompts disabled",
            SourceAccessDenied,
            "could not read Username for 'https://git.example': terminal prompts disabled",
        ),
        (
            "remote: HTTP Basic: Access denied\nfatal: Authentication failed for 'https://git.example/o/r/'",
            SourceAccessDenied,
            "HTTP Basic: Access denied; Authentication failed for 'https://git.example/o/r/'",
        ),
        (
            f"git@github.com: Permission denied (publickey).{AFTER_SSH}",
            SourceAccessDenied,
            "git@github.com: Permission denied (publickey).",
        ),
        (f"Host key verification failed.{AFTER_SSH}", SourceAccessDenied, "Host key verification failed."),
        (
            f'{CHANGED}  ssh-keygen -R "git.example:22"\r\nHost key verification failed.{AFTER_SSH}',
            SourceAccessDenied,
            "Host key verification failed.",
        ),
        ("fatal: Could not read from remote repository.", SourceUnreachable, None),
        ("fatal: detected dubious ownership in repository at '/srv/r'", SourceAccessDenied, None),
        ("fatal: unable to access 'x': The requested URL returned error: 403", SourceAccessDenied, None),
        ("remote: Repository not found.\nfatal: repository 'https://git.example/o/r/' not found", SourceMissing, None),
        ("fatal: '/srv/r' does not appear to be a git repository", SourceMissing, None),
        ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", SourceMissing, None),
        ("fatal: unable to access 'x': Could not resolve host: git.example", SourceUnreachable, None),
        ("ssh: Could not resolve hostname git.example: Name or service not known", SourceUnreachable, None),
        ("ssh: connect to host git.example port 22: Connection refused", SourceUnreachable, None),
        ("fatal: unable to access 'x': SSL certificate problem: self-signed certificate", SourceUnreachable, None),
        ("fatal: couldn't find remote ref refs/tags/v9", SourceRefMissing, None),
        ("fatal: remote error: upload-pack: not our ref 0000", SourceRefMissing, None),
        ("error: Server does not allow request for unadvertised object 0000", SourceRefMissing, None),
        ("fatal: transport 'ext' not allowed", SourceRefused, "transport 'ext' not allowed"),
        ("error: index-pack died of signal 25", SourceTooLarge, None),
        ("something that no git has ever said", SourceUnreachable, "something that no git has ever said"),
        ("", SourceUnreachable, ""),
    ],
)
def test_failure_is_told_apart_with_gits_own_reason(text: str, error: type[SourceError], reason: str | None) -> None:
    found = explained(GitFailed(text), URI)
    assert type(found) is error
    assert URI in found.message
    assert found.advice
    if reason is not None:
        assert reason_of(text) == reason


def test_failure_never_repeats_credentials() -> None:
    text = "fatal: Authentication failed for 'https://robot:pass-word-1@git.example/o/r/'"
    found = explained(GitFailed(text), URI)
    assert str(found).count("pass-word-1") == 0
    assert "robot" not in str(found)


def test_failure_is_one_short_line_whatever_a_server_sends() -> None:
    reason = reason_of("remote: \x1b[2J\x07\u202e" + "x " * 5000 + "\n\rfatal: end")
    assert reason.isprintable()
    assert len(reason) <= 300


def test_explained_masks_the_address_as_what_git_said() -> None:
    token = "ghp_" + "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5"
    uri = f"https://host/{token}/s"
    for text in (f"fatal: repository '{uri}' not found", "something else"):
        assert token not in str(explained(GitFailed(text), uri))
