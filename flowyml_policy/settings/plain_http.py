"""Where plain http may go: to this machine itself, and to the hosts that `policy.sources.plain_http` names.

It is for the files of http sources alone. Where a token, a decision or a repository goes, plain http is for this
machine, whatever is named here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from flowyml_policy.errors import SettingsProblem
from flowyml_policy.records.location import Location
from flowyml_policy.records.record import KeyPath
from flowyml_policy.settings.problems import dotted
from flowyml_policy.settings.scalars import bracketed, is_loopback

if TYPE_CHECKING:
    from flowyml_policy.settings.sources import StackSource
    from flowyml_policy.strict_yaml import Document

PLAIN_HTTP: Final[KeyPath] = ("policy", "sources", "plain_http")
PORT: Final = 80


def may_be_plain(address: SplitResult, named: Collection[str]) -> bool:
    """Whether plain http may be used to `address`; `named` holds hosts, each for all of its ports, or `host:port`."""
    host = address.hostname or ""
    try:
        place = bracketed(host)
    except ValueError:
        return False
    return is_loopback(host) or not {place, f"{place}:{address.port or PORT}"}.isdisjoint(named)


def refused_addresses(
    stacks: Mapping[str, StackSource], named: Collection[str], document: Document, owner: Location | None
) -> Iterator[SettingsProblem]:
    """What is wrong with the http sources of `stacks`; `owner` is where the platform names the hosts, if it does."""
    for key, source in stacks.items():
        if source.source != "http":
            continue
        address = urlsplit(source.url)
        if address.scheme == "http" and not may_be_plain(address, named):
            path: KeyPath = ("stacks", key, "url")
            where = "" if owner is None else f", which the platform sets ({owner})"
            yield SettingsProblem(
                f"`{dotted(path)}` is a plain http address of {address.hostname}",
                location=document.location(path),
                fix=f"write https, or name {address.hostname} under `{dotted(PLAIN_HTTP)}`{where}",
            )
