"""Builds a bundle from a recipe.

Rules:
- First what the recipe says is read and checked, then OPA compiles and tests it, in processes that can be ended, then
  the bundle that came of it decides on an ordinary stack. Only then a file is written.
- OPA compiles the bundle together with what ships, on whose functions it may rest; what is written is the sources.
- The revision is the version and a digest of the content, without `sequence` and `expires`: the same policy published
  again has the same revision.
- The archive is the same bytes for the same recipe, files, `sequence` and `expires`.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from flowyml_policy.bundles import trial
from flowyml_policy.bundles.archive import DATA, write_archive
from flowyml_policy.bundles.content import Content, gather
from flowyml_policy.bundles.conventions import check_calls, check_conventions, inspect_policy
from flowyml_policy.bundles.recipe import Recipe, RecipeFile
from flowyml_policy.opa.bundle_files import INPUT_SCHEMA, MANIFEST, content_digest, encoded
from flowyml_policy.opa.catalogue import RULES
from flowyml_policy.opa.configuration import DISCOVERY
from flowyml_policy.opa.library import load
from flowyml_policy.records.record import Json

FOLDER: Final = "dist"
SHOWN: Final = 12
"""Hex digits of the content's digest in a revision."""


class Built(NamedTuple):
    """A bundle that was written: where, what it is called, what it holds. `digest` is that of the file."""

    name: str
    file: Path
    revision: str
    digest: str
    roots: tuple[str, ...]
    rules: tuple[str, ...]
    tests: int
    sequence: int | None
    expires: str | None


def build_bundle(
    read: RecipeFile, *, sequence: int | None = None, expires: str | None = None, output: Path | None = None
) -> Built:
    """Build the bundle of a recipe. `sequence`, and `expires` as `expiry` gives it, stand in place of the recipe's.

    Raises RecipeInvalid, BundleRefused with all that one step found, BundleUnreadable where nothing can be written, and
    OpaError.
    """
    recipe = read.recipe
    content = gather(read)
    sequence = recipe.sequence if sequence is None else sequence
    expires = recipe.expires if expires is None else expires
    target = output or read.path.parent / FOLDER / f"{recipe.name}.tar.gz"
    with TemporaryDirectory(prefix="flowyml-policy-") as scratch:
        tests = 0 if recipe.kind == DISCOVERY else _checked(content, recipe, Path(scratch))
        revision, files = _archived(content, recipe, sequence, expires)
        if recipe.kind != DISCOVERY:
            archive = Path(scratch) / "bundle.tar.gz"
            write_archive(archive, files)
            trial.decide(archive, content, is_whole=recipe.shipped)
    return Built(
        name=recipe.name,
        file=target,
        revision=revision,
        digest=write_archive(target, files),
        roots=tuple(sorted(recipe.roots)),
        rules=_rules(content),
        tests=tests,
        sequence=sequence,
        expires=expires,
    )


def _checked(content: Content, recipe: Recipe, scratch: Path) -> int:
    """Check the policy of a bundle, and have OPA compile and test it; how many tests passed. Raises BundleRefused."""
    library = load()
    stage = trial.Stage(scratch, content)
    inspection = inspect_policy(library, stage.policy, content)
    check_conventions(inspection, content, recipe.roots, stage.names)
    check_calls(library, inspection, content, stage.names)
    stage.write_data(recipe.roots)
    return stage.compile_and_test()


def _archived(
    content: Content, recipe: Recipe, sequence: int | None, expires: str | None
) -> tuple[str, dict[str, bytes]]:
    """The revision of a bundle, and its files with the manifest."""
    files = dict(content.files)
    if content.data:
        files[DATA] = encoded(content.data)
    metadata: dict[str, Json] = {**recipe.metadata, "input_schema": INPUT_SCHEMA}
    stated = {"roots": sorted(recipe.roots), "rego_version": 1, "metadata": metadata}
    digest = content_digest({**files, MANIFEST: encoded(stated)})
    revision = f"{recipe.version}+{digest[:SHOWN]}"
    if sequence is not None:
        metadata["sequence"] = sequence
    if expires is not None:
        metadata["expires"] = expires
    return revision, {**files, MANIFEST: encoded({"revision": revision, **stated})}


def _rules(content: Content) -> tuple[str, ...]:
    """The rules of a bundle, `org.rules.cost_centre`, as its catalogues list them."""
    return tuple(
        f"{root}.{RULES}.{rule}"
        for root, data in sorted(content.data.items())
        if isinstance(data, dict)
        for rule in data.get("catalogue", {}).get("rules", [])
    )
