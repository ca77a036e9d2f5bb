"""Show a company on one server: policy, stacks and decisions in one place, and what goes on when the server stops.

Starts the company's server and an OPA server, on this machine alone. It exits 0 only when both judges, the OPA in this
process and that server, decided as they should at every step, and the company's server tells of both; `make demo-org`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

from _pytest.outcomes import OutcomeException
from demo import PROGRAM, ROOT, show_in
from demo_bundles import AGREED, COSTS, POLLING, STACK, DemoFailed, canonical, eventually, say, show_results

sys.path.insert(0, str(ROOT))

from flowyml_policy import PolicyEngine
from flowyml_policy.bundles.archive import parse_archive, read_packed
from flowyml_policy.records.result import Result
from tests.containers.programs import free_port, running

FIRST: Final = {"prod-train": ("allow", ()), "prod-batch": ("allow", ())}
STRICT: Final = {**FIRST, "prod-batch": ("deny", (COSTS,))}
REPORTED: Final = 60.0
"""An engine that goes on running reports every 30 seconds."""
CLIENT: Final = ("bundles:read", "logs:write", "status:write")
SCOPES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "PUBLISHER_TOKEN": ("release", ("bundles:publish:company",)),
    "ENGINE_TOKEN": ("engines", CLIENT),
    "SIDECAR_TOKEN": ("sidecars", CLIENT),
    "TEAM_TOKEN": ("team-a", ("stacks:read", "stacks:write")),
    "OPERATOR_TOKEN": ("ops", ("operator",)),
}
"""Who gets a token, under which name, for what."""


@dataclass
class Org:
    """The company in `folder`: its server, an OPA server, and two checkouts."""

    folder: Path
    held: ExitStack
    port: int = field(default_factory=free_port)
    opa_port: int = field(default_factory=free_port)
    tokens: dict[str, str] = field(default_factory=dict)
    server: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def checkout(self, name: str) -> Path:
        return self.folder / name

    def environ(self, settings: str, **more: str) -> dict[str, str]:
        """The environment of a machine with these platform settings."""
        kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS"}}
        mine = {"FLOWYML_POLICY_SETTINGS": str(self.folder / settings), "XDG_STATE_HOME": str(self.folder / "state")}
        return {**kept, **mine, "XDG_CACHE_HOME": str(self.folder / "cache"), **self.tokens, **more}

    def show(self, *arguments: str, code: int = 0, here: str = "", settings: str = "embedded.yaml") -> None:
        if not show_in(self.folder / here, self.environ(settings), *arguments, code=code):
            raise DemoFailed(f"flowyml-policy {' '.join(arguments)} did not end with {code}")

    @cached_property
    def judges(self) -> dict[str, PolicyEngine]:
        """Both engines, made once, and open until the end."""
        return {
            mode: self.held.enter_context(
                PolicyEngine.from_project(self.checkout("team-a"), environ=self.environ(f"{mode}.yaml"))
            )
            for mode in ("embedded", "sidecar")
        }

    def results(self) -> dict[str, list[Result]]:
        stacks = [str(self.checkout("team-a") / "stacks")]
        return {mode: list(engine.validate(stacks)) for mode, engine in self.judges.items()}

    def await_release(self, sequence: int, wanted: Mapping[str, tuple[str, tuple[str, ...]]]) -> float:
        """Wait until both judges decide by this release, as they should; how long that took."""
        started = time.monotonic()
        revision = parse_archive(read_packed(self.folder / f"company-{sequence}.tar.gz"), Path()).release.revision
        eventually(
            lambda: all(
                one.bundles.get("company") == revision for results in self.results().values() for one in results
            )
        )
        seconds = time.monotonic() - started
        results = self.results()
        show_results(results)
        for mode, told in results.items():
            found = {str(one.stack.name): (one.outcome, tuple(sorted(f.code for f in one.denials))) for one in told}
            if found != wanted:
                raise DemoFailed(f"{mode} should say {wanted}, and says {found}")
        if len({canonical(told) for told in results.values()}) != 1:
            raise DemoFailed("the two judges differ")
        return seconds

    def answer(self, *arguments: str) -> Any:
        """What a command says to programs."""
        ran = subprocess.run(
            [PROGRAM, *arguments, "--format", "json"],
            cwd=self.folder,
            env=self.environ("embedded.yaml"),
            capture_output=True,
            check=True,
        )
        return json.loads(ran.stdout)

    def start_server(self) -> None:
        """Start the company's server."""
        print("\n$ flowyml-policy server run --config server.yaml &", flush=True)
        command: list[str | Path] = [PROGRAM, "server", "run", "--config", str(self.folder / "server.yaml")]
        log = self.folder / "server.log"
        self.server.enter_context(running(command, log, is_ready=lambda: answers(f"{self.url}/health")))

    def start_opa(self) -> None:
        """Start an OPA server, which takes policy from the company's server and reports to it."""
        print("\n$ flowyml-policy opa run --server --config-file opa.json &", flush=True)
        command: list[str | Path] = [PROGRAM, "opa", "run", "--server", "--addr", f"127.0.0.1:{self.opa_port}"]
        command += ["--config-file", str(self.folder / "opa.json"), "--log-level", "error"]
        ready = f"http://127.0.0.1:{self.opa_port}/health?bundles"
        self.held.enter_context(running(command, self.folder / "opa.log", is_ready=lambda: answers(ready)))


def main() -> int:
    """Run the demonstration; return the exit code."""
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="fp-demo-")))
        org = Org(folder, held)
        held.enter_context(org.server)
        try:
            write_company(org)
            for step in (release, serve, judge, register, tighten, look, unplug):
                step(org)
        except (DemoFailed, OutcomeException) as error:
            print(f"error: {error}", file=sys.stderr)
            return 3 if isinstance(error, OutcomeException) else 1
    print("\nEvery step ended as it should. Next: docs/server.md")
    return 0


def write_company(org: Org) -> None:
    """The recipe, the server's settings, and two checkouts of which one has stacks."""
    shutil.copytree(ROOT / "bundles", org.folder, ignore=shutil.ignore_patterns("dist"), dirs_exist_ok=True)
    for name in ("team-a", "team-b"):
        org.checkout(name).mkdir()
        (org.checkout(name) / "flowyml.yaml").write_text(f"project: {{name: {name}}}\n", "utf-8")
    (org.checkout("team-a") / "stacks").mkdir()
    for name, labels in (
        ("prod-train", '{team: ml, approved: "true", cost_centre: ML-0042}'),
        ("prod-batch", '{team: ml, approved: "true"}'),
    ):
        file = org.checkout("team-a") / "stacks" / f"{name}.yaml"
        file.write_text(STACK.format(name=name, labels=labels, image=AGREED), "utf-8")
    for settings in ("embedded.yaml", "sidecar.yaml"):
        (org.folder / settings).write_text("policy: {images: {inspect: off}}\n", "utf-8")
    server = {
        "listen": f"127.0.0.1:{org.port}",
        "data": "./server",
        "bundles": {"keys": {"release": {"key_file": "release.pub"}}},
        "policy": {"images": {"inspect": "off"}},
    }
    (org.folder / "server.yaml").write_text(json.dumps(server), "utf-8")


def build(org: Org, recipe: str, name: str, sequence: int) -> str:
    """Build and sign a release; its file."""
    file = f"{name}-{sequence}.tar.gz"
    org.show("bundle", "build", recipe, "--sequence", str(sequence), "--output", file)
    org.show("bundle", "sign", file, "--key", "release.key")
    return file


def set_level(org: Org, level: str) -> None:
    """Let the rule on cost centres be of this level in the next release."""
    levels = org.folder / "company" / "levels.yaml"
    levels.write_text(re.sub(rf"(?m)^{re.escape(COSTS)}: .*$", f"{COSTS}: {level}", levels.read_text("utf-8")))


def release(org: Org) -> None:
    """Make a key, and build and sign the first release of the company's policy, and what ships."""
    say("A company's policy is built and signed, where the key is.")
    org.show("bundle", "keygen", "release")
    set_level(org, "advisory")
    build(org, "company.yaml", "company", 1)
    build(org, str(ROOT / "bundles" / "flowyml.yaml"), "flowyml", 1)


def serve(org: Org) -> None:
    """Start the server, and publish."""
    say("The company's server: tokens for those who ask it, and the first release. It has the public key alone.")
    for variable, (name, scopes) in SCOPES.items():
        arguments = ["--name", name, *(argument for scope in scopes for argument in ("--scope", scope))]
        print(f"\n$ {variable}=$(flowyml-policy server token new {' '.join(arguments)})")
        command: list[str | Path] = [PROGRAM, "server", "token", "new", *arguments]
        made = subprocess.run(command, cwd=org.folder, capture_output=True, text=True, check=True)
        org.tokens[variable] = made.stdout.strip()
    org.start_server()
    org.show("bundle", "push", "company-1.tar.gz", f"{org.url}/bundles/company", "--token-env", "PUBLISHER_TOKEN")


def write_settings(org: Org) -> None:
    """Platform settings of each judge, and the configuration of the OPA server."""
    key = {"release": {"algorithm": "ES256", "key": (org.folder / "release.pub").read_text("utf-8")}}
    polling = {**POLLING, "long_polling_timeout_seconds": 20}
    company = {"service": "company", "resource": "bundles/company", "persist": True, "signing": {}, "polling": polling}

    def service(variable: str) -> dict[str, Any]:
        return {"url": org.url, "credentials": {"bearer": {"token": variable}}}

    embedded = {
        "services": {"company": service("${ENGINE_TOKEN}")},
        "keys": key,
        "bundles": {"flowyml": {"resource": "shipped"}, "company": company},
    }
    opa = {
        "services": {"company": service(org.tokens["SIDECAR_TOKEN"])},
        "keys": key,
        "bundles": {
            "flowyml": {"resource": (org.folder / "flowyml-1.tar.gz").as_uri(), "signing": {}},
            "company": company,
        },
        "persistence_directory": str(org.folder / "opa"),
        "labels": {"app": "sidecar", "host": "gpu-1"},
        "decision_logs": {
            "service": "company",
            "reporting": {"upload_size_limit_bytes": 4 << 20, "min_delay_seconds": 1, "max_delay_seconds": 1},
        },
        "status": {"service": "company"},
    }
    (org.folder / "opa.json").write_text(json.dumps(opa), "utf-8")
    common = {"require_signed": True, "start_timeout": "5s"}
    sidecar = {"mode": "sidecar", "sidecar": {"url": f"http://127.0.0.1:{org.opa_port}"}}
    for mode, settings in (("embedded", {"config": embedded}), ("sidecar", sidecar)):
        policy: dict[str, Any] = {"images": {"inspect": "off"}, "opa": {**common, **settings}}
        if mode == "embedded":
            policy["audit"] = {"report_to": {"url": org.url, "token_env": "ENGINE_TOKEN"}}
            policy["registry"] = {"url": org.url, "token_env": "TEAM_TOKEN"}
        else:
            policy["audit"] = {"path": str(org.folder / "sidecar.db")}
        (org.folder / f"{mode}.yaml").write_text(json.dumps({"policy": policy}), "utf-8")


def judge(org: Org) -> None:
    """Let both judges decide."""
    say("Two judges take it from there: the OPA in this process, and an OPA server. Both report to the server.")
    write_settings(org)
    org.start_opa()
    org.await_release(1, FIRST)


def register(org: Org) -> None:
    """Register a stack in one checkout, and use it in another by its name."""
    say("Team A registers a stack: the server judges it by its own policy, and keeps it for good.")
    org.show("stack", "apply", "stacks/prod-train.yaml", here="team-a")
    say("Team B, in another checkout, only names it.")
    org.show("stack", "list", here="team-b")
    org.show("stack", "validate", "prod-train", here="team-b")


def tighten(org: Org) -> None:
    """Publish a stricter release."""
    say("A stricter release: a stack that names no cost centre is denied from now on. Both judges go on running.")
    set_level(org, "hard")
    file = build(org, "company.yaml", "company", 2)
    org.show("bundle", "push", file, f"{org.url}/bundles/company", "--token-env", "PUBLISHER_TOKEN")
    seconds = org.await_release(2, STRICT)
    print(f"\nBoth deny what they allowed, {seconds:.1f} s after it was published: their polls were held, and woken.")


def look(org: Org) -> None:
    """See at the server what was decided, and by which revision."""
    say("A command reports what it decided when it ends, and an OPA server every second.")
    org.show("stack", "validate", "stacks/prod-batch.yaml", here="team-a", code=1)
    org.show("stack", "validate", "prod-train", here="team-b")
    say("At the server: who runs what, and every decision with the revision that gave it.")
    revision = parse_archive(read_packed(org.folder / "company-2.tar.gz"), Path()).release.revision

    def told() -> set[tuple[str, str]]:
        found = org.answer("audit", "list", "--server-data", "server", "--limit", "500")
        return {
            (one["client"], one["stack"]["name"])
            for one in found["received"]
            if one["outcome"] == "deny" and one["bundles"].get("company") == revision
        }

    eventually(lambda: len({client for client, name in told() if name == "prod-batch"}) > 1, seconds=REPORTED)
    eventually(lambda: not behind(org), seconds=REPORTED)
    org.show("server", "status", "--url", org.url, "--token-env", "OPERATOR_TOKEN")
    org.show("audit", "list", "--server-data", "server", "--limit", "12")
    org.show("audit", "verify", "--server-data", "server")


def unplug(org: Org) -> None:
    """Stop the server, and go on."""
    say("The company's server is stopped. Both judges go on; what is decided meanwhile is reported when it is back.")
    org.server.close()
    org.await_release(2, STRICT)
    print("\nA program that starts now decides by its copy:")
    org.show("stack", "validate", "stacks/prod-batch.yaml", here="team-a", code=1)


def behind(org: Org) -> list[str]:
    """The clients whose policy of the company is not what is published."""
    status = org.answer("server", "status", "--config", "server.yaml")["status"]
    return [
        client["name"]
        for client in status["clients"]
        for bundle in client["bundles"]
        if bundle["name"] == "company" and bundle["active_revision"] != bundle["expected"]
    ]


def answers(url: str) -> bool:
    """Whether a server is ready."""
    try:
        with urlopen(url, timeout=2):  # noqa: S310  loopback
            return True
    except URLError:
        return False


if __name__ == "__main__":
    sys.exit(main())
