"""`${NAME}` in `policy.opa.config`: a value of the environment in place of a name.

Rules:
- Only strings are expanded, once: what a variable holds is never looked at again. Keys are left alone.
- `$${` stands for `${` itself. Anything else that starts with `${` is a problem, as is a variable that is not set, or
  empty, which is the same.
- A message names the variable, never a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from flowyml_policy.documents.document import Document
from flowyml_policy.documents.key_path import dotted
from flowyml_policy.errors.settings import SettingsProblem
from flowyml_policy.records.record import Json, KeyPath

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?", re.ASCII)


class Expansion:
    """Expands the strings of one document, gathering what is wrong with them in `problems`."""

    def __init__(self, environ: Mapping[str, str], document: Document) -> None:
        self.problems: list[SettingsProblem] = []
        self._environ = environ
        self._document = document

    def expanded(self, value: Json, path: KeyPath) -> Json:
        """`value`, which stands at `path`, with every variable in its strings replaced."""
        if isinstance(value, str):
            return self._text(value, path) if "${" in value else value
        if isinstance(value, dict):
            return {key: self.expanded(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.expanded(inner, (*path, index)) for index, inner in enumerate(value)]
        return value

    def _text(self, value: str, path: KeyPath) -> str:
        def replaced(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            name = match[1]
            if name is None:
                self._add(
                    path, "holds a `${` that names no variable", "write ${NAME}, or $${ where `${` itself is meant"
                )
            elif not self._environ.get(name):
                state = "is empty" if name in self._environ else "is not set"
                self._add(path, f"needs the environment variable {name}, which {state}", f"set {name}")
            elif not _is_text(self._environ[name]):
                self._add(path, f"needs the environment variable {name}, which is not UTF-8", f"set {name} to text")
            else:
                return self._environ[name]
            return ""

        return _REFERENCE.sub(replaced, value)

    def _add(self, path: KeyPath, what: str, fix: str) -> None:
        location = self._document.location(path)
        self.problems.append(SettingsProblem(f"`{dotted(path)}` {what}", location=location, fix=fix))


def _is_text(value: str) -> bool:
    """Whether `value` is whole text; bytes that are not come out of the environment as lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
