"""The address and the ref that git is given: what references take, without credentials, checked once more."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from flowyml_policy.errors.references import ReferenceMalformed
from flowyml_policy.errors.sources import SourceRefMissing, SourceRefused
from flowyml_policy.mask.quoted import shown
from flowyml_policy.references.git import git_ref
from flowyml_policy.references.stack_parts import git_url
from flowyml_policy.references.url import MAX_TEXT, BadValue

_WEB_USER: Final = re.compile(r"^(https?://)[^/?#@:]*@")


def checked_address(url: str, plain_http: Collection[str] = ()) -> str:
    """`url` without the user that https does not need, once it is found safe. Raises SourceRefused.

    Plain http is for this machine itself and for the hosts that `plain_http` names.
    """
    if len(url) > MAX_TEXT:
        raise SourceRefused(f"git is not asked at an address of more than {MAX_TEXT} characters", advice="shorten it")
    try:
        return str(git_url(_WEB_USER.sub(r"\1", url, count=1), plain_http))
    except ReferenceMalformed as error:
        raise SourceRefused(f"git is not asked at this address: {error.message}", advice=error.advice) from error


def checked_ref(ref: str | None) -> str | None:
    """`ref` if it is one; None, the default branch, is one too. Raises SourceRefMissing."""
    try:
        return None if ref is None else git_ref(ref)
    except BadValue as error:
        raise SourceRefMissing(f"this is no git ref: {shown(ref or '')}", advice=error.fix) from error
