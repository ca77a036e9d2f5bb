"""What `doctor` looks at, each a check that either is ok or says what to do.

A check that cannot be made because an earlier one failed is not made: the earlier one says what to do.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final

from flowyml_policy.decision.unsupported import unsupported
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.mask.text import mask
from flowyml_policy.outputs.blocks import word
from flowyml_policy.outputs.json import print_json
from flowyml_policy.outputs.terminal import Screen, plural
from flowyml_policy.version import VERSION

if TYPE_CHECKING:
    from flowyml_policy.records.decision import CatalogueEntry
    from flowyml_policy.settings.settings import Settings

OLDEST_PYTHON: Final = (3, 10)
SAFE_GO: Final = "go1.27.4"
"""The first Go whose net/http no request can crash. libopa is built with an older one unless GOTOOLCHAIN names this."""
LARGEST_QUICK_AUDIT: Final = 64 * 2**20
"""Bytes of an audit that is verified here; a larger one takes longer than anybody waits for a doctor."""
SIZE_OF_NEW_AUDIT: Final = 2**17
"""Bytes of an audit with one decision, and of what SQLite keeps beside it."""
_ANSWER_SECONDS: Final = 5.0
_NO_STACK: Final = "-"
"""Which no stack is called, so that a listing of it is a short one."""

GUARD_MODULE: Final = "flowyml_policy.integrations.flowyml"
GUARD_SECONDS: Final = 120
"""How long an import of FlowyML may take, which is seconds on a cold machine."""
BRIDGES: Final = "flowyml.bridges"
"""FlowyML's entry-point group, through which `flowyml enterprise` is joined."""


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, what was found, and, unless that is ok, what to do. It is masked when made."""

    name: str
    found: str
    todo: str = ""

    def __post_init__(self) -> None:
        for name in ("found", "todo"):
            object.__setattr__(self, name, mask(getattr(self, name)))

    @property
    def ok(self) -> bool:
        return not self.todo


def examine(project: str | None) -> Iterator[Check]:
    """Every check, for the project in folder `project` or for the one around the working directory."""
    yield _python()
    yield Check("package", f"flowyml-policy {VERSION}")
    settings, check = _settings(project)
    yield _library(settings)
    yield check
    if settings is not None:
        yield _authority(settings)
        yield _platform(settings)
        yield from _unsupported(settings)
        yield from _policy(settings)
        yield from _images(settings)
        yield from _registry(settings)
        yield _audit(settings)
        yield from _reports(settings)
        yield from exposure(settings.audit_path, os.geteuid())
        yield from folders()
    yield _flowyml()


def _python() -> Check:
    found = f"{platform.python_version()}, {sys.executable}"
    todo = "" if sys.version_info >= OLDEST_PYTHON else "install flowyml-policy into Python 3.10 or newer"
    return Check("python", found, todo)


def _library(settings: Settings | None) -> Check:
    try:
        from flowyml_policy.opa.library import load

        library = load()
    except FlowymlPolicyError as error:
        if settings is not None and settings.policy.opa.mode == "sidecar":
            return Check("opa", f"{error.message}; none is needed, because policy.opa.mode is sidecar")
        return _failed("opa", error)
    return Check("opa", describe_library(library.opa_version, library.versions["go"], library.file))


def describe_library(opa: str, go: str, file: Path) -> str:
    """Return which OPA is in `file`, the Go that it was built with, and what to know of an old one."""
    found = f"OPA {opa}, built with {go}, {file}"
    if _go_numbers(go) >= _go_numbers(SAFE_GO):
        return found
    return f"{found}; before `opa run --server`, install again with GOTOOLCHAIN={SAFE_GO}: a request can crash {go}"


def _go_numbers(go: str) -> tuple[int, ...]:
    """Return the numbers of `go1.27.4`; of a Go that names no release none, which is less than any."""
    release = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", go)
    return tuple(int(number or 0) for number in release.groups()) if release else ()


def _settings(project: str | None) -> tuple[Settings | None, Check]:
    from flowyml_policy.settings.loading import load_settings

    try:
        settings = load_settings(project=None if project is None else Path(project))
    except FlowymlPolicyError as error:
        return None, _failed("settings", error)
    found = str(settings.file or f"none from {settings.root} upwards: the defaults hold")
    if settings.is_above:
        found += ", above this repository or working directory"
    return settings, Check("settings", found)


def _authority(settings: Settings) -> Check:
    if settings.authority == "platform":
        return Check("authority", "platform: its settings own what they set or keep for themselves")
    return Check("authority", "project: it decides for itself, and every decision says so")


def _platform(settings: Settings) -> Check:
    from flowyml_policy.settings.places import PLATFORM_FILE

    return Check("platform", str(settings.platform_file or f"no settings at {PLATFORM_FILE}"))


def _unsupported(settings: Settings) -> Iterator[Check]:
    for missing in unsupported(settings, "validate"):
        yield _failed("feature", missing.error())


def _policy(settings: Settings) -> Iterator[Check]:
    """The bundles that judge here and their revisions, and how many codes they can find."""
    from flowyml_policy.decision.policy import (
        load_policy,
        read_bundles,
        read_catalogue,
    )
    from flowyml_policy.opa.evaluator import OpaEvaluator

    try:
        with closing(load_policy(settings)) as evaluator:
            codes = read_catalogue(evaluator, settings)
            bundles = read_bundles(evaluator)
    except FlowymlPolicyError as error:
        yield _failed("sidecar" if settings.policy.opa.mode == "sidecar" else "policy", error)
        return
    if settings.policy.opa.mode == "sidecar" and isinstance(evaluator, OpaEvaluator):
        yield Check("sidecar", f"{settings.policy.opa.sidecar.url} answers, OPA {evaluator.opa_version}")
    else:
        yield Check("isolation", _isolation(settings))
    for name, revision in bundles.items():
        yield Check("policy", f"bundle {name}, revision {revision}")
    yield from _weaker_levels(settings, codes)
    own = sum(entry.root == "project" for entry in codes)
    rules = ", ".join(str(folder) for folder in settings.rule_folders)
    yield Check("rules", f"{plural(len(codes), 'code')}" + (f", {own} of them from {rules}" if rules else ""))


def _weaker_levels(settings: Settings, codes: Iterable[CatalogueEntry]) -> Iterator[Check]:
    """The levels of flowyml.yaml that are weaker than those in force, and so change nothing."""
    order = ("disabled", "advisory", "soft", "hard")
    asked = settings.policies.levels
    for entry in codes:
        level = asked.get(entry.code)
        if level is not None and order.index(level) < order.index(entry.enforcement):
            place = settings.location(("policies", "levels", entry.code))
            yield Check(
                "levels",
                f"{entry.code} is {entry.enforcement}, and the weaker {level} of flowyml.yaml changes nothing: {place}",
                "take it out; only the company's policy data can make a level weaker",
            )


def _isolation(settings: Settings) -> str:
    """Where policy is judged here, and why."""
    from flowyml_policy.decision.isolation import is_judged_apart, own_policy

    if not is_judged_apart(settings):
        return "policy is judged in process: it ships, or the platform names it"
    own = ", ".join(own_policy(settings))
    why = f"the project's own policy ({own})" if own else "policy.opa.isolation asks for it"
    return f"policy is judged in a process of its own: {why}"


_ASKED: Final = {
    "auto": "examined at their registries, and by the daemon where that is allowed",
    "registry": "examined at their registries",
    "daemon": "examined by the daemon",
    "off": "not examined: policy.images.inspect is off",
}


def _images(settings: Settings) -> Iterator[Check]:
    """How images are examined, whether the keys of signatures can be read, and what registries last said is left."""
    from flowyml_policy.images.inspection import Inspection
    from flowyml_policy.images.quota import remembered_quotas

    try:
        with closing(Inspection.of(settings)):
            yield Check("images", _ASKED[settings.policy.images.inspect])
        for quota in remembered_quotas(settings):
            yield Check("quota", str(quota))
    except FlowymlPolicyError as error:
        yield _failed("images", error)


def _registry(settings: Settings) -> Iterator[Check]:
    """The company's registry: whether it answers."""
    from flowyml_policy.network.offline import is_offline
    from flowyml_policy.registry.remote import RemoteRegistry

    remote = settings.policy.registry
    if remote.url is None:
        return
    try:
        if is_offline(os.environ):
            yield Check("registry", f"{remote.url}, not asked: FLOWYML_POLICY_OFFLINE is set")
            return
        registry = RemoteRegistry(
            remote.url, token_env=remote.token_env, ca=settings.registry_ca, timeout=_ANSWER_SECONDS
        )
        registry.list(name=_NO_STACK)
    except FlowymlPolicyError as error:
        yield _failed("registry", error)
    else:
        yield Check("registry", f"{remote.url} answers")


def _audit(settings: Settings) -> Check:
    """Whether the next decision can be recorded, and whether those there are have not been edited."""
    from flowyml_policy.audit.store import AuditStore
    from flowyml_policy.decision.verification import verify_project
    from flowyml_policy.errors.audit import AuditCorrupt, AuditUnwritable

    path = settings.audit_path
    obstacle = _obstacle(path)
    if obstacle is not None:
        return _failed("audit", AuditUnwritable(obstacle))
    if not path.exists():
        return Check("audit", f"{path}, made by the first decision")
    try:
        with AuditStore(path) as store:
            store.require_writable()
            if path.stat().st_size > LARGEST_QUICK_AUDIT:
                return Check("audit", f"{path}, writable; too large to check here, `audit verify` does")
            verification = verify_project(store, in_one_file=settings.policy.registry.url is None)
    except FlowymlPolicyError as error:
        return _failed("audit", error)
    if verification.problem is not None:
        return _failed("audit", AuditCorrupt(f"{path}: {verification.problem}"))
    return Check("audit", f"{path}, writable; {plural(verification.events, 'event')}, the chain is whole")


def _reports(settings: Settings) -> Iterator[Check]:
    """The server that decisions are reported to: whether it answers, and how many wait for it."""
    from flowyml_policy.audit.reporting import NotReported, open_reporter
    from flowyml_policy.network.deadline import Deadline

    if settings.policy.audit.report_to is None:
        return
    url = settings.policy.audit.report_to.url
    try:
        reporter = open_reporter(settings)
        if reporter is None:
            yield Check("reports", f"{url}, not asked: FLOWYML_POLICY_OFFLINE is set")
            return
        with closing(reporter):
            waiting = reporter.try_out(Deadline(_ANSWER_SECONDS))
    except NotReported as error:
        yield Check("reports", f"{url}: {error}", "start the server, or correct policy.audit.report_to")
    except FlowymlPolicyError as error:
        yield _failed("reports", error)
    else:
        yield Check("reports", f"{url} answers" + (f"; {plural(waiting, 'decision')} not sent yet" if waiting else ""))


def exposure(path: Path, user: int) -> Iterator[Check]:
    """An audit that everybody may use and that `user` does not own. One's own is closed by the next decision.

    What SQLite keeps beside the file, under names that begin with its own, has the same rows in it.
    """
    try:
        found = path.stat()
    except OSError:
        return
    if found.st_mode & stat.S_IRWXO and found.st_uid != user:
        yield Check(
            "audit",
            f"{path} is open to everybody, and belongs to {_user(found.st_uid)}",
            f"ask its owner to `chmod 600 {shlex.quote(str(path))}*`, or 660 where a group shares it",
        )


def _user(number: int) -> str:
    """What a user is called here; some, as those of a container, have only a number."""
    import pwd

    try:
        return f"the user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"the user {number}"


def folders() -> Iterator[Check]:
    """Where locks of stacks and what is fetched are kept: `stack apply` needs the one, git and https the other."""
    from flowyml_policy.system.directories import cache_directory, state_directory

    for name, place, variable, purpose in (
        ("locks", state_directory, "XDG_STATE_HOME", "`stack apply` and `stack retire` take no lock"),
        ("cache", cache_directory, "XDG_CACHE_HOME", "nothing can be fetched by git or kept of an address"),
    ):
        try:
            folder = place()
        except FlowymlPolicyError as error:
            yield _failed(name, error)
            continue
        probe = folder / "any"
        blocked = _unwritable(probe) or (_folder(probe) if _lacking_room(_folder(probe)) else None)
        if blocked is None:
            yield Check(name, str(folder))
        else:
            todo = f"let this user write there, or set {variable} to a folder that it may"
            yield Check(name, f"{blocked} cannot be written to, so that {purpose}", todo)


def _obstacle(path: Path) -> str | None:
    """Why nothing can be recorded at `path`, as far as that shows without opening an audit."""
    blocked = _unwritable(path)
    if blocked is not None:
        return f"{blocked} cannot be written to: {path}"
    lacking = None if path.exists() else _lacking_room(_folder(path))
    return None if lacking is None else f"the audit file cannot be created: {path}: {lacking}"


def _unwritable(path: Path) -> Path | None:
    """What of `path`, or of the folders that would have to be made for it, this user may not write to."""
    folder = _folder(path)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK, effective_ids=_effective()):
        return folder
    if os.path.lexists(path) and not os.access(path, os.R_OK | os.W_OK, effective_ids=_effective()):
        return path
    return None


def _folder(path: Path) -> Path:
    """The folder of `path`, or the one that its folders would be made in."""
    folder = path.parent
    while not os.path.lexists(folder):
        folder = folder.parent
    return folder


def _lacking_room(folder: Path) -> str | None:
    """Why `folder` has no room for a new audit: as much as it takes is written to a file without a name."""
    try:
        with TemporaryFile(dir=folder) as file:
            file.write(os.urandom(SIZE_OF_NEW_AUDIT))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror
    return None


def _effective() -> bool:
    return os.access in os.supports_effective_ids


def _flowyml() -> Check:
    try:
        installed = version("flowyml")
    except PackageNotFoundError:
        return Check("flowyml", "not installed, and not needed")
    ours = [entry for entry in entry_points(group=BRIDGES) if entry.value.partition(".")[0] == "flowyml_policy"]
    if not ours:
        return Check("flowyml", f"{installed}, without `flowyml enterprise`", "reinstall flowyml-policy beside it")
    try:
        ours[0].load()
    except Exception as error:  # noqa: BLE001  whatever an entry point raises, FlowyML would have swallowed
        return Check("flowyml", f"{installed}, but its bridge fails: {error}", "reinstall flowyml-policy")
    return _guard(installed)


def _guard(installed: str) -> Check:
    """Whether a process that imports FlowyML, as this one never does, is guarded."""
    command = [sys.executable, "-m", GUARD_MODULE, "--check"]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=GUARD_SECONDS, check=False)
        said = "" if child.returncode == 0 else child.stderr.strip().rpartition("\n")[2] or f"exit {child.returncode}"
    except (OSError, subprocess.SubprocessError) as error:
        said = str(error)
    if said:
        todo = f"see what `{shlex.join(command)}` says"
        return Check("flowyml", f"{installed}, joined as `flowyml enterprise`; runs are not guarded: {said}", todo)
    return Check("flowyml", f"{installed}, joined as `flowyml enterprise`; runs are guarded")


def _failed(name: str, error: FlowymlPolicyError) -> Check:
    return Check(name, error.message, error.advice or error.default_advice or "correct what it names")


def _table(screen: Screen, checks: Iterable[Check]) -> bool:
    """A line for each check as it is made; whether all are ok."""
    bad = 0
    for check in checks:
        label = word(screen, "ok") + "  " if check.ok else word(screen, "DENIED", "todo")
        for number, line in enumerate(screen.prose(check.found, indent=6, first=f"{check.name:<11}")):
            screen.line(line if number else f"{label}  {line[6:]}")
        if not check.ok:
            bad += 1
            for line in screen.prose(check.todo, indent=17, first="fix: "):
                screen.line(line)
    screen.line()
    screen.line(f"{plural(bad, 'thing')} to do" if bad else "all ok")
    return not bad


def _json(screen: Screen, checks: Iterable[Check]) -> bool:
    made = list(checks)
    all_ok = all(check.ok for check in made)
    shown = [{**asdict(check), "ok": check.ok} for check in made]
    print_json(screen, {"ok": all_ok, "checks": shown})
    return all_ok


SCREENS: Final[dict[str, Callable[[Screen, Iterable[Check]], bool]]] = {"table": _table, "json": _json}
