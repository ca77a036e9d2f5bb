"""Every error that leaves flowyml_policy, in one tree.

Rules of this room:
- A message reads `what happened: where; what to do`; `advice` is the last part on its own.
- A leaf exists because its *advice* or its exit code differs, not because its cause does.
- Foreign exceptions are chained as the cause and never reach a caller.
- `exit_code` follows the command line contract: 1 denied, 2 usage, 3 could not decide.
- None of these is an ImportError, which FlowyML swallows around its own policy step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from flowyml_policy.records import Decision, Location, LockHolder, RegisteredStack, Result


class FlowymlPolicyError(Exception):
    """The root of the tree: something kept this program from deciding.

    `code` is stable and machine-readable, `message` says what and where in one sentence, `advice` says
    what to do next, `exit_code` is what a command that ends with this error exits with.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 3
    default_advice: ClassVar[str] = "run `flowyml-policy doctor` to see what is installed and configured"

    def __init__(self, message: str, *, advice: str | None = None) -> None:
        self.message = message
        self.advice = self.default_advice if advice is None else advice
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message}; {self.advice}" if self.advice else self.message


class InternalError(FlowymlPolicyError):
    """A fault of this program itself; never an allow."""

    code = "internal_error"
    default_advice = "run the command again with --debug and report what it prints"


class UsageError(FlowymlPolicyError):
    """The call itself is wrong: an argument is missing, contradicts another, or names nothing."""

    code = "usage"
    exit_code = 2
    default_advice = "see --help"


# YAML, for definitions and settings alike


class YamlInvalid(FlowymlPolicyError):
    """A file is not the YAML that this program reads. `problem` says what, `location` where, `fix` what to write."""

    code = "yaml_invalid"

    def __init__(self, problem: str, *, location: Location, fix: str) -> None:
        self.problem = problem
        self.location = location
        self.fix = fix
        super().__init__(f"{location}: {problem}", advice=fix)


class YamlTooLarge(YamlInvalid):
    """A file is larger, deeper or longer, with its aliases written out, than this program reads."""

    code = "yaml_too_large"


# Values of floor 0


class NotCanonical(FlowymlPolicyError):
    """A value has no canonical JSON (RFC 8785), so it cannot be digested: it is not JSON, or ambiguous JSON."""

    code = "not_canonical"
    default_advice = "use text, whole numbers up to 2**53 - 1, finite numbers, booleans, null, lists and mappings only"


class ReferenceInvalid(FlowymlPolicyError):
    """Text is no image reference that Docker would take, or no entry of a list of allowed registries."""

    code = "reference_invalid"
    default_advice = "write it as registry/path:tag or registry/path@sha256:digest"

    def __init__(self, message: str, *, problem: str | None = None, advice: str | None = None) -> None:
        self.problem = message if problem is None else problem
        """What is wrong, where the text itself need not be said again."""
        super().__init__(message, advice=advice)


# Definitions and where they come from


class DefinitionProblem:
    """One thing wrong with one document: what the finding `definition.*` is made from.

    `location` is null for a definition that no file holds.
    """

    __slots__ = ("code", "fix", "location", "message", "path")

    def __init__(
        self, code: str, message: str, *, fix: str, location: Location | None, path: Sequence[str | int] = ()
    ) -> None:
        self.code = code
        self.message = message
        self.fix = fix
        self.location = location
        self.path = tuple(path)

    def __str__(self) -> str:
        where = f"{self.location}: " if self.location else ""
        return f"{where}{self.message}; {self.fix}" if self.fix else f"{where}{self.message}"

    def __repr__(self) -> str:
        return f"DefinitionProblem({self.code!r}, {str(self)!r})"


class DefinitionInvalid(FlowymlPolicyError):
    """A document is not a stack definition. `problems` holds every one found, in file order, at least one.

    `stack_name` and `stack_version` are the document's own metadata where they could be read.
    """

    code = "definition_invalid"
    exit_code = 1
    default_advice = ""

    def __init__(
        self,
        problems: Sequence[DefinitionProblem],
        *,
        stack_name: str | None = None,
        stack_version: str | None = None,
    ) -> None:
        if not problems:
            raise ValueError("an invalid definition needs at least one problem")
        self.problems = tuple(problems)
        self.stack_name = stack_name
        self.stack_version = stack_version
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SchemaTooNarrow(FlowymlPolicyError):
    """A definition was to be written in a schema that has no place for all of it; nothing is left out instead."""

    code = "schema_too_narrow"

    def __init__(self, stack: str, schema: str, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        other = "flowyml.io/v1" if schema == "flowyml/v1" else "flowyml/v1"
        super().__init__(
            f"stack {stack!r} cannot be written as {schema}: {'; '.join(reasons)}",
            advice=f"write it as {other}, which has a place for all of it",
        )


class ReferenceMalformed(FlowymlPolicyError):
    """Text is no reference to a stack. The message never repeats credentials; the advice shows the right form."""

    code = "reference_malformed"
    default_advice = "write a name, as prod-gpu or prod-gpu@2.1.0, or an address, as github://org/repo@v1.0#stack"


class SourceError(FlowymlPolicyError):
    """A definition could not be had from where it is kept; never a reason to look elsewhere."""

    code = "source_error"


class SourceUnreadable(SourceError):
    """A file or folder that should hold definitions cannot be read."""

    code = "source_unreadable"
    default_advice = "check that the file exists and that this user may read it"


class SourceUnreachable(SourceError):
    """The server, or this machine's way to it, failed: unknown host, time out, 5xx, an answer cut off, offline."""

    code = "source_unreachable"
    default_advice = "check the address and the network, and try again"


class SourceAccessDenied(SourceError):
    """The source wants other credentials than it was given, or any at all."""

    code = "source_access_denied"
    default_advice = "give this user access, and check the credentials"


class SourceMissing(SourceError):
    """The source answered, and what was asked for is not there: the repository, the file."""

    code = "source_missing"
    default_advice = "correct the address or the path"


class SourceRefMissing(SourceError):
    """A repository has no such branch, tag or commit, or more than one that could be meant."""

    code = "source_ref_missing"
    default_advice = "name a branch, a tag or a full commit id of the repository"


class SourceChanged(SourceError):
    """A source holds something else than what it was pinned to."""

    code = "source_changed"
    default_advice = (
        "find out who changed it; if the change is meant, pin the new one: run `flowyml-policy stack lock`, or correct"
        " the sha256 or commit that names it"
    )


class SourceNotPinned(SourceError):
    """An environment takes pinned sources only, and what was named may come to mean something else."""

    code = "source_not_pinned"
    default_advice = (
        "name a full commit id, an http source with its sha256, or an exact version of the registry; or pin it with"
        " `flowyml-policy stack lock` and `require_lock`"
    )


class SourceTooLarge(SourceError):
    """A source holds more than this program reads from one: bytes, or files."""

    code = "source_too_large"
    default_advice = "name one smaller file"


class SourceRefused(SourceError):
    """What an address, a link or a redirect asks for is not safe, and was not done."""

    code = "source_refused"
    default_advice = "name the definition by an address that may be used"


class StackNotFound(SourceError):
    """A source was read, and no stack of that name is in it."""

    code = "stack_not_found"
    default_advice = "name a stack that is there, or the path of its file"


class StackAmbiguous(SourceError):
    """More than one stack could be meant."""

    code = "stack_ambiguous"
    default_advice = "name the path of the one that is meant"


class NoStacksFound(FlowymlPolicyError):
    """A folder was named and no stack definition is in it."""

    code = "no_stacks"
    default_advice = "name a folder that holds *.yaml or *.yml stack definitions"


# Locks on stacks


class LockError(FlowymlPolicyError):
    """A stack's lock cannot be used, so nothing that it protects may be done."""

    code = "lock_error"
    default_advice = "let this user write to its state directory, or set XDG_STATE_HOME to a folder that it may"


class LockTimeout(LockError):
    """Somebody else held a stack's lock for all the time that was given; the message names the holder.

    `holder` is None where it could not be told: a holder that was killed is no holder.
    """

    code = "lock_timeout"
    default_advice = "wait for the holder to finish, or try again with a longer timeout"

    def __init__(self, stack: str, timeout: float, holder: LockHolder | None) -> None:
        self.holder = holder
        who = f"it is held by {holder}" if holder else "its holder is not known"
        super().__init__(f"the lock on stack {stack!r} did not come free within {timeout:g} s: {who}")


class LockReentered(LockError):
    """The thread (or task) that asks for a stack's lock holds it already, and would wait for itself."""

    code = "lock_reentered"
    default_advice = "take the lock once, and hand on that it is held"


# Settings


class SettingsProblem:
    """One thing wrong with one settings file: what, where, and what to write instead."""

    __slots__ = ("fix", "location", "what")

    def __init__(self, what: str, *, location: Location, fix: str) -> None:
        self.what = what
        self.location = location
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}: {self.location}; {self.fix}"

    def __repr__(self) -> str:
        return f"SettingsProblem({str(self)!r})"


class SettingsInvalid(FlowymlPolicyError):
    """flowyml.yaml or the platform settings cannot be used as written.

    `problems` holds everything that was found in the files, in their order; it is empty where a file as a
    whole is the problem. Several problems stand in `message` a line each.
    """

    code = "settings_invalid"
    default_advice = "correct the file; `flowyml-policy schema settings` prints what may stand there"

    def __init__(self, message: str, *, advice: str | None = None, problems: Sequence[SettingsProblem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message, advice=advice)

    @classmethod
    def found(cls, problems: Sequence[SettingsProblem]) -> SettingsInvalid:
        """The error for `problems`, of which there is at least one."""
        if not problems:
            raise ValueError("invalid settings need at least one problem")
        if len(problems) > 1:
            return cls("\n".join(str(problem) for problem in problems), problems=problems)
        return cls(f"{problems[0].what}: {problems[0].location}", advice=problems[0].fix, problems=problems)

    def __str__(self) -> str:
        return f"{self.message}\n{self.advice}" if len(self.problems) > 1 else super().__str__()


class EnvironmentUnknown(FlowymlPolicyError):
    """An environment was asked for that the settings do not name."""

    code = "environment_unknown"
    default_advice = "name one of the environments of flowyml.yaml, or add it there"


class FeatureUnavailable(FlowymlPolicyError):
    """A setting is valid, but this version cannot honour it yet, and what it asks for would be skipped."""

    code = "feature_unavailable"
    default_advice = "take the setting out, or use a version of flowyml-policy that supports it"


# OPA


class OpaError(FlowymlPolicyError):
    """OPA gave no usable decision. What it means is always: undecided."""

    code = "opa_error"


class OpaUnavailable(OpaError):
    """There is no OPA to ask: library missing, unloadable or of another version, closed, or dead after fork."""

    code = "opa_unavailable"
    default_advice = "reinstall flowyml-policy; `flowyml-policy doctor` says what it found"


class OpaStartFailed(OpaError):
    """OPA could not start or could not activate a bundle; the message carries OPA's own reason."""

    code = "opa_start_failed"
    default_advice = "correct policy.opa.config, or the bundle that it names"


class PolicyInvalid(OpaError):
    """A bundle or a project's rules break a rule of this program: roots, conventions, globs, missing rules."""

    code = "policy_invalid"
    default_advice = "correct what it names; no policy is loaded until then"


class OpaDeadlineExceeded(OpaError):
    """A decision took longer than `policy.opa.deadline`."""

    code = "opa_deadline_exceeded"
    default_advice = "raise policy.opa.deadline, or profile the policy with `flowyml-policy opa bench`"


class OpaEvaluationFailed(OpaError):
    """A rule failed while it was evaluated (builtin error, conflict, refused builtin, panic)."""

    code = "opa_evaluation_failed"
    default_advice = "correct the rule that OPA names"


class OpaUndefined(OpaError):
    """The decision is undefined: no loaded bundle defines it."""

    code = "opa_undefined"
    default_advice = "load a bundle that defines data.flowyml.main.decision"


class OpaAnswerInvalid(OpaError):
    """OPA answered, but not with a decision of the agreed shape, or without a bundle that must have judged."""

    code = "opa_answer_invalid"
    default_advice = "load the policy bundle that belongs to this version of flowyml-policy"


# Audit


class AuditError(FlowymlPolicyError):
    """The audit cannot be used, so no decision can be given: it would not be recorded."""

    code = "audit_error"
    default_advice = "point policy.audit.path of flowyml.yaml at a writable file on a local disk"


class AuditUnwritable(AuditError):
    """The audit file cannot be created or appended to (read-only, full, locked, in memory)."""

    code = "audit_unwritable"


class AuditUnreadable(AuditError):
    """The audit file is missing where it is asked for, or is no audit of this program."""

    code = "audit_unreadable"
    default_advice = "name the project with --project DIR; nothing is recorded before the first decision"


class AuditCorrupt(AuditError):
    """The audit file is damaged, or its chain does not verify."""

    code = "audit_corrupt"
    default_advice = "keep the file as evidence, and move it aside so that a new audit can be started"


class AuditTooNew(AuditError):
    """A newer version of flowyml-policy has written this audit file."""

    code = "audit_too_new"
    default_advice = "use the flowyml-policy version that wrote it, or a newer one"


# The stack registry


class RegistryError(FlowymlPolicyError):
    """The stack registry gave no stack, or took none."""

    code = "registry_error"


class StackUnknown(RegistryError):
    """The registry has no stack of that name. `near` holds names that are spelled alike."""

    code = "stack_unknown"
    default_advice = "`flowyml-policy stack list` shows what is registered"

    def __init__(self, message: str, *, near: Sequence[str] = ()) -> None:
        self.near = tuple(near)
        super().__init__(message, advice=f"did you mean {' or '.join(self.near)}?" if self.near else None)


class VersionUnknown(RegistryError):
    """The registry has the stack, and no version of it that was asked for. `versions` holds the newest there are."""

    code = "version_unknown"

    def __init__(self, message: str, *, versions: Sequence[str] = (), advice: str | None = None) -> None:
        self.versions = tuple(versions)
        there = f"registered are {', '.join(self.versions)}" if self.versions else "register a version of it"
        super().__init__(message, advice=there if advice is None else advice)


class VersionMalformed(RegistryError):
    """Text is no semantic version, or no range of them."""

    code = "version_malformed"
    default_advice = "write a version, as 2.1.0, or a range, as ^2.1 or ~2.1.0"


class VersionRetired(RegistryError):
    """A version was named that was retired: its history stays, but it may not be used again."""

    code = "version_retired"
    default_advice = "name a version that is in use; `flowyml-policy stack list --all-versions` shows them"


class VersionTaken(RegistryError):
    """Other content stands under the version already. `registered` is what stands there, `diff` what would change."""

    code = "version_taken"
    exit_code = 1
    default_advice = "give the changed definition a new metadata.version"

    def __init__(self, message: str, *, registered: RegisteredStack, diff: str) -> None:
        self.registered = registered
        self.diff = diff
        super().__init__(message)


class StackUnregistrable(RegistryError):
    """A definition cannot be registered as it is: for its name, its version, or a secret that it holds."""

    code = "stack_unregistrable"
    exit_code = 1
    default_advice = "give it a metadata.name and a metadata.version that it can be asked for by"


class RegistryUnreachable(RegistryError):
    """The registry's server, or the way to it, failed: unknown host, certificate, time out, 5xx, cut off."""

    code = "registry_unreachable"
    default_advice = "check policy.registry.url and the network, and try again"


class RegistryAccessDenied(RegistryError):
    """The registry's server wants another token, or does not let its owner do this."""

    code = "registry_access_denied"
    default_advice = "put a valid token into the variable that policy.registry.token_env names"


class RegistryAnswerInvalid(RegistryError):
    """A server answered, but not as a registry does, or with a stack that is not what its digest says."""

    code = "registry_answer_invalid"
    default_advice = "check that policy.registry.url is the address of a stack registry, and tell its owner"


class RegistryUnwritable(RegistryError):
    """The registry file cannot be created or appended to (read-only, full, locked, in memory)."""

    code = "registry_unwritable"
    default_advice = "point policy.audit.path of flowyml.yaml at a writable file on a local disk"


class RegistryUnreadable(RegistryError):
    """The registry file cannot be read, or is no file of this program."""

    code = "registry_unreadable"
    default_advice = "check that policy.audit.path of flowyml.yaml names the project's file"


class RegistryCorrupt(RegistryError):
    """The registry file is damaged, or a row of it is not what was registered."""

    code = "registry_corrupt"
    default_advice = "keep the file as evidence, and move it aside so that a new one can be started"


class RegistryTooNew(RegistryError):
    """A newer version of flowyml-policy has written this registry file."""

    code = "registry_too_new"
    default_advice = "use the flowyml-policy version that wrote it, or a newer one"


# The lockfile


class LockfileError(FlowymlPolicyError):
    """What flowyml.lock pins cannot be told, or does not allow what was asked for."""

    code = "lockfile_error"
    default_advice = "run `flowyml-policy stack lock`, and commit the file that it writes"


class LockfileUnreadable(LockfileError):
    """The lockfile is there and cannot be read."""

    code = "lockfile_unreadable"
    default_advice = "let this user read the file"


class LockfileInvalid(LockfileError):
    """The lockfile is not what `stack lock` writes: edited, or left with the marks of a merge."""

    code = "lockfile_invalid"
    default_advice = "take it from version control, or write it anew with `flowyml-policy stack lock`"


class LockfileForeign(LockfileError):
    """A lockfile of FlowyML's own stands where this program's would."""

    code = "lockfile_foreign"
    default_advice = (
        "move it away if nobody reads it, then run `flowyml-policy stack lock`; it holds no commit, and FlowyML itself"
        " checks nothing against it"
    )


class LockfileTooNew(LockfileError):
    """A newer version of flowyml-policy has written the lockfile."""

    code = "lockfile_too_new"
    default_advice = "use the flowyml-policy version that wrote it, or a newer one"


class LockfileUnwritable(LockfileError):
    """The lockfile cannot be written; what was there before is still there."""

    code = "lockfile_unwritable"
    default_advice = "let this user write to the folder of flowyml.yaml"


class StackNotPinned(LockfileError):
    """An environment takes pinned stacks only, and the lockfile does not pin this one, or does not exist."""

    code = "stack_not_pinned"


class StackDrifted(LockfileError):
    """An environment takes pinned stacks only, and this one is not what the lockfile pins."""

    code = "stack_drifted"
    default_advice = (
        "`flowyml-policy stack verify` shows what changed; if it is meant, run `flowyml-policy stack lock` and commit"
    )


# Answers that stop the caller


class PolicyDenied(FlowymlPolicyError):
    """Raised only by calls whose point is to stop: the stack was judged and denied. Carries the decision."""

    code = "policy_denied"
    exit_code = 1
    default_advice = "correct what the findings name"

    def __init__(self, decision: Decision, result: Result) -> None:
        self.decision = decision
        self.result = result
        reasons = "; ".join(f"{finding.code}: {finding.message}" for finding in decision.denials)
        super().__init__(f"stack {result.stack.name!r} is denied: {reasons}")


class PolicyUndecided(FlowymlPolicyError):
    """There is no decision; nothing may run. `result` carries what was recorded, the cause is chained."""

    code = "policy_undecided"

    def __init__(self, result: Result) -> None:
        self.result = result
        error = result.error
        super().__init__(error.message if error else "no decision was reached", advice=error.advice if error else None)
