"""What a registry asks for in `WWW-Authenticate`, as RFC 9110, 11.6.1 writes it.

    Bearer realm="https://auth.example.com/token", service="registry.example.com", Basic realm="registry"

Several fields of this name arrive joined by commas, so that a comma parts challenges, or parameters of one. What does
not follow the grammar is refused as a whole: a server that is read in two ways may be sent a login in the wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_LONGEST: Final = 16_384
_TOKEN_TEXT: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  RFC 9110's word for a word
_SEPARATOR: Final = re.compile(r"[ \t]*(?:,[ \t]*)*", re.ASCII)
_QUOTED: Final = r'"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*)"'
_PARAMETER: Final = re.compile(rf"({_TOKEN_TEXT})[ \t]*=[ \t]*(?:({_TOKEN_TEXT})|{_QUOTED})")
_SCHEME: Final = re.compile(rf"({_TOKEN_TEXT})(?: +([A-Za-z0-9._~+/-]+=*)(?=[ \t]*(?:,|\Z))|(?=[ \t]*(?:,|\Z))|( +))")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_END: Final = re.compile(r"[ \t]*(?:,|\Z)")


class ChallengeMalformed(ValueError):
    """The header does not follow the grammar."""


@dataclass(frozen=True)
class Challenge:
    """One way to log in. `scheme` and the names of parameters are in small letters."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(text: str) -> tuple[Challenge, ...]:
    """The challenges in their order. Raises ChallengeMalformed."""
    if len(text) > _LONGEST:
        raise ChallengeMalformed
    found: list[tuple[str, dict[str, str]]] = []
    takes_parameters = False
    position = _past_separator(text, 0)
    while position < len(text):
        if takes_parameters and (match := _PARAMETER.match(text, position)):
            name = match[1].lower()
            if name in found[-1][1]:
                raise ChallengeMalformed
            found[-1][1][name] = match[2] if match[3] is None else _ESCAPED.sub(r"\1", match[3])
        elif match := _SCHEME.match(text, position):
            found.append((match[1].lower(), {}))
            takes_parameters = match[3] is not None
            if takes_parameters:  # its first one follows at once
                position = match.end()
                if _PARAMETER.match(text, position) is None:
                    raise ChallengeMalformed
                continue
        else:
            raise ChallengeMalformed
        if _END.match(text, match.end()) is None:
            raise ChallengeMalformed
        position = _past_separator(text, match.end())
    return tuple(Challenge(scheme, parameters) for scheme, parameters in found)


def _past_separator(text: str, position: int) -> int:
    match = _SEPARATOR.match(text, position)
    return position if match is None else match.end()
