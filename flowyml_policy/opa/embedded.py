"""OPA in this process: the library's evaluator behind the seam.

Rules:
- Bundles are staged before OPA sees them: tests and samples stay out, and the catalogue of rules that carry none is
  made of their METADATA. An archive, and whatever is signed, goes to OPA as it is.
- The policy is checked once when it is loaded, so that nothing has to be looked for in a decision.
- What is staged is removed when OPA has read it, which it does once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from flowyml_policy.errors.opa import OpaStartFailed, OpaUndefined, PolicyInvalid
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.opa import bundle_files, shipped
from flowyml_policy.opa.bundle_files import BundleFiles, BundleFilesInvalid
from flowyml_policy.opa.catalogue import check_folders, check_loaded, make_catalogue, shown
from flowyml_policy.opa.configuration import (
    PROJECT_BUNDLE,
    PROJECT_ROOTS,
    BundleSource,
    Configuration,
    check_roots,
    read_configuration,
)
from flowyml_policy.opa.evaluator import OpaEvaluator
from flowyml_policy.opa.library import Library, is_alive, load
from flowyml_policy.records.record import Json
from flowyml_policy.records.result import GlobProblem

RULE_ROOTS: Final = ("flowyml", "org", "project")
_NANOSECONDS: Final = 1_000_000_000
_STOP_SECONDS: Final = 5.0


class EmbeddedEvaluator(OpaEvaluator):
    """Judges by OPA in this process.

    `config` is `policy.opa.config`; without one the shipped policy judges. `rule_folders` hold the project's own
    rules, added as the bundle `project`. Relative resources start at `root`, the working directory by default.
    Times are in seconds. `allow_hosts` are the only hosts that policy may reach. `library` is the OPA library, that
    of this package by default.

    Raises OpaError or FeatureUnavailable when the policy cannot be loaded.
    """

    name = "embedded"

    def __init__(
        self,
        *,
        config: Mapping[str, Json] | None = None,
        rule_folders: Sequence[Path] = (),
        root: Path | None = None,
        start_timeout: float = 10.0,
        deadline: float = 2.0,
        allow_hosts: Sequence[str] = (),
        library: Library | None = None,
    ) -> None:
        self._library = load() if library is None else library
        self._deadline_ns = round(deadline * _NANOSECONDS)
        try:
            early = None if config is not None or rule_folders or allow_hosts or library else shipped.take()
            started, bundles = (
                (early, [shipped.SHIPPED_BUNDLE])
                if early
                else self._start(
                    read_configuration(config, root or Path.cwd()),
                    [Path(folder) for folder in rule_folders],
                    round(start_timeout * _NANOSECONDS),
                    allow_hosts,
                )
            )
        except FlowymlPolicyError:
            raise
        except BundleFilesInvalid as error:
            raise PolicyInvalid(str(error)) from error
        except Exception as error:
            raise OpaStartFailed(f"the policy could not be staged: {type(error).__name__}: {error}") from error
        self._handle: int = started["handle"]
        super().__init__(bundles=bundles, version=self._library.opa_version)
        try:
            check_loaded(started["rules"], {root: self._catalogued(root) for root in RULE_ROOTS})
        except BaseException:
            self.close()
            raise

    def _start(
        self, configuration: Configuration, rule_folders: Sequence[Path], timeout_ns: int, allow_hosts: Sequence[str]
    ) -> tuple[dict[str, Json], list[str]]:
        from tempfile import TemporaryDirectory

        with TemporaryDirectory(prefix="flowyml-policy-") as scratch, ExitStack() as held:
            bundles: dict[str, Json] = {}
            expected: dict[str, Json] = {}
            for source in configuration.sources:
                place = self._staged(source, Path(scratch), held, timeout_ns)
                bundles[source.name] = {**source.options, "resource": place.absolute().as_uri()}
                expected[source.name] = {"roots": shipped.CONFIGURED_ROOTS}
            if rule_folders:
                place = self._staged_project(rule_folders, Path(scratch), timeout_ns)
                bundles[PROJECT_BUNDLE] = {"resource": place.as_uri()}
                expected[PROJECT_BUNDLE] = {"roots": PROJECT_ROOTS}
            started = self._library.start(
                shipped.start_settings(
                    {**configuration.rest, "bundles": bundles},
                    expected,
                    tuple(allow_hosts),
                    timeout_ns,
                    vouched=any(source.place is None for source in configuration.sources),
                )
            )
        return started, list(bundles)

    def _staged(self, source: BundleSource, scratch: Path, held: ExitStack, timeout_ns: int) -> Path:
        """What OPA is to read for a configured bundle, until `held` is closed."""
        target = scratch / f"{len(list(scratch.iterdir()))}.tar.gz"
        if source.place is None:
            return held.enter_context(shipped.bundle())
        if source.is_signed or not source.place.is_dir():
            return source.place
        manifest = bundle_files.read_manifest(source.place)
        roots = [root.strip("/") for root in manifest.get("roots", [""])]
        check_roots(source.name, roots)
        found = bundle_files.collect([source.place])
        for root in roots:
            if root in RULE_ROOTS and "catalogue" not in found.data.get(root, {}):
                self._add_catalogue(found, root, source.place.parent, timeout_ns)
        bundle_files.write(found, target, roots=roots, version=source.name, manifest=manifest)
        return target

    def _staged_project(self, folders: Sequence[Path], scratch: Path, timeout_ns: int) -> Path:
        """The project's own rules as one bundle."""
        found = bundle_files.collect(folders, titled=True)
        for key in found.data.keys() - set(PROJECT_ROOTS):
            raise PolicyInvalid(f"data.{key} is outside the root {PROJECT_BUNDLE}, the only one that a project may own")
        if "catalogue" in found.data.get(PROJECT_BUNDLE, {}):
            raise PolicyInvalid("data.project.catalogue is made of the rules' METADATA, and cannot be given")
        near = Path.cwd()
        check_folders(self._add_catalogue(found, PROJECT_BUNDLE, near, timeout_ns), folders, near)
        target = scratch / "project.tar.gz"
        bundle_files.write(found, target, roots=PROJECT_ROOTS, version=PROJECT_BUNDLE, manifest={})
        return target

    def _add_catalogue(self, found: BundleFiles, root: str, near: Path, timeout_ns: int) -> dict[str, Json]:
        """Add the catalogue of the rules of `root`, made of the inspection that is returned."""
        files = list(found.origins.values())
        inspection = self._library.inspect(files, timeout_ns)
        names = {str(file): shown(file, near) for file in files}
        found.data.setdefault(root, {})["catalogue"] = make_catalogue(inspection, root, names=names)
        return inspection

    def _catalogued(self, root: str) -> list[str]:
        """The names of the rules that the catalogue of a root lists."""
        try:
            names = self.query(f"{root}/catalogue/rules", {})
        except OpaUndefined:
            return []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise PolicyInvalid(f"data.{root}.catalogue.rules is no list of names")
        return names

    def _query(self, path: str | None, document: bytes) -> bytes:
        encoded = None if path is None else path.encode()
        return self._library.decide(self._handle, encoded, document, self._deadline_ns)

    def _check_globs(self, patterns: Sequence[str]) -> tuple[GlobProblem, ...]:
        return tuple(GlobProblem(**problem) for problem in self._library.check_globs(patterns, self._deadline_ns))

    def _close(self) -> None:
        if is_alive():  # in a forked child there is nothing left to stop
            self._library.stop(self._handle, round(_STOP_SECONDS * _NANOSECONDS))
