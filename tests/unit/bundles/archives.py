"""Small archives with a manifest, as bundles are published; OPA has no part in them."""

from __future__ import annotations

import json
from pathlib import Path

from flowyml_policy.bundles.archive import write_archive


def archive(path: Path, sequence: object = None, *, rule: str = "package org.rules.a", **more: object) -> Path:
    """A bundle of one rule; `more` stands in its metadata."""
    metadata = {**({} if sequence is None else {"sequence": sequence}), **more}
    manifest = {"revision": f"1.0.0+{len(rule)}", "roots": ["org"], "metadata": metadata}
    write_archive(path, {".manifest": json.dumps(manifest).encode(), "a.rego": rule.encode()})
    return path
