"""Whatever stands under whatever key: settings, or SettingsInvalid with a place in the file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.decision.unsupported import unsupported
from flowyml_policy.errors.settings import SettingsInvalid
from flowyml_policy.references.git import git_ref
from flowyml_policy.references.label_demand import label_demand
from flowyml_policy.references.url import BadValue, file_path, text, url
from flowyml_policy.settings.json_schema import settings_json_schema
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.settings.settings import Settings
from flowyml_policy.settings.types import duration

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(["local", "git", "a/b", "https://x.io", "2s", "off", "${A}", "$${", "gcr.io", "~", "team=x"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


def _paths(schema: dict[str, Any], section: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in section["properties"].items():
        yield (key,)
        reference = value.get("$ref") or value.get("additionalProperties", {}) or {}
        names = [] if isinstance(reference, str) else ["x"]
        places = [reference] if isinstance(reference, str) else _references(reference)
        for place in places:
            inner = schema["$defs"][place.rsplit("/", 1)[1]]
            yield from ((key, *names, *path) for path in _paths(schema, inner))


def _references(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return []
    return [place for part in (value, *value.get("oneOf", ())) if isinstance(place := part.get("$ref"), str)]


PATHS = sorted(set(_paths(settings_json_schema(), settings_json_schema())))


def _read(content: str) -> Settings | None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "flowyml.yaml").write_bytes(content.encode())
        try:
            return load_settings(Path(folder), environ={"HOME": "/home/ada", "A": "x"}, system_file=Path(folder, "no"))
        except SettingsInvalid as error:
            for problem in error.problems:
                assert problem.location.line >= 1
                assert problem.fix
            return None


def test_paths_reach_every_depth() -> None:
    assert {
        ("project", "policies", "image_policy", "allowed_registries"),
        ("environments", "x", "requireLock"),
        ("stacks", "x", "sha256"),
        ("policy", "opa", "sidecar", "token_env"),
        ("policy", "images", "credentials", "x", "username"),
    } <= set(PATHS)


@given(path=st.sampled_from(PATHS), value=VALUES)
def test_any_value_under_any_key_is_read_or_refused(path: tuple[str, ...], value: Any) -> None:
    for key in reversed(path):
        value = {key: value}
    settings = _read(json.dumps(value))
    if settings is not None:
        for command in ("validate", "apply", "run", "policy", "new"):
            assert all(missing.error().exit_code == 3 for missing in unsupported(settings, command))


@given(value=VALUES, name=st.text(max_size=8), kind=st.sampled_from(["local", "github", "git", "http", "registry"]))
def test_any_source_of_a_stack_is_read_or_refused(value: Any, name: str, kind: str) -> None:
    for key in ("path", "repo", "url", "sha256", "version"):
        _read(json.dumps({"stacks": {name: {"source": kind, key: value}}}))


@given(content=st.text(st.characters(codec="utf-8")))
def test_any_text_is_read_or_refused(content: str) -> None:
    _read(content)


@given(value=st.text(), read=st.sampled_from([text, label_demand, url, file_path, git_ref]))
def test_every_scalar_is_taken_whole_or_refused(value: str, read: Callable[[str], str]) -> None:
    with suppress(BadValue):
        assert read(value) == value


@given(number=st.integers(min_value=0, max_value=300), unit=st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_duration_is_its_number_of_units(number: int, unit: str) -> None:
    assert duration(f"{number}{unit}") == number * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
