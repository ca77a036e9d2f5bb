"""Where policy is judged: in this process, or apart.

Rules:
- Whose policy it is decides. What ships and what the platform names may run in the process that asks, whose deadline
  no rule has to keep; all other is judged by a process that can be ended, and then the whole policy is.
- It is known from the settings alone, so that no library is started for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from flowyml_policy.opa.configuration import DISCOVERY
from flowyml_policy.records.record import KeyPath
from flowyml_policy.settings.settings import Settings

CONFIG_PATH: Final[KeyPath] = ("policy", "opa", "config")
RULES_PATH: Final[KeyPath] = ("policy", "rules")

_SHIPPED: Final = "shipped"


def is_judged_apart(settings: Settings, rules: Iterable[str | Path] = ()) -> bool:
    """Whether the policy of `settings`, with the rules in the folders `rules`, is judged in a process of its own."""
    return settings.policy.opa.isolation == "process" or bool(own_policy(settings, rules))


def own_policy(settings: Settings, rules: Iterable[str | Path] = ()) -> tuple[str, ...]:
    """Where policy is named that neither ships nor is the platform's: by which keys of the settings, or an option."""
    named = []
    if any(True for _ in rules):
        named.append("--policy")
    if settings.rule_folders and not settings.is_set_by_platform(RULES_PATH):
        named.append("policy.rules")
    if _brings_bundles(settings.policy.opa.config) and not settings.is_set_by_platform(CONFIG_PATH):
        named.append("policy.opa.config")
    return tuple(named)


def _brings_bundles(config: Mapping[str, object] | None) -> bool:
    """Whether a configuration names any bundle but the packaged one, or one that names others."""
    if (config or {}).get(DISCOVERY) is not None:
        return True
    bundles = (config or {}).get("bundles")
    if not isinstance(bundles, Mapping):
        return False  # there is none, or what stands there is refused
    return any(not isinstance(one, Mapping) or one.get("resource") != _SHIPPED for one in bundles.values())
