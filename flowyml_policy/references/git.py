"""The one grammar of git's refs, and of its short form of an ssh address.

    v2.1.0   feature/x   refs/heads/main   a full commit id    a ref: what `git check-ref-format` takes
    git@host:org/repo.git                                      short for ssh://git@host/org/repo.git

Neither may begin as an option does. What an address of a repository may be is in `stack_parts.git_url`.
"""

from __future__ import annotations

import re
from typing import Final

from flowyml_policy.mask.text import holds_secret
from flowyml_policy.references import url as values

TRANSPORTS: Final = {"https": "https:ssh", "http": "http", "ssh": "ssh:https", "file": "file"}
"""What an address may use, by its scheme; the user's `url.<base>.insteadOf` may turn https into ssh and back."""
USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)

_COMMIT: Final = re.compile(r"[0-9a-f]{40}", re.ASCII)
_NOT_IN_REFS: Final = frozenset(" ~^:?*[\\")


def is_commit(text: str) -> bool:
    """Whether `text` is a full commit id, as git writes it."""
    return _COMMIT.fullmatch(text) is not None


def git_ref(value: str) -> str:
    """A tag, branch or commit that no git command takes for an option or an expression. Raises BadValue."""
    parts = values.text(value).split("/")
    if (
        value.startswith("-")
        or value == "@"
        or ".." in value
        or "@{" in value
        or value.endswith(".")
        or not _NOT_IN_REFS.isdisjoint(value)
        or any(not part or part.startswith(".") or part.endswith(".lock") for part in parts)
    ):
        raise values.BadValue(f"is no git ref: {values.shown(value)}", "write a tag, a branch or a commit, as v2.1.0")
    return value


_SHORT: Final = re.compile(
    r"(?P<scheme>(?:git\+)?ssh://)?(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*@)?"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?):(?P<path>/?[A-Za-z0-9_~][A-Za-z0-9._~+/-]*)"
    r"(?P<rest>[@#].*)?",
    re.ASCII,
)
_PORT: Final = re.compile(r"[0-9]+(?:/.*)?", re.ASCII)


def meant_by_short_form(text: str) -> str | None:
    """The ssh address that `text` is a short form of, with what follows it; None where it is none.

    None too where what would be shown may be a credential, as in `ada@company.com:password@host/path`.
    """
    match = _SHORT.fullmatch(text)
    if match is None:
        return None
    user, path, rest = match["user"] or "", match["path"], match["rest"] or ""
    is_port = match["scheme"] is not None and _PORT.fullmatch(path)
    is_name = match["scheme"] is None and not user and "." not in match["host"]
    may_be_password = "@" in rest and not path.endswith(".git")
    meant = f"ssh://{user}{match['host']}/{path.lstrip('/')}{rest}"
    return None if is_port or is_name or may_be_password or holds_secret(meant) else meant
