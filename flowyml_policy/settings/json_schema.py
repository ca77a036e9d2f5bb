"""The JSON Schemas of settings files, for editors and for whoever generates one. Draft 2020-12."""

from __future__ import annotations

from typing import Any, Final

from flowyml_policy.settings.project_file import ProjectFile
from flowyml_policy.settings.types import Section

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_FLOWYML_SPELLINGS: Final = {
    "require_lock": "requireLock",
    "require_policy_validation": "requirePolicyValidation",
}


def settings_json_schema() -> dict[str, Any]:
    """The schema of flowyml.yaml as its author writes it, with what each key means.

    A file that it refuses is refused here too; beyond it, values have grammars that a schema cannot say.
    """
    written = file_json_schema(
        ProjectFile,
        "flowyml.yaml",
        "Settings of a project: its stacks and environments, what it asks of stacks, and how flowyml-policy judges"
        " them.",
    )
    _add_flowyml_spellings(written["$defs"]["EnvironmentSettings"])
    return {
        **written,
        "not": {"required": ["policies", "project"], "properties": {"project": {"required": ["policies"]}}},
    }


def file_json_schema(model: type[Section], title: str, description: str) -> dict[str, Any]:
    """The schema of a settings file of kind `model`."""
    _build(Section)
    written = model.model_json_schema(mode="validation")
    for section in (written, *written["$defs"].values()):
        _tidy(section)
    return {
        "$schema": DIALECT,
        "title": title,
        "description": description,
        **{key: value for key, value in written.items() if key not in {"title", "description"}},
    }


def _build(section: type[Section]) -> None:
    """Build what is deferred: pydantic before 2.14 makes no schema of sections whose validators are not built."""
    for kind in section.__subclasses__():
        kind.model_rebuild()
        _build(kind)


def _tidy(section: dict[str, Any]) -> None:
    """Take out what pydantic adds for programs: generated titles, defaults that no author would write."""
    for value in section.get("properties", {}).values():
        value.pop("title", None)
        if value.get("default") is None or isinstance(value.get("default"), dict):
            value.pop("default", None)
        for pattern, entry in value.pop("patternProperties", {}).items():
            value["propertyNames"] = {"pattern": pattern, **value.get("propertyNames", {})}
            value["additionalProperties"] = entry
        if isinstance(value.get("additionalProperties"), dict):
            value["additionalProperties"].pop("discriminator", None)


def _add_flowyml_spellings(section: dict[str, Any]) -> None:
    """FlowyML's own spelling of a key, of which either may stand, not both."""
    properties = section["properties"]
    for ours, theirs in _FLOWYML_SPELLINGS.items():
        properties[theirs] = {"type": "boolean", "description": f"FlowyML's own spelling of `{ours}`."}
    section["allOf"] = [{"not": {"required": [ours, theirs]}} for ours, theirs in _FLOWYML_SPELLINGS.items()]
