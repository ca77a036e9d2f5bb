"""The build hook: puts the OPA library and the policy bundle into what is installed.

Rules:
- An editable install compiles the library into the checkout and reads the checkout's `rego/`; a wheel carries both,
  the policy as a built bundle. A wheel is for one platform and every Python 3.
- How the library is compiled is libopa/build.py's business, how a bundle is made flowyml_policy/opa/bundle_files.py's.
  Both are loaded by path, since nothing of the project is importable while it is built.
- What is missing ends the build with one message, not with a traceback.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY_FOLDER = "flowyml_policy/opa/_lib"
BUNDLE = "flowyml_policy/opa/_bundle/flowyml.tar.gz"


def load_by_path(root: Path, file: str) -> ModuleType:
    """Return the module in `file` of the checkout, which needs nothing but the standard library."""
    name = f"flowyml_policy_build_{Path(file).stem}"
    spec = importlib.util.spec_from_file_location(name, root / file)
    if spec is None or spec.loader is None or not (root / file).is_file():
        raise FileNotFoundError(f"{root / file} is missing: restore it from the repository or the source archive")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


class LibopaBuildHook(BuildHookInterface[BuilderConfig]):
    """Compiles libopa and stages the shipped policy for wheels and editable installs."""

    PLUGIN_NAME = "custom"
    _staged: tempfile.TemporaryDirectory[str] | None = None

    def dependencies(self) -> list[str]:
        """Return the compilers that this machine lacks, as packages to install before the build."""
        if self._sidecar_only():
            return []
        libopa = self._libopa()
        try:
            return list(libopa.requirements())
        except libopa.BuildError as error:
            self._abort(error)
            raise

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the library, and for a standard wheel name what it carries and the platform it is for."""
        carried: dict[str, str] = {} if version == "editable" else {str(self._stage_policy()): BUNDLE}
        if not self._sidecar_only():
            libopa = self._libopa()
            try:
                target = libopa.find_target()
                toolchain = libopa.find_toolchain(target)
                library = libopa.build_library(target, toolchain)
            except libopa.BuildError as error:
                self._abort(error)
                raise
            if version != "editable":
                carried[str(library)] = f"{LIBRARY_FOLDER}/{library.name}"
                build_data["pure_python"] = False
                build_data["tag"] = f"py3-none-{libopa.wheel_platform(target, toolchain)}"
        build_data["force_include"].update(carried)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was only staged: left in the tree it would outlive the `rego/` that it was made from."""
        del version, build_data, artifact_path
        if self._staged is not None:
            self._staged.cleanup()

    def _stage_policy(self) -> Path:
        """Make the bundle of the shipped policy; return its file."""
        bundle_files = load_by_path(Path(self.root), "flowyml_policy/opa/bundle_files.py")
        self._staged = tempfile.TemporaryDirectory(prefix="flowyml-policy-bundle-")
        bundle = Path(self._staged.name) / Path(BUNDLE).name
        folder = Path(self.root) / "rego"
        try:
            bundle_files.stage(folder, bundle, roots=["flowyml"], version=self.metadata.version, only=["flowyml"])
        except bundle_files.BundleFilesInvalid as error:
            self._abort(error)
            raise
        return bundle

    def _libopa(self) -> ModuleType:
        return load_by_path(Path(self.root), "libopa/build.py")

    def _sidecar_only(self) -> bool:
        return os.environ.get(self._libopa().SIDECAR_VARIABLE) == "1"

    def _abort(self, error: Exception) -> None:
        """End the build with the error's message alone."""
        self.app.abort(f"flowyml-policy: {error}")
