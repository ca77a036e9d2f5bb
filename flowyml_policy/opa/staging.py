"""Bundles as OPA is to read them: made of folders, with the catalogue that their METADATA says.

Rules:
- Tests and samples stay out. An archive, and whatever is signed, goes to OPA as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flowyml_policy.errors.opa import PolicyInvalid
from flowyml_policy.opa import bundle_files, shipped
from flowyml_policy.opa.bundle_files import BundleFiles
from flowyml_policy.opa.catalogue import check_folders, make_catalogue, shown
from flowyml_policy.opa.configuration import PROJECT_BUNDLE, PROJECT_ROOTS, BundleSource, check_roots

if TYPE_CHECKING:
    from flowyml_policy.opa.library import Library
    from flowyml_policy.records.record import Json

RULE_ROOTS: Final = ("flowyml", "org", "project")


class Staging:
    """Puts bundles into the folder `scratch`; messages show files as seen from `near`."""

    def __init__(self, library: Library, scratch: Path, near: Path, timeout_ns: int) -> None:
        self._library = library
        self._scratch = scratch
        self._near = near
        self._timeout_ns = timeout_ns

    def staged(self, source: BundleSource, held: ExitStack) -> Path:
        """What OPA is to read for a configured bundle, until `held` is closed."""
        target = self._scratch / f"{len(list(self._scratch.iterdir()))}.tar.gz"
        if source.place is None:
            return held.enter_context(shipped.bundle())
        if source.is_signed or source.copied is not None or not source.place.is_dir():
            return source.place
        manifest = bundle_files.read_manifest(source.place)
        roots = [root.strip("/") for root in manifest.get("roots", [""])]
        check_roots(source.name, roots)
        found = bundle_files.collect([source.place])
        for root in roots:
            if root in RULE_ROOTS and "catalogue" not in found.data.get(root, {}):
                self._add_catalogue(found, root, source.place.parent, beside=roots)
        bundle_files.write(found, target, roots=roots, version=source.name, manifest=manifest)
        return target

    def staged_project(self, folders: Sequence[Path]) -> Path:
        """The project's own rules as one bundle."""
        found = bundle_files.collect(folders, titled=True)
        for key in found.data.keys() - set(PROJECT_ROOTS):
            raise PolicyInvalid(f"data.{key} is outside the root {PROJECT_BUNDLE}, the only one that a project may own")
        if "catalogue" in found.data.get(PROJECT_BUNDLE, {}):
            raise PolicyInvalid("data.project.catalogue is made of the rules' METADATA, and cannot be given")
        near = self._near
        check_folders(self._add_catalogue(found, PROJECT_BUNDLE, near), folders, near)
        target = self._scratch / "project.tar.gz"
        bundle_files.write(found, target, roots=PROJECT_ROOTS, version=PROJECT_BUNDLE, manifest={})
        return target

    def _add_catalogue(
        self, found: BundleFiles, root: str, near: Path, *, beside: Sequence[str] = ()
    ) -> dict[str, Json]:
        """Add the catalogue of the rules of `root`, made of the inspection that is returned.

        What stands below the roots `beside` it, all of them the bundle's own, is in no catalogue of this one.
        """
        files = list(found.origins.values())
        inspection = self._library.inspect(files, self._timeout_ns)
        others = tuple(f"{other}/" for other in beside if other != root)
        inspection["modules"] = [
            module for module in inspection["modules"] if not f"{'/'.join(module['package'])}/".startswith(others)
        ]
        names = {str(file): shown(file, near) for file in files}
        found.data.setdefault(root, {})["catalogue"] = make_catalogue(inspection, root, names=names)
        return inspection


def digest_of(places: Mapping[str, Path]) -> str:
    """The SHA-256 of the bytes that OPA reads for each bundle, an archive or a folder, by its name."""
    digest = sha256()
    for name, place in sorted(places.items()):
        files = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
        for file in files:
            with suppress(OSError):  # OPA says what is wrong with it
                content = file.read_bytes()
                digest.update(f"{name}\0{file.relative_to(place)}\0{len(content)}\0".encode(errors="surrogateescape"))
                digest.update(content)
    return digest.hexdigest()
