"""What the loaded policy says of itself: one entry for each code that a rule can find."""

from typing import Literal

from flowyml_policy.records.decision import Enforcement
from flowyml_policy.records.record import Record


class RuleLink(Record):
    """Where to read more: an address and what is found there."""

    ref: str
    description: str = ""


class CatalogueEntry(Record):
    """One code. `enforcement` is the level in force: the author's, the company's, or the project's stricter one."""

    code: str
    root: Literal["flowyml", "org", "project"]
    rule: str
    title: str
    description: str
    why: str
    links: tuple[RuleLink, ...]
    enforcement: Enforcement
