"""Options, arguments and the registry that several commands share; written once so that they read alike."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar

import click

from flowyml_policy.cli.root import Session
from flowyml_policy.cli.stderr import tell

if TYPE_CHECKING:
    from flowyml_policy.images.scans import ScanReports
    from flowyml_policy.outputs.progress import Progress
    from flowyml_policy.records.protocols import StackRegistry
    from flowyml_policy.settings.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

STDIN: Final = "-"


def format_option(*formats: str) -> Callable[[F], F]:
    """`--format`, the first of `formats` being the default; the parameter is `output_format`."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        callback=_asked_format,
        help="For people, or for programs.",
    )


def _asked_format(ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """The format. What keeps a command from its answer is told in it too."""
    ctx.ensure_object(Session).answers_in_json = value == "json"
    return value


def begin_answer(ctx: click.Context) -> None:
    """Note that the answer is written from here on: an error after it must not look like a document of its own."""
    ctx.ensure_object(Session).answers_in_json = False


def project_option(command: F) -> F:
    """`--project`: the folder that holds flowyml.yaml."""
    return click.option(
        "--project",
        metavar="DIR",
        callback=_named_folder,
        help="The folder of flowyml.yaml.  [default: found upwards from here]",
    )(command)


def _named_folder(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """The folder. An empty text, as an unset variable leaves it, would be the working directory."""
    if value == "":
        raise click.BadParameter("an empty text names no folder")
    return value


def policy_option(command: F) -> F:
    """`--policy`: folders of rules for this one call; the parameter is `rules`."""
    return click.option(
        "--policy", "rules", metavar="DIR", multiple=True, help="Add the rules in this folder; repeatable."
    )(command)


class ImageOptions(TypedDict):
    """What `image_options` are called."""

    scan_reports: tuple[str, ...]
    refresh: bool


def image_options(command: F) -> F:
    """`--scan-report`, what Trivy or Grype said of images, and `--refresh`."""
    scan_report = click.option(
        "--scan-report",
        "scan_reports",
        metavar="FILE",
        multiple=True,
        help="Add what Trivy or Grype (JSON) found in images; repeatable.",
    )
    return scan_report(refresh_option(command))


def refresh_option(command: F) -> F:
    """`--refresh`: what tags of images name is asked anew."""
    return click.option("--refresh", is_flag=True, help="Ask anew what the tags of images name.")(command)


def open_progress(output_format: str) -> Progress:
    """How far a run has come, on stderr; silent where the answer itself runs over the terminal."""
    from flowyml_policy.outputs.progress import Progress

    streaming = output_format == "json" and sys.stdout.isatty()
    return Progress(None if streaming else sys.stderr)


def closing_notes(ctx: click.Context, project: str | None, settings: Settings) -> list[str]:
    """What stands below a result: that there are no settings, if so, and what shows what was just recorded."""
    notes = [f"audit: {_audit_list(ctx, project)}"]
    if settings.file is None:
        notes.insert(0, f"settings: no flowyml.yaml from {settings.root} upwards, so the defaults hold")
    return notes


def tell_of_settings(settings: Settings) -> None:
    """Say on stderr where the settings come from, if that is not plain from where the command runs."""
    if settings.is_above:
        tell("note", f"the settings are those of {settings.file}, above this repository or working directory")


def tell_passed_over(notes: Iterable[str]) -> None:
    """Say on stderr what was named, or stood in a folder that was, and was not judged."""
    for note in notes:
        tell("note", note)


def tell_unused(reports: ScanReports | None) -> None:
    """Say on stderr which scan reports were about no image that was judged."""
    for path in () if reports is None else reports.unused:
        tell("note", f"the scan report is about no image that was judged, by its digests: {path}")


def _audit_list(ctx: click.Context, project: str | None) -> str:
    command = f"{ctx.find_root().command_path} audit list"
    if not project:
        return command
    import shlex

    return f"{command} --project {shlex.quote(project)}"


def settings_to_judge(project: str | None, rules: Collection[str]) -> Settings:
    """The settings of `project`; what is to judge by them begins to start, while the rest is imported."""
    from flowyml_policy.decision.isolation import is_judged_apart
    from flowyml_policy.settings.loading import load_settings

    settings = load_settings(project=None if project is None else Path(project))
    if settings.policy.opa.mode == "embedded" and not is_judged_apart(settings, rules):
        from flowyml_policy.opa import shipped

        shipped.start_early()
    return settings


def standard_input(named: Collection[str]) -> bytes | None:
    """Standard input, if it is among what is named; no more of it than the reader of definitions may take."""
    if STDIN not in named:
        return None
    from flowyml_policy.documents.reader import Limits

    return b"" if sys.stdin is None else sys.stdin.buffer.read(Limits().size + 1)


@contextmanager
def registry_of(settings: Settings) -> Iterator[StackRegistry]:
    """The registry that `settings` name; its listings say what was last decided here."""
    from flowyml_policy.audit.store import AuditStore
    from flowyml_policy.registry.local import LocalRegistry
    from flowyml_policy.registry.opening import open_registry

    with AuditStore(settings.audit_path) as audit:
        registry = open_registry(settings, decisions=audit)
        try:
            yield registry
        finally:
            if isinstance(registry, LocalRegistry):
                registry.close()


@contextmanager
def opened_registry(project: str | None) -> Iterator[StackRegistry]:
    """The registry of the project in the folder `project`, or around the working directory."""
    from flowyml_policy.settings.loading import load_settings

    settings = load_settings(project=None if project is None else Path(project))
    tell_of_settings(settings)
    with registry_of(settings) as registry:
        yield registry
