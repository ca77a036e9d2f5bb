"""Show what images really are: a registry and a daemon, hand-made images, and the stacks of examples/images.

Starts Debian's docker-registry and dockerd on this machine alone (`apt install docker-registry docker.io`; as root). It
exits 0 only when every stack got the decision that its first line expects; `make demo-images`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from _pytest.outcomes import OutcomeException
from demo import EXPECT, PROGRAM, ROOT, expected, show_in

sys.path.insert(0, str(ROOT))

from flowyml_policy.images.manifests import OCI_MANIFEST
from tests.containers.daemons import dockerd
from tests.containers.registries import Registry, registry
from tests.image_builder import Blob, Image, RegistryClient, build, encoded, index, layer
from tests.unit.images.cosign import Signer

PROJECT: Final = ROOT / "examples" / "images"
LABELS: Final = {"maintainer": "ml-platform", "version": "1.4.0"}
CODES: Final = {"allow": 0, "deny": 1}


def main() -> int:
    """Run the demonstration; return the exit code."""
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="fp-demo-")))
        try:
            registry_here = held.enter_context(registry(folder / "registry"))
            daemon = held.enter_context(dockerd())
        except OutcomeException as error:
            print(f"error: {error}", file=sys.stderr)
            return 3
        here = _project(folder, registry_here)
        print(f"a registry at {registry_here.host}, and a Docker daemon")
        base = layer({"usr/bin/python3.11": b"a base"})
        daemon.load(_image(build(layers=[base])), f"{registry_here.host}/drafts/train:next")
        _push(registry_here, here)
        environ = {**os.environ, **daemon.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        environ = {name: value for name, value in environ.items() if name not in {"NO_COLOR", "COLUMNS"}}
        fine = [show_in(here, environ, "image", "inspect", "myregistry.azurecr.io/ml/train:1.4.0", code=0)]
        fine += [_judge(here, environ, file, wanted) for file, wanted in expected(here).items()]
        fine.append(
            show_in(here, environ, "stack", "show", "stacks/allowed.yaml", "--format", "yaml", "--pin-images", code=0)
        )
        fine.append(show_in(here, environ, "image", "cache", "list", code=0))
    return 0 if all(fine) else 1


def _project(folder: Path, registry_here: Registry) -> Path:
    """A copy of examples/images that knows on which port the registry listens."""
    here = folder / "project"
    shutil.copytree(PROJECT, here, ignore=shutil.ignore_patterns(".flowyml"))
    for file in (here / "flowyml.yaml", *here.glob("stacks/*.yaml")):
        file.write_text(file.read_text("utf-8").replace("localhost:5000", registry_here.host), "utf-8")
    return here


def _push(registry_here: Registry, here: Path) -> None:
    """Push the base, the images, and a signature by a key that is made here."""
    base = build(layers=[layer({"usr/bin/python3.11": b"a base"})], created=_ago(20))
    arm = build(layers=[layer({"usr/bin/python3.11": b"a base of arm"})], platform="linux/arm64", created=_ago(20))
    other = build(layers=[layer({"usr/bin/python3.9": b"another base"})], created=_ago(20))
    train = _image(base)
    for name, tag, image in (
        ("base/python", "3.11", index(base, arm)),
        ("ml/train", "1.4.0", index(train, _image(arm, platform="linux/arm64"), attested=True)),
        ("ml/unlabelled", "1.0.0", _image(base, labels={"version": "1.0.0"})),
        ("ml/root", "1.0.0", _image(base, user=None)),
        ("ml/other-base", "1.0.0", _image(other)),
        ("signed/train", "1.4.0", train),
        ("signed/unsigned", "1.0.0", train),
    ):
        print(f"pushed {name}:{tag}  {registry_here.push(name, tag, image)}")
    signer = Signer("release.pub")
    (here / "keys" / "release.pub").write_bytes(signer.pem)
    _sign(registry_here, "signed/train", train.digest, signer)


def _image(
    base: Image, *, labels: Mapping[str, str] = LABELS, user: str | None = "1000", platform: str = "linux/amd64"
) -> Image:
    return build(base=base, labels=labels, user=user, platform=platform, created=_ago(3))


def _sign(registry_here: Registry, repository: str, digest: str, signer: Signer) -> None:
    """Sign an image as `cosign sign --new-bundle-format=false --key` does."""
    said = {"identity": {"docker-reference": repository}, "image": {"docker-manifest-digest": digest}}
    payload = encoded({"critical": {**said, "type": "cosign container image signature"}, "optional": None})
    blob = Blob(payload, "application/vnd.dev.cosign.simplesigning.v1+json")
    config = Blob(b"{}", "application/vnd.oci.image.config.v1+json")
    layers = [blob.descriptor(annotations={"dev.cosignproject.cosign/signature": signer.sign(payload)})]
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.descriptor(), "layers": layers}
    with RegistryClient(registry_here.url) as client:
        client.put_blob(repository, blob)
        client.put_blob(repository, config)
        client.put_manifest(repository, f"{digest.replace(':', '-')}.sig", Blob(encoded(manifest), OCI_MANIFEST))


def _judge(here: Path, environ: Mapping[str, str], file: str, wanted: str) -> bool:
    outcome, *codes = wanted.split()
    is_fine = show_in(here, environ, "stack", "validate", file, code=CODES[outcome])
    command = [str(PROGRAM), "stack", "validate", file, "--format", "json"]
    answer = subprocess.run(command, cwd=here, env=environ, capture_output=True, text=True, check=False)
    (result,) = json.loads(answer.stdout)["results"]
    denials = sorted({finding["code"] for finding in result["findings"] if finding["severity"] == "deny"})
    if [result["outcome"], *denials] != [outcome, *codes]:
        print(f"error: {file}: {EXPECT}{wanted}, and it got {result['outcome']} {denials}", file=sys.stderr)
        return False
    return is_fine


def _ago(days: int) -> str:
    return (datetime.now(timezone.utc) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    sys.exit(main())
