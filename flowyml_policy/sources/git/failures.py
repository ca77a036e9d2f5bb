"""What git's own words mean: which error they are, and the words themselves, without credentials.

Git gives one exit code for everything, so its messages (in the C locale) tell the cases apart. What is not known
is SourceUnreachable with git's reason.
"""

from __future__ import annotations

import re
from typing import Final

from flowyml_policy.errors.sources import (
    SourceAccessDenied,
    SourceError,
    SourceMissing,
    SourceRefMissing,
    SourceRefused,
    SourceTooLarge,
    SourceUnreachable,
)
from flowyml_policy.mask.text import mask
from flowyml_policy.sources.git.command import GitFailed

_NETWORK: Final = "check the address and the network, and try again"
_CASES: Final[tuple[tuple[tuple[str, ...], type[SourceError], str, str], ...]] = (
    (
        ("could not resolve host", "name or service not known", "nodename nor servname"),
        SourceUnreachable,
        "its host is unknown",
        "correct the host, or check this machine's name service",
    ),
    (
        ("remote host identification has changed", "host key for .* has changed"),
        SourceAccessDenied,
        "its ssh host key is not the one that is known",
        "find out why it changed before you replace it in ~/.ssh/known_hosts",
    ),
    (
        ("host key verification failed", "host key is known for"),
        SourceAccessDenied,
        "its ssh host key is not known",
        "add the host to ~/.ssh/known_hosts once its key is checked",
    ),
    (
        (
            "authentication failed",
            "could not read (username|password)",
            "permission denied",
            "terminal prompts disabled",
            "returned error: 40[13]",
            "access denied",
            "invalid credentials",
        ),
        SourceAccessDenied,
        "access to it is denied",
        "give git credentials for it; many hosts ask for them too where there is no such repository",
    ),
    (
        ("dubious ownership",),
        SourceAccessDenied,
        "another user owns it",
        "add it to git's safe.directory if that user is trusted",
    ),
    (
        ("transport '[^']*' not allowed", r"protocol \S+ (not supported|disabled)"),
        SourceRefused,
        "it leads to a transport that is not used",
        "name its https, ssh or file address",
    ),
    (
        ("died of signal (25|31)", "file too large", "file size limit"),
        SourceTooLarge,
        "it is larger than is fetched",
        "keep definitions in a repository of their own",
    ),
    (
        (
            "repository .*not found",
            "does not appear to be a git repository",
            "not a git repository",
            "returned error: (404|410)",
            "does not exist",
        ),
        SourceMissing,
        "there is no such repository",
        "correct the address; many hosts also say this to users without access",
    ),
    (
        ("couldn't find remote ref", "not our ref", "unadvertised object", "bad object", "no such ref"),
        SourceRefMissing,
        "it has no such commit",
        "name a branch, a tag or a full commit id of the repository",
    ),
    (
        (
            "connection (refused|reset|closed|timed out)",
            "failed to connect",
            "could not connect",
            "no route to host",
            "network is unreachable",
        ),
        SourceUnreachable,
        "its host does not answer",
        _NETWORK,
    ),
    (
        ("certificate", r"\bssl\b", r"\btls\b", "gnutls"),
        SourceUnreachable,
        "git does not trust its server's certificate",
        "set git's http.sslCAInfo to the company's CA certificates",
    ),
)

_CREDENTIALS: Final = re.compile(r"(\w+://)[^/@\s]*@")
_SAYING: Final = re.compile(r"^(?:fatal|error|remote|ssh|err)\b(?!-)[^:]*: *(.*)$", re.IGNORECASE)
_EMPTY_SAYINGS: Final = (
    "could not read from remote repository",
    "the remote end hung up",
    "please make sure you have the correct access rights",
    "and the repository exists",
)
_LONGEST: Final = 300


def explained(failure: GitFailed, uri: str) -> SourceError:
    """The error for a git command on `uri` that failed."""
    text, uri = failure.text.lower(), without_credentials(uri)
    reason = reason_of(failure.text)
    said = f" (git: {reason})" if reason else ""
    for signs, leaf, what, advice in _CASES:
        if any(re.search(sign, text) for sign in signs):
            return leaf(f"cannot fetch from the repository, {what}: {uri}{said}", advice=advice)
    return SourceUnreachable(f"cannot fetch from the repository: {uri}{said}", advice=_NETWORK)


def reason_of(text: str) -> str:
    """What git said, on one line: what it calls fatal or an error, else its last words; without credentials."""
    lines = [line for line in map(_printable, text.splitlines()) if line]
    telling = [line for line in lines if not any(words in line.lower() for words in _EMPTY_SAYINGS)]
    said = [match[1].strip() for line in telling if (match := _SAYING.match(line)) and match[1].strip()]
    chosen = "; ".join(dict.fromkeys(said[:3])) or "".join((telling or lines)[-1:])
    return without_credentials(chosen)[:_LONGEST].rstrip()


def _printable(line: str) -> str:
    return "".join(character if character.isprintable() else " " for character in line).strip()


def without_credentials(text: str) -> str:
    """`text` with the user information of every address taken out, and other secrets masked."""
    return mask(_CREDENTIALS.sub(r"\1", text))
