"""Small policies for servers to give, signed or not, and evaluators that follow them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from flowyml_policy.bundles.keys import make_keys, read_private_key
from flowyml_policy.bundles.signing import sign_bundle
from flowyml_policy.opa.copies import Remote
from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.opa.evaluator import OpaEvaluator
from flowyml_policy.opa.loading import PolicySource
from flowyml_policy.opa.process import ProcessEvaluator
from flowyml_policy.records.protocols import SequenceStore
from flowyml_policy.storage.sequences import FileSequences
from tests.bundle_server import BundleServer
from tests.contract.conftest import GLOBS, MAIN, NAMING, built, write

POLLING: Final = {"min_delay_seconds": 1, "max_delay_seconds": 1}


class Publisher:
    """Makes bundles of a small policy. The rule takes names of at most `longest` characters."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._keys: dict[str, Path] = {}
        self._made = 0

    def key(self, name: str) -> dict[str, str]:
        """The public key `name`, as OPA is to be told of it."""
        if name not in self._keys:
            self._keys[name] = make_keys(self.folder / name, "ES256").private
        return {"algorithm": "ES256", "key": self._keys[name].with_suffix(".pub").read_text()}

    def bundle(
        self,
        revision: str,
        *,
        longest: int = 8,
        key: str | None = None,
        files: Mapping[str, str] | None = None,
        roots: tuple[str, ...] = ("flowyml",),
        **metadata: Any,
    ) -> Path:
        """The archive of one revision, signed where a key is named."""
        self._made += 1
        folder = self.folder / f"policy-{self._made}"
        manifest = {"revision": revision, "roots": list(roots), "metadata": metadata}
        policy = {"main.rego": MAIN, "globs.rego": GLOBS, "naming.rego": NAMING.replace("> 8", f"> {longest}")}
        write(folder, {**(policy if files is None else files), ".manifest": json.dumps(manifest)})
        archive = built("flowyml", folder, self.folder)
        if key is not None:
            self.key(key)
            sign_bundle(archive, read_private_key(self._keys[key]))
        return archive


def config(server: BundleServer, *, service: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """OPA's configuration for the bundle `flowyml` from `server`; `keys` stands beside."""
    keys = options.pop("keys", None)
    more = options.pop("more", {})
    made: dict[str, Any] = {
        "services": {"company": {"url": server.url, **(service or {})}},
        "bundles": {"flowyml": {"service": "company", "polling": POLLING, **options}},
        **more,
    }
    return {**made, "keys": keys} if keys else made


Follow = Callable[..., OpaEvaluator]


def start(kind: str, given: Mapping[str, Any], state: Path, **options: Any) -> OpaEvaluator:
    """An evaluator on a configuration, with its state in a folder."""
    offline, max_age = options.pop("offline", False), options.pop("max_age", 3600.0)
    sequences: SequenceStore = options.pop("sequences", FileSequences(state))
    source = PolicySource.of(
        config=dict(given),
        start_timeout=options.pop("start_timeout", 10.0),
        deadline=options.pop("deadline", 10.0),
        remote=Remote(max_age, state, offline),
        **options,
    )
    if kind == "process":
        return ProcessEvaluator(source, sequences=sequences)
    return EmbeddedEvaluator.from_source(source, sequences=sequences)


def eventually(holds: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait until `holds`."""
    until = monotonic() + seconds
    while not holds():
        assert monotonic() < until, "it did not come to be in time"
        sleep(0.05)
