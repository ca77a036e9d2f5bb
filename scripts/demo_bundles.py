"""Show how policy travels as a bundle: signed, published, replaced, tampered with, rolled back, and unplugged.

Starts Debian's docker-registry (`apt install docker-registry`) and an OPA server, on this machine alone. It exits 0
only when both judges, the OPA in this process and that server, decided as they should at every step; `make
demo-bundles`.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from _pytest.outcomes import OutcomeException
from demo import PROGRAM, ROOT, show_in

sys.path.insert(0, str(ROOT))

from flowyml_policy import PolicyEngine
from flowyml_policy.bundles.archive import parse_archive, read_packed
from flowyml_policy.images.manifests import OCI_MANIFEST
from flowyml_policy.opa.bundle_files import archive_bytes
from flowyml_policy.records.result import Result
from flowyml_policy.settings.places import PLATFORM_FILE
from tests.containers.programs import free_port, running
from tests.containers.registries import Registry, registry
from tests.image_builder import Blob, RegistryClient, encoded

STACK: Final = """\
apiVersion: flowyml/v1
kind: StackDefinition
metadata: {{name: {name}, version: 1.0.0, labels: {labels}}}
spec:
  runtime: {{docker_image: "{image}:1.4.0"}}
"""
AGREED: Final = "gcr.io/my-project/train"
COSTS: Final = "cost_centre.format"
REPOSITORY: Final = "policy/company"
PATIENCE: Final = 60.0
POLLING: Final = {"min_delay_seconds": 1, "max_delay_seconds": 1}


class DemoFailed(Exception):
    """Something is not as it should be; the message says what."""


@dataclass
class Demo:
    """The company in `folder`: its recipe, its project, its registry `where`, and both judges."""

    folder: Path
    where: Registry
    held: ExitStack
    server: ExitStack = field(default_factory=ExitStack)
    port: int = field(default_factory=free_port)

    @property
    def address(self) -> str:
        return f"oci://{self.where.host}/{REPOSITORY}:stable"

    @cached_property
    def judges(self) -> dict[str, PolicyEngine]:
        """Both engines, made once, and open until the end."""
        return {mode: self._judge(mode) for mode in ("embedded", "sidecar")}

    def _judge(self, mode: str) -> PolicyEngine:
        return self.held.enter_context(PolicyEngine.from_project(self.folder, environ=self.environ(mode)))

    def environ(self, mode: str, **more: str) -> dict[str, str]:
        """The environment of a machine whose platform settings are those of `mode`."""
        kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS"}}
        settings = {"FLOWYML_POLICY_SETTINGS": str(self.folder / f"{mode}.yaml")}
        return {**kept, **settings, "XDG_STATE_HOME": str(self.folder / "state"), **more}

    def show(self, *arguments: str, code: int = 0, mode: str = "embedded", **more: str) -> None:
        if not show_in(self.folder, self.environ(mode, **more), *arguments, code=code):
            raise DemoFailed(f"flowyml-policy {' '.join(arguments)} did not end with {code}")

    def release(self, sequence: int, level: str) -> None:
        """Build, sign and publish the policy with the rule on cost centres at `level`."""
        levels = self.folder / "company" / "levels.yaml"
        levels.write_text(re.sub(rf"(?m)^{re.escape(COSTS)}: .*$", f"{COSTS}: {level}", levels.read_text("utf-8")))
        file = f"company-{sequence}.tar.gz"
        self.show("bundle", "build", "company.yaml", "--sequence", str(sequence), "--output", file)
        self.show("bundle", "sign", file, "--key", "release.key")
        self.show("bundle", "push", file, self.address)

    def start_server(self) -> None:
        """Start the OPA server, which takes the company's bundle from the registry, or its copy of it."""
        command = ["opa", "run", "--server", "--addr", f"127.0.0.1:{self.port}", "--config-file", "opa.json"]
        print(f"\n$ flowyml-policy {' '.join(command)} &", flush=True)
        command[-1] = str(self.folder / "opa.json")
        self.server.enter_context(
            running([PROGRAM, *command, "--log-level", "error"], self.folder / "opa.log", is_ready=self._is_ready)
        )

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        with closing(connection), suppress(OSError):
            connection.request("GET", "/health?bundles")
            return connection.getresponse().status == http.client.OK
        return False

    def results(self) -> dict[str, list[Result]]:
        stacks = [str(self.folder / "stacks")]
        return {mode: list(engine.validate(stacks)) for mode, engine in self.judges.items()}

    def said(self, mode: str) -> dict[str, str]:
        """What one judge says of each stack."""
        return {str(one.stack.name): said_of(one) for one in self.results()[mode]}

    def await_sequence(self, sequence: int) -> None:
        """Wait until both judges decide by the release `sequence`, and show what they decide."""
        revision = parse_archive(read_packed(self.folder / f"company-{sequence}.tar.gz"), Path()).release.revision
        eventually(lambda: all(revisions(told) == {revision} for told in self.results().values()))
        results = self.results()
        show_results(results)
        if len({canonical(told) for told in results.values()}) != 1:
            raise DemoFailed("the two judges differ")
        print(f"Both decided alike, finding by finding, by {revision}, sequence {sequence}.")

    def expect(self, wanted: Mapping[str, str]) -> None:
        """Require that both judges answer so about each stack."""
        for mode in self.judges:
            if (found := self.said(mode)) != wanted:
                raise DemoFailed(f"{mode} should say {wanted}, and says {found}")

    def replace_tag(self, packed: bytes) -> Blob:
        """What somebody can do who may write to the registry: let the tag name any archive."""
        layer = Blob(packed, "application/vnd.oci.image.layer.v1.tar+gzip")
        config = Blob(b"{}", "application/vnd.oci.image.config.v1+json")
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        }
        with RegistryClient(self.where.url) as client:
            client.put_blob(REPOSITORY, layer)
            client.put_blob(REPOSITORY, config)
            client.put_manifest(REPOSITORY, "stable", Blob(encoded(manifest), OCI_MANIFEST))
        return layer

    def downloads(self, digest: str) -> int:
        wanted = ("GET", f"/v2/{REPOSITORY}/blobs/{digest}", 200)
        return sum(request == wanted for request in self.where.requests())


FIRST: Final = {"prod-train": "allow", "prod-batch": "allow, warned", "prod-other": "deny images_registry.not_allowed"}
STRICT: Final = {**FIRST, "prod-batch": f"deny {COSTS}"}


def main() -> int:
    """Run the demonstration; return the exit code."""
    if PLATFORM_FILE.exists():
        print(f"error: this machine's own settings would hold here: {PLATFORM_FILE}", file=sys.stderr)
        return 3
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="fp-demo-")))
        plug = held.enter_context(ExitStack())
        try:
            demo = Demo(folder, plug.enter_context(registry(folder / "registry")), held)
            held.enter_context(demo.server)
            write_company(demo)
            for step in (publish, judge, tighten, tamper, roll_back):
                step(demo)
            unplug(demo, plug)
        except (DemoFailed, OutcomeException) as error:
            print(f"error: {error}", file=sys.stderr)
            return 3 if isinstance(error, OutcomeException) else 1
    print("\nEvery step ended as it should. Next: docs/bundles.md")
    return 0


def write_company(demo: Demo) -> None:
    """Its recipe, a project with three stacks, the server's configuration, and platform settings for each judge."""
    shutil.copytree(ROOT / "bundles", demo.folder, ignore=shutil.ignore_patterns("dist"), dirs_exist_ok=True)
    (demo.folder / "flowyml.yaml").write_text("project: {name: fraud}\n", "utf-8")
    (demo.folder / "stacks").mkdir()
    costs = '{team: ml, approved: "true", cost_centre: ML-0042}'
    none = '{team: ml, approved: "true"}'
    for name, labels, image in (
        ("prod-train", costs, AGREED),
        ("prod-batch", none, AGREED),
        ("prod-other", costs, "docker.io/somebody/train"),
    ):
        file = demo.folder / "stacks" / f"{name}.yaml"
        file.write_text(STACK.format(name=name, labels=labels, image=image), "utf-8")


def write_settings(demo: Demo) -> None:
    """Settings for each judge, and the server's configuration: both demand signatures by the release key."""
    key = {"release": {"algorithm": "ES256", "key": (demo.folder / "release.pub").read_text("utf-8")}}
    resource = demo.address.removeprefix("oci://")
    company = {"service": "registry", "resource": resource, "persist": True, "signing": {}, "polling": POLLING}
    from_registry: dict[str, Any] = {"services": {"registry": {"url": demo.where.url, "type": "oci"}}, "keys": key}
    embedded = {**from_registry, "bundles": {"flowyml": {"resource": "shipped"}, "company": company}}
    shipped = {"resource": (demo.folder / "flowyml.tar.gz").as_uri(), "signing": {}}
    server = {
        **from_registry,
        "bundles": {"flowyml": shipped, "company": company},
        "persistence_directory": str(demo.folder / "opa"),
    }
    (demo.folder / "opa.json").write_text(json.dumps(server), "utf-8")
    common = {"require_signed": True, "start_timeout": "3s"}
    sidecar = {"mode": "sidecar", "sidecar": {"url": f"http://127.0.0.1:{demo.port}"}}
    for mode, opa in (("embedded", {"config": embedded}), ("sidecar", sidecar)):
        _write(demo, mode, {"opa": {**common, **opa}})


def _write(demo: Demo, mode: str, policy: Mapping[str, Any]) -> None:
    images = {"inspect": "off", "insecure": [demo.where.host]}
    (demo.folder / f"{mode}.yaml").write_text(json.dumps({"policy": {"images": images, **policy}}), "utf-8")


def publish(demo: Demo) -> None:
    """Build, sign and push the first release."""
    say(f"A company's policy is built, signed, and pushed to a registry at {demo.where.host}.")
    _write(demo, "embedded", {})
    demo.show("bundle", "keygen", "release")
    demo.release(1, "advisory")
    demo.show("bundle", "inspect", "company-1.tar.gz")
    say("What ships with this program goes to servers as a bundle, too.")
    recipe = str(ROOT / "bundles" / "flowyml.yaml")
    demo.show("bundle", "build", recipe, "--sequence", "1", "--output", "flowyml.tar.gz")
    demo.show("bundle", "sign", "flowyml.tar.gz", "--key", "release.key")
    write_settings(demo)


def judge(demo: Demo) -> None:
    """Start the server, and let both judge the same stacks."""
    say("Two judges take it from there: the OPA in this process, and an OPA server. Both demand the signature.")
    demo.start_server()
    demo.await_sequence(1)
    demo.expect(FIRST)


def tighten(demo: Demo) -> None:
    """Publish a stricter release."""
    say("A stricter release: a stack that names no cost centre is denied from now on. Both judges go on running.")
    demo.release(2, "hard")
    demo.await_sequence(2)
    demo.expect(STRICT)


def tamper(demo: Demo) -> None:
    """Let the tag name a bundle that somebody changed."""
    say("Somebody who may write to the registry switches the rule off in the archive, and lets the tag name that.")
    changed = demo.replace_tag(tampered((demo.folder / "company-2.tar.gz").read_bytes()))
    eventually(lambda: demo.downloads(changed.digest) >= 2)  # noqa: PLR2004  one for each judge
    eventually(lambda: "digest mismatch" in _log(demo))
    demo.await_sequence(2)
    demo.expect(STRICT)
    print("Both have downloaded it, and go on with what they had: OPA refuses it. The server's log says")
    print(f"  {_last_error(demo)}")
    print("\nA machine that has no copy of a good one decides nothing:")
    demo.show("stack", "validate", "stacks/prod-batch.yaml", code=3, XDG_STATE_HOME=str(demo.folder / "new"))
    say("The company repairs the tag. What it names states sequence 3, so that takes --force.")
    demo.show("bundle", "push", "company-2.tar.gz", demo.address, "--force")
    demo.await_sequence(2)


def roll_back(demo: Demo) -> None:
    """Let the tag name the first release again, which is signed well."""
    say("The first release is signed well, and would let the stack pass. This program does not push it again.")
    demo.show("bundle", "push", "company-1.tar.gz", demo.address, code=1)
    say("Somebody who may write to the registry lets the tag name it all the same.")
    demo.replace_tag((demo.folder / "company-1.tar.gz").read_bytes())
    eventually(lambda: set(demo.said("sidecar").values()) == {"undecided: policy_rolled_back"})
    time.sleep(3 * POLLING["max_delay_seconds"])  # the other one has asked the registry again by then
    show_results(demo.results())
    if demo.said("embedded") != STRICT:
        raise DemoFailed("the OPA in this process went back")
    print("The OPA in this process does not activate it: its sequence is lower than one that was seen before.")
    print("An OPA server knows no sequence, and has activated it. So this program believes that server no more:")
    demo.show("stack", "validate", "stacks/prod-batch.yaml", mode="sidecar", code=3)
    say("The company publishes again what is in force.")
    demo.show("bundle", "push", "company-2.tar.gz", demo.address)
    demo.await_sequence(2)
    demo.expect(STRICT)


def unplug(demo: Demo, plug: ExitStack) -> None:
    """Stop the registry, and go on: with what runs, and with what starts now."""
    say("The registry is stopped. What runs goes on, and so does what starts now, by the copies that were kept.")
    plug.close()
    demo.expect(STRICT)
    demo.server.close()
    demo.start_server()
    demo.await_sequence(2)
    demo.expect(STRICT)
    for mode in demo.judges:
        print(f"\nA program that starts now, by the settings of {mode}.yaml:")
        demo.show("stack", "validate", "stacks/prod-batch.yaml", code=1, mode=mode)
    demo.show("audit", "verify")


def tampered(packed: bytes) -> bytes:
    """The same bundle with the rule switched off, a higher sequence, and the old signature."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        content = {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]
    data, manifest = json.loads(content["data.json"]), json.loads(content[".manifest"])
    data["org"]["levels"][COSTS] = "disabled"
    manifest["metadata"]["sequence"] = 3
    return archive_bytes({**content, "data.json": encoded(data), ".manifest": encoded(manifest)})


def eventually(holds: Callable[[], bool], *, seconds: float = PATIENCE) -> None:
    """Wait until it holds. Raises DemoFailed."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise DemoFailed(f"it did not come to be within {seconds:g} s")
        time.sleep(0.2)


def say(text: str) -> None:
    """Begin a step."""
    print(f"\n== {text}", flush=True)


def show_results(results: Mapping[str, list[Result]]) -> None:
    """What each judge says of each stack."""
    modes = list(results)
    print(f"\n  {'':12}{modes[0]:40}{modes[1]}")
    for row in zip(*results.values(), strict=True):
        print(f"  {row[0].stack.name:12}{said_of(row[0]):40}{said_of(row[1])}")


def said_of(result: Result) -> str:
    """What is said of one stack, in a few words."""
    codes = sorted(finding.code for finding in result.denials)
    if result.error is not None:
        return f"undecided: {result.error.code}"
    warned = any(finding.code == COSTS for finding in result.warnings)
    return " ".join([result.outcome, *codes]) + (", warned" if warned else "")


def revisions(results: list[Result]) -> set[str]:
    """The revisions of the company's bundle that decided."""
    return {one.bundles.get("company", "") for one in results}


def canonical(results: list[Result]) -> str:
    """What was decided by which release, without who decided it and when."""
    return json.dumps(
        [
            [one.outcome, one.bundles["company"], [found.model_dump(mode="json") for found in one.findings]]
            for one in results
        ],
        sort_keys=True,
    )


def _log(demo: Demo) -> str:
    return (demo.folder / "opa.log").read_text("utf-8")


def _last_error(demo: Demo) -> str:
    return str(json.loads(_log(demo).strip().splitlines()[-1])["msg"])


if __name__ == "__main__":
    sys.exit(main())
