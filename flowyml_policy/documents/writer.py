"""Writing a value as YAML that people like to read and that the strict reader reads back as the same value.

Text is quoted wherever it would be read as something else, by this program (YAML 1.2: `2.1`, `0o7`, `1e3`) or by a
reader of YAML 1.1 (`on`, `12:30`, `2026-11-23`).
"""

from __future__ import annotations

from typing import Final

import yaml

from flowyml_policy.documents.canonical import canonical_json
from flowyml_policy.documents.scalars import NumberRefused, resolve
from flowyml_policy.errors.documents import NotCanonical
from flowyml_policy.records.record import Json

_ENDLESS: Final = 1 << 30
_TEXT: Final = "tag:yaml.org,2002:str"


def write_yaml(value: Json) -> str:
    """`value` as one YAML document in block style, keys in their order. Raises NotCanonical, as `canonical_json`.

    Characters that no file may hold are written as escapes, which the strict reader refuses as it does the characters.
    """
    canonical_json(value)
    try:
        return yaml.dump(
            value, Dumper=_Dumper, allow_unicode=True, default_flow_style=False, sort_keys=False, width=_ENDLESS
        )
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise NotCanonical(f"the value cannot be written as YAML: {error}") from error


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, without aliases, and with the quotes that YAML 1.2 needs besides those of 1.1."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002  PyYAML's signature
        """Items of a list stand further right than its key."""
        del indentless
        super().increase_indent(flow, indentless=False)

    def write_text(self, text: str) -> yaml.ScalarNode:
        style = '"' if self._needs_quotes(text) else None
        node: yaml.ScalarNode = self.represent_scalar(_TEXT, text, style=style)
        return node

    def _needs_quotes(self, text: str) -> bool:
        read_as = self.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]  # the stubs lack it
        if not text.isprintable() or read_as != _TEXT:
            return True
        try:
            return resolve(text) != text
        except NumberRefused:
            return True


_Dumper.add_representer(str, _Dumper.write_text)
