"""Git's short form of an ssh address (`git@host:org/repo.git`), which names no transport and is refused for it.

Whoever writes it is shown the address that it stands for; https://git-scm.com/docs/git-clone#_git_urls tells of both.
"""

from __future__ import annotations

import re
from typing import Final

from flowyml_policy.mask import mask_text

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
    return None if is_port or is_name or may_be_password or mask_text(meant)[1] else meant
