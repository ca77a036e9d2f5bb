"""What goes into a bundle: the files that a recipe names, read, placed and checked by themselves.

Rules:
- Where a file stands in the bundle depends on the recipe alone, never on the folder that it is built in.
- Data is read strictly and written as JSON, so that no two versions of OPA read it in two ways.
- Rule data of the company is checked as the same words in flowyml.yaml are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from flowyml_policy.bundles.archive import read_archive
from flowyml_policy.bundles.recipe import ORG, RecipeFile, data_places
from flowyml_policy.documents.document import Document
from flowyml_policy.documents.key_path import dotted
from flowyml_policy.documents.reader import Limits, load_documents
from flowyml_policy.errors.bundles import BundleRefused, RecipeInvalid
from flowyml_policy.errors.documents import YamlInvalid
from flowyml_policy.errors.settings import SettingsInvalid, SettingsProblem
from flowyml_policy.errors.sources import SourceUnreadable
from flowyml_policy.opa import shipped
from flowyml_policy.opa.bundle_files import SAMPLES, BundleFiles, BundleFilesInvalid, collect, merge
from flowyml_policy.opa.configuration import DISCOVERY, refused_configuration
from flowyml_policy.records.record import Json, Key, KeyPath, Location
from flowyml_policy.settings.demands import refused_rule_data
from flowyml_policy.settings.problems import kind_of
from flowyml_policy.system.files import is_folder, read_file

LIMITS: Final = Limits(size=16 << 20, nodes=1_000_000, documents=2)
ENDINGS: Final = (".yaml", ".yml", ".json")
TEST: Final = "_test.rego"

_STEP: Final = re.compile(r'\.([A-Za-z_][\w-]*)|\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]', re.ASCII)


@dataclass(frozen=True)
class DataFile:
    """A file of data that was read; `below` are the keys that its content stands under in `data`."""

    document: Document
    below: KeyPath

    def locate(self, path: KeyPath) -> Location:
        """Where the value at `path` of `data` stands."""
        return self.document.location(path[len(self.below) :])


@dataclass(frozen=True)
class Content:
    """What a bundle is made of: its own policy and data, what ships if that goes in, and the tests of both."""

    own: BundleFiles = field(default_factory=BundleFiles)
    shipped: BundleFiles | None = None
    tests: dict[str, Path] = field(default_factory=dict)
    shipped_tests: dict[str, Path] = field(default_factory=dict)
    data_files: list[DataFile] = field(default_factory=list)

    @property
    def files(self) -> dict[str, bytes]:
        """The Rego files of the bundle, by their names in it."""
        return {**(self.shipped.files if self.shipped else {}), **self.own.files}

    @property
    def data(self) -> dict[str, Json]:
        """The data of the bundle."""
        return {**(self.shipped.data if self.shipped else {}), **self.own.data}

    def located(self, subject: str) -> str:
        """Where `subject`, such as data.org.levels["a.b"], stands in the files of data; itself for anything else."""
        path = _key_path(subject)
        for file in self.data_files:
            if path[: len(file.below)] == file.below:
                return str(file.locate(path))
        return subject


def gather(read: RecipeFile) -> Content:
    """Read all that `read` names. Raises RecipeInvalid or BundleRefused with what is wrong."""
    try:
        content = Content(shipped=_shipped() if read.recipe.shipped else None)
        for named in read.recipe.rules:
            _add_rules(content, read.place(named), _prefix(named))
        problems = list(refused_rule_data(_org(content, "rule_data"), (ORG, "rule_data"), read.document.location))
        for key, place in data_places(read).items():
            problems += _add_data(content, (DISCOVERY,) if key == DISCOVERY else (ORG, key), place)
    except BundleFilesInvalid as error:
        raise BundleRefused(str(error)) from error
    except SourceUnreadable as error:
        raise RecipeInvalid(error.message, advice=error.advice) from error
    if problems:
        raise RecipeInvalid.of(SettingsInvalid.found(problems))
    if read.recipe.shipped and not shipped.PACKAGED_BUNDLE.is_file():
        content.shipped_tests.update(_tests(shipped.CHECKOUT_POLICY / shipped.SHIPPED_BUNDLE, shipped.SHIPPED_BUNDLE))
    _require_packs(read, content)
    return content


def _shipped() -> BundleFiles:
    """What ships, as every installation has it."""
    with shipped.bundle() as archive:
        return read_archive(archive).bundle_files()


def _prefix(named: str) -> str:
    """What the files of a folder stand below in the bundle: the path that the recipe names it by."""
    return "/".join(part for part in PurePosixPath(named).parts if part not in {"/", ".", ".."})


def _add_rules(content: Content, folder: Path, prefix: str) -> None:
    found = collect([folder])
    for name, text in found.files.items():
        whole = f"{prefix}/{name}" if prefix else name
        if whole in content.files:
            raise BundleFilesInvalid(f"two files would be {whole} of the bundle, one of them {found.origins[name]}")
        content.own.files[whole] = text
        content.own.origins[whole] = found.origins[name]
    merge(content.own.data, found.data, folder)
    content.tests.update(_tests(folder, prefix))


def _tests(folder: Path, prefix: str) -> dict[str, Path]:
    """The tests below a folder, by their names beside the rules in the bundle."""
    found = {}
    for path in sorted(folder.rglob(f"*{TEST}")):
        place = path.relative_to(folder)
        if not any(part.startswith(".") or part == SAMPLES for part in place.parts):
            found[f"{prefix}/{place.as_posix()}" if prefix else place.as_posix()] = path
    return found


def _add_data(content: Content, below: KeyPath, place: Path) -> Iterator[SettingsProblem]:
    """Put a file of data, or a folder of files named after their keys, in; say what is wrong with it."""
    if not is_folder(place):
        yield from _add_data_file(content, below, place)
        return
    files = [file for file in sorted(place.iterdir()) if not file.name.startswith(".")]
    if not files:
        raise BundleFilesInvalid(f"the folder holds no data: {place}")
    for file in files:
        if not file.name.endswith(ENDINGS) or is_folder(file):
            raise BundleFilesInvalid(f"neither YAML nor JSON, and all else would be passed over: {file}")
        yield from _add_data_file(content, (*below, file.stem), file)


def _add_data_file(content: Content, below: KeyPath, path: Path) -> Iterator[SettingsProblem]:
    file = DataFile(_document(path), below)
    value: Json = file.document.value
    for key in reversed(below):
        value = {str(key): value}
    merge(content.own.data, value, path)
    content.data_files.append(file)
    if below[:2] == (ORG, "rule_data"):
        yield from refused_rule_data(value[ORG]["rule_data"], (ORG, "rule_data"), file.locate)
    if below == (DISCOVERY,):
        yield from _refused_configuration(file)


def _document(path: Path) -> Document:
    """The one document of a file, which is a mapping. Raises RecipeInvalid."""
    try:
        documents = load_documents(read_file(path, most=LIMITS.size), str(path), limits=LIMITS)
    except YamlInvalid as error:
        problem = SettingsProblem(error.problem, location=error.location, fix=error.fix)
        raise RecipeInvalid.of(SettingsInvalid.found([problem])) from error
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        held = kind_of(documents[0].value) if len(documents) == 1 else f"{len(documents)} documents"
        raise RecipeInvalid(f"the file must hold one mapping of keys to values, not {held}: {path}")
    return documents[0]


def _refused_configuration(file: DataFile) -> Iterator[SettingsProblem]:
    """What of OPA's configuration a discovery bundle may not bring."""
    for path, what, fix in refused_configuration(file.document.value):
        yield SettingsProblem(what, location=file.document.key_location(path), fix=fix)


def _require_packs(read: RecipeFile, content: Content) -> None:
    """Raise RecipeInvalid for a pack that a recipe names and the bundle does not hold."""
    there = {name for root in content.data.values() if isinstance(root, dict) for name in root.get("packs", {})}
    problems = [
        SettingsProblem(
            f"`{dotted(('packs', index))}` names a pack that is not there: {name}",
            location=read.document.location(("packs", index)),
            fix=f"these are there: {', '.join(sorted(there))}" if there else "take it out: the bundle holds no packs",
        )
        for index, name in enumerate(read.recipe.packs)
        if name not in there
    ]
    if problems:
        raise RecipeInvalid.of(SettingsInvalid.found(problems))


def _org(content: Content, key: str) -> Json:
    org = content.own.data.get(ORG)
    return org.get(key) if isinstance(org, dict) else None


def _key_path(subject: str) -> KeyPath:
    """The keys of `data.org.levels["a.b"]` below `data`; none for what is no such text."""
    if not subject.startswith("data."):
        return ()
    steps: list[Key] = []
    for name, quoted, index in _STEP.findall(subject[len("data") :]):
        steps.append(int(index) if index else name or quoted)
    return tuple(steps)
