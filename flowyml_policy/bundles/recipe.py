"""Recipes: which rules, data and metadata make a named bundle.

Rules:
- A recipe is strict YAML. Unknown keys, and whatever would be passed over, are errors with line and hint.
- Paths start at the recipe's own folder.
- Nothing comes from a clock or from git: what is not written here or in the call is not in the bundle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

from pydantic import AfterValidator, Field

from flowyml_policy.documents.document import Document
from flowyml_policy.documents.key_path import dotted
from flowyml_policy.errors.bundles import RecipeInvalid
from flowyml_policy.errors.references import ReferenceInvalid, VersionMalformed
from flowyml_policy.errors.root import UsageError
from flowyml_policy.errors.settings import SettingsInvalid, SettingsProblem
from flowyml_policy.opa.configuration import DISCOVERY
from flowyml_policy.opa.shipped import CONFIGURED_ROOTS, SHIPPED_BUNDLE
from flowyml_policy.records.record import Json, KeyPath
from flowyml_policy.references.url import BadValue, shown, text
from flowyml_policy.references.version import parse_version
from flowyml_policy.settings.problems import in_file_order
from flowyml_policy.settings.reading import read_settings_file
from flowyml_policy.settings.types import FilePath, Listing, Section, Text
from flowyml_policy.system.files import is_folder, is_missing

ORG: Final = "org"
RESERVED_METADATA: Final = ("input_schema", "sequence", "expires")
MOST_SEQUENCE: Final = 2**53 - 1
"""The largest whole number that every reader of JSON keeps."""

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_AMBIGUOUS: Final = frozenset({"data.yml", "data.yaml"})


def bundle_name(value: str) -> str:
    """The name of a bundle, which also names its file."""
    if _NAME.fullmatch(value) is None:
        raise BadValue(
            f"is no name of a bundle: {shown(value)}", "write small letters, digits, `.`, `_` and `-`, at most 64"
        )
    return value


def bundle_version(value: str) -> str:
    """A semantic version without build metadata, whose place the digest of the content takes."""
    try:
        version = parse_version(value)
    except (VersionMalformed, ReferenceInvalid) as error:
        raise BadValue(f"is no semantic version: {shown(value)}", "write three numbers: 1.0.0") from error
    if version.build is not None:
        raise BadValue(f"has build metadata: {shown(value)}", "take what begins with + out; the digest stands there")
    return value


def expiry(value: str) -> str:
    """An instant with its zone, or a day, which means 00:00 UTC; as `2027-01-31T00:00:00Z`."""
    if not (_DAY.fullmatch(value) or _INSTANT.fullmatch(value)):
        raise BadValue(
            f"is no instant with a zone: {shown(value)}", "write one as 2027-01-31T00:00:00Z, or a day as 2027-01-31"
        )
    try:
        moment = datetime.fromisoformat(value.upper().replace("Z", "+00:00"))
    except ValueError as error:
        raise BadValue(f"is no instant of the calendar: {shown(value)}", "correct the date or the time") from error
    return moment.replace(tzinfo=moment.tzinfo or timezone.utc).astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


_Problem: TypeAlias = Callable[[KeyPath, str, str], SettingsProblem]
"""Makes a problem of where it is, what is wrong and what to write."""

BundleName: TypeAlias = Annotated[str, AfterValidator(bundle_name)]
BundleVersion: TypeAlias = Annotated[str, AfterValidator(bundle_version)]
Expiry: TypeAlias = Annotated[str, AfterValidator(expiry)]
Root: TypeAlias = Annotated[str, AfterValidator(text)]


class RecipeData(Section):
    """Files of data, YAML or JSON, or folders of them, by what they say. A file of a folder is named after its key."""

    levels: FilePath | None = Field(default=None, description="The level of each code: data.org.levels.")
    rule_data: FilePath | None = Field(default=None, description="What rules read, by rule: data.org.rule_data.")
    environments: FilePath | None = Field(default=None, description="Environments, by name: data.org.environments.")
    discovery: FilePath | None = Field(default=None, description="OPA's configuration, for a discovery bundle.")


class Recipe(Section):
    """What a bundle is made of."""

    name: BundleName = Field(description="The bundle's name; the file is NAME.tar.gz.")
    version: BundleVersion = Field(description="Its version; the revision is this and the digest of the content.")
    kind: Literal["policy", "discovery"] = Field(default="policy", description="What it holds.")
    roots: Listing[Root] = Field(description="What of `data` it owns: flowyml, org, system/log; or discovery.")
    shipped: bool = Field(default=False, description="Whether the rules that ship go in.")
    rules: Listing[FilePath] = Field(default=(), description="Folders with rules and their tests.")
    data: RecipeData = Field(default=RecipeData.model_construct(), description="Files and folders of data.")
    packs: Listing[Text] = Field(default=(), description="Packs that must be in it.")
    metadata: dict[str, Json] = Field(default={}, description="What the manifest is to say beside this.")
    sequence: Annotated[int, Field(ge=1, le=MOST_SEQUENCE)] | None = Field(
        default=None, description="A number that grows with every release; a lower one is taken for a replay."
    )
    expires: Expiry | None = Field(default=None, description="The instant from which it is not to be used.")


class RecipeFile(NamedTuple):
    """A recipe that was read: its file, what it says, and where in the file each value stands."""

    path: Path
    document: Document
    recipe: Recipe

    def place(self, named: str) -> Path:
        """A path of the recipe, seen from its folder."""
        return self.path.parent / named


def read_recipe(path: Path) -> RecipeFile:
    """The recipe at `path`. Raises UsageError where there is none, RecipeInvalid with all that is wrong with it."""
    if is_missing(path):
        raise UsageError(f"there is no such file: {path}", advice="name a recipe, such as bundles/company.yaml")
    if is_folder(path):
        raise UsageError(f"this is a folder, not a recipe: {path}", advice="name a file, such as bundles/company.yaml")
    try:
        read = read_settings_file(path, str(path), Recipe)
        problems = in_file_order(list(_problems(read.values, read.document, path.parent)))
        if problems:
            raise SettingsInvalid.found(problems)
    except SettingsInvalid as error:
        advice = error.advice.replace("`flowyml-policy schema settings` prints", "docs/bundles.md says")
        raise RecipeInvalid(error.message, advice=advice, problems=error.problems) from error
    return RecipeFile(path, read.document, read.values)


def _problems(recipe: Recipe, document: Document, folder: Path) -> Iterator[SettingsProblem]:
    """What is wrong with a recipe whose values are each well-formed."""

    def problem(path: KeyPath, what: str, fix: str) -> SettingsProblem:
        subject = f"`{dotted(path)}`" if path else "the recipe"
        return SettingsProblem(f"{subject} {what}", location=document.key_location(path), fix=fix)

    yield from _wrong_roots(recipe, problem)
    yield from _foreign_to_kind(recipe, problem)
    yield from _unusable_paths(recipe, folder, problem)
    for key in recipe.metadata.keys() & set(RESERVED_METADATA):
        fix = "take it out" if key == "input_schema" else f"write `{key}` beside `metadata`, not in it"
        yield problem(("metadata", key), "is written by the build", fix)
    if not (recipe.shipped or recipe.rules or _data_of(recipe)):
        yield problem((), "names nothing that would go into the bundle", "add `shipped: true`, `rules` or `data`")


def _wrong_roots(recipe: Recipe, problem: _Problem) -> Iterator[SettingsProblem]:
    allowed = (DISCOVERY,) if recipe.kind == DISCOVERY else CONFIGURED_ROOTS
    for index, root in enumerate(recipe.roots):
        if root not in allowed:
            yield problem(
                ("roots", index), f"is {root!r}, which no such bundle may own", f"write {' or '.join(allowed)}"
            )
        elif root in recipe.roots[:index]:
            yield problem(("roots", index), "stands twice", "keep one of the two")
    if not recipe.roots:
        yield problem(("roots",), "names no root, so that the bundle would own every one", f"write [{allowed[-1]}]")
    if recipe.kind == DISCOVERY:
        return
    if (SHIPPED_BUNDLE in recipe.roots) != recipe.shipped:
        what = "names flowyml, the root of the rules that ship" if not recipe.shipped else "lacks flowyml"
        yield problem(("roots",), what, "write `shipped: true` and the root flowyml, or neither")
    if ORG not in recipe.roots and any(key != DISCOVERY for key in _data_of(recipe)):
        yield problem(("data",), "is data of the company, but `roots` lacks org", "add org to `roots`")


def _foreign_to_kind(recipe: Recipe, problem: _Problem) -> Iterator[SettingsProblem]:
    """Keys that a bundle of this kind does not have."""
    if recipe.kind != DISCOVERY:
        if recipe.data.discovery is not None:
            yield problem(("data", DISCOVERY), "belongs to a bundle of `kind: discovery`", "take it out")
        return
    for key in ("shipped", "rules", "packs"):
        if getattr(recipe, key):
            yield problem((key,), "does not belong into a bundle of `kind: discovery`", "take it out")
    for key in _data_of(recipe):
        if key != DISCOVERY:
            yield problem(("data", key), "does not belong into a bundle of `kind: discovery`", "take it out")
    if recipe.data.discovery is None:
        yield problem(("data",), "lacks `discovery`, the configuration that it brings", "add `discovery: FILE`")


def _unusable_paths(recipe: Recipe, folder: Path, problem: _Problem) -> Iterator[SettingsProblem]:
    for index, named in enumerate(recipe.rules):
        if not is_folder(folder / named):
            yield problem(("rules", index), f"names no folder: {shown(named)}", "correct the path; it starts here")
        elif named in recipe.rules[:index]:
            yield problem(("rules", index), "stands twice", "keep one of the two")
    for key, named in _data_of(recipe).items():
        if is_missing(folder / named):
            yield problem(("data", key), f"names nothing that exists: {shown(named)}", "correct the path")
        elif Path(named).name in _AMBIGUOUS:
            fix = f"call the file {key}.yaml: OPA reads {Path(named).name} itself, and its versions differ in how"
            yield problem(("data", key), f"is called {Path(named).name}", fix)


def _data_of(recipe: Recipe) -> dict[str, str]:
    """Each kind of data that a recipe names, with its path."""
    return {key: getattr(recipe.data, key) for key in RecipeData.model_fields if getattr(recipe.data, key) is not None}


def data_places(read: RecipeFile) -> dict[str, Path]:
    """Where each kind of data of a recipe stands."""
    return {key: read.place(named) for key, named in _data_of(read.recipe).items()}
