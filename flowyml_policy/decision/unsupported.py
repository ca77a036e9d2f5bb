"""What a settings file may ask for and this version cannot do yet, and which commands would need it.

Rules:
- A setting whose feature is missing stops every command that would otherwise skip what it asks for.
- A command that this table does not know needs everything, so that a new command starts out closed.
- Of environments, those count that apply; before that is known, all do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final, NamedTuple

from flowyml_policy.documents.key_path import dotted
from flowyml_policy.errors.settings import FeatureUnavailable
from flowyml_policy.records.record import KeyPath, Location

if TYPE_CHECKING:
    from flowyml_policy.settings.settings import Settings

WITHOUT_POLICY: Final = frozenset({"audit", "bundle", "doctor", "schema", "opa", "init"})
"""Command groups that neither judge a stack nor load policy: they need none of these features."""

LOAD: Final = frozenset({"policy"})
JUDGE: Final = frozenset({"validate", "apply", "run"})


class Unsupported(NamedTuple):
    """A setting that this version cannot honour: what it asks for, where it stands, what to do instead."""

    path: KeyPath
    what: str
    location: Location | None
    advice: str

    def error(self) -> FeatureUnavailable:
        where = f": {self.location}" if self.location else ""
        return FeatureUnavailable(
            f"`{dotted(self.path)}` asks for {self.what}, which this version cannot do yet{where}", advice=self.advice
        )


class _Feature(NamedTuple):
    """One row: where a setting stands, whether it asks for the feature, who needs it, in words and in advice.

    `what` may name values of the `settings`.
    """

    path: KeyPath
    asked: Callable[[Settings], bool]
    needed_by: frozenset[str]
    what: str
    advice: str


class _EnvironmentFeature(NamedTuple):
    """One row of what an environment may ask for by the attribute `key`.

    `everywhere`: where no environment applies, what any of them asks for holds.
    """

    key: str
    needed_by: frozenset[str]
    what: str
    advice: str
    everywhere: bool = False


_LOADERS: Final = LOAD | JUDGE

_FEATURES: Final = (
    _Feature(
        ("policy", "waivers"),
        lambda settings: settings.has_waivers,
        JUDGE,
        "waivers ({settings.waivers_path})",
        "take the waivers file away and the key out; until then a denial cannot be excused",
    ),
)

_ENVIRONMENT_FEATURES: Final = (
    _EnvironmentFeature("packs", JUDGE, "packs of rules", "take the key out; the baseline rules hold", everywhere=True),
)


def unsupported(
    settings: Settings, command: str, environments: Collection[str] | None = None
) -> tuple[Unsupported, ...]:
    """Everything that `settings` ask for, `command` would need and this version cannot do.

    `command` is an operation (validate, apply, run) or the first word of a command (policy, audit, doctor, ...).
    `environments` are those that apply to the stack at hand, null while that is not known. Names that the
    settings do not know are passed over: company data may know them.
    """
    rows = [
        Unsupported(row.path, row.what.format(settings=settings), settings.location(row.path), row.advice)
        for row in _FEATURES
        if _needs(command, row.needed_by) and row.asked(settings)
    ]
    for feature in _ENVIRONMENT_FEATURES:
        for name in _counting(settings, environments, everywhere=feature.everywhere):
            if _needs(command, feature.needed_by) and getattr(settings.environments[name], feature.key):
                path = ("environments", name, feature.key)
                rows.append(Unsupported(path, feature.what, settings.location(path), feature.advice))
    return tuple(rows)


def require_supported(settings: Settings, command: str, environments: Collection[str] | None = None) -> None:
    """Raise FeatureUnavailable for the first of `unsupported`."""
    for missing in unsupported(settings, command, environments):
        raise missing.error()


def _needs(command: str, needed_by: frozenset[str]) -> bool:
    return command in needed_by or command not in WITHOUT_POLICY | _LOADERS


def _counting(settings: Settings, environments: Collection[str] | None, *, everywhere: bool) -> list[str]:
    """The environments whose demands hold."""
    if environments is None:
        return list(settings.environments)
    known = [name for name in settings.environments if name in environments]
    return list(settings.environments) if everywhere and not known else known
