"""Whether a server may publish a bundle: it is read, and loaded by OPA, in a process of its own.

Rules:
- What is published comes from elsewhere. A bundle that unpacks without end, or that OPA never gets done with, ends its
  own process, at a limit of time and of memory, and never the server.
- With keys it must be signed by one of them; without, a signature is not looked at.
- OPA loads it as the evaluators have it loaded: with a revision, an expiry that is an instant, and roots that such a
  bundle may own, or as a discovery bundle.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from flowyml_policy.bundles.archive import read_archive
from flowyml_policy.bundles.keys import Key
from flowyml_policy.bundles.signing import check_loads, verify_archive
from flowyml_policy.errors.bundles import BundleRefused, BundleUnreadable, SignatureRefused
from flowyml_policy.errors.opa import OpaUnavailable
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.opa.library import load
from flowyml_policy.opa.limits import limit_memory
from flowyml_policy.records.record import Json

SECONDS: Final = 60.0
MEMORY: Final = 4 << 30

_LEAVES: Final[Mapping[str, type[FlowymlPolicyError]]] = {
    leaf.code: leaf for leaf in (BundleUnreadable, SignatureRefused, BundleRefused, OpaUnavailable)
}


class Admitted(NamedTuple):
    """A bundle that may be published, and what its manifest says."""

    revision: str
    sequence: int | None
    expires: str | None
    roots: tuple[str, ...]
    keyid: str | None


def admit(path: Path, keys: Sequence[Key], *, seconds: float = SECONDS, memory: int = MEMORY) -> Admitted:
    """Check the archive at `path`.

    Raises BundleUnreadable for what is no bundle, SignatureRefused, BundleRefused for what does not load or takes too
    much, and OpaUnavailable.
    """
    asked = json.dumps({"path": str(path), "keys": keys, "memory": memory})
    command = [sys.executable, "-m", "flowyml_policy.bundles.admission"]
    try:
        done = subprocess.run(command, input=asked.encode(), capture_output=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise BundleRefused(f"the bundle is not loaded within {seconds:g} s: {path}") from error
    except OSError as error:
        raise OpaUnavailable(f"no process can be started to check a bundle: {error}") from error
    try:
        told: dict[str, Json] = json.loads(done.stdout)
    except ValueError as error:
        raise BundleRefused(
            f"the process that loads the bundle ended ({done.returncode}), as one does that takes too much: {path}"
        ) from error
    if "error" in told:
        raise _LEAVES.get(told["code"], BundleRefused)(told["error"], advice=told["advice"])
    return Admitted(**{**told, "roots": tuple(told["roots"])})


def check(path: Path, keys: Sequence[Key]) -> Admitted:
    """Check the archive at `path` in this process, without limits. Raises as `admit` does."""
    archive = read_archive(path)
    if keys:
        keyid = verify_archive(archive, keys).keyid
    else:
        check_loads(archive)
        keyid = None
    # OPA has loaded it, so that its roots are stated, and such as a bundle may own.
    return Admitted(*archive.release, tuple(archive.manifest["roots"]), keyid)


def main() -> int:
    """Check the archive that standard input names, and write what came of it to standard output, as JSON."""
    asked: dict[str, Json] = json.loads(sys.stdin.read())
    is_limited = limit_memory(asked["memory"])
    told: dict[str, Json]
    try:
        load(is_limited=is_limited)
        told = check(Path(asked["path"]), [Key(*key) for key in asked["keys"]])._asdict()
    except FlowymlPolicyError as error:
        told = {"error": error.message, "code": error.code, "advice": error.advice}
    except (MemoryError, RecursionError) as error:
        what = f"the bundle takes too much: {type(error).__name__}"
        told = {"error": what, "code": BundleRefused.code, "advice": BundleRefused.default_advice}
    json.dump(told, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
