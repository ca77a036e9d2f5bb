"""The tree of errors is a contract: names, parents, codes and exit codes stay, since programs tell errors by them."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final

import pytest

from flowyml_policy import errors
from flowyml_policy.errors.definitions import DefinitionProblem
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.errors.settings import SettingsProblem
from flowyml_policy.records.decision import Decision, Finding
from flowyml_policy.records.events import LockHolder
from flowyml_policy.records.policy_input import Source
from flowyml_policy.records.record import Location
from flowyml_policy.records.registry import RegisteredStack
from flowyml_policy.records.result import Result

TREE = """\
AuditCorrupt AuditError audit_corrupt 3
AuditError FlowymlPolicyError audit_error 3
AuditTooNew AuditError audit_too_new 3
AuditUnreadable AuditError audit_unreadable 3
AuditUnwritable AuditError audit_unwritable 3
BundleAccessDenied BundleError bundle_access_denied 3
BundleError FlowymlPolicyError bundle_error 3
BundleMissing BundleError bundle_missing 3
BundleRefused BundleError bundle_refused 1
BundleTampered BundleError bundle_tampered 3
BundleUnreachable BundleError bundle_unreachable 3
BundleUnreadable BundleError bundle_unreadable 3
DaemonUnavailable ImageError daemon_unavailable 3
DefinitionInvalid FlowymlPolicyError definition_invalid 1
EnvironmentUnknown FlowymlPolicyError environment_unknown 3
FeatureUnavailable FlowymlPolicyError feature_unavailable 3
FlowymlPolicyError Exception error 3
GuardInactive FlowymlPolicyError guard_inactive 3
ImageAccessDenied ImageError image_access_denied 3
ImageCredentialsUnusable ImageError image_credentials_unusable 3
ImageDigestMismatch ImageError image_digest_mismatch 3
ImageError FlowymlPolicyError image_error 3
ImageInvalid ImageError image_invalid 3
ImageMissing ImageError image_missing 3
ImageNotAsked ImageError image_not_asked 3
ImageOffline ImageError image_offline 3
ImageRateLimited ImageError image_rate_limited 3
ImageTooLarge ImageError image_too_large 3
ImageUnreachable ImageError image_unreachable 3
InternalError FlowymlPolicyError internal_error 3
LockError FlowymlPolicyError lock_error 3
LockReentered LockError lock_reentered 3
LockTimeout LockError lock_timeout 3
LockfileError FlowymlPolicyError lockfile_error 3
LockfileForeign LockfileError lockfile_foreign 3
LockfileInvalid LockfileError lockfile_invalid 3
LockfileTooNew LockfileError lockfile_too_new 3
LockfileUnreadable LockfileError lockfile_unreadable 3
LockfileUnwritable LockfileError lockfile_unwritable 3
NoStacksFound FlowymlPolicyError no_stacks 3
NotCanonical FlowymlPolicyError not_canonical 3
OpaAnswerInvalid OpaError opa_answer_invalid 3
OpaDeadlineExceeded OpaError opa_deadline_exceeded 3
OpaError FlowymlPolicyError opa_error 3
OpaEvaluationFailed OpaError opa_evaluation_failed 3
OpaStartFailed OpaError opa_start_failed 3
OpaUnavailable OpaError opa_unavailable 3
OpaUndefined OpaError opa_undefined 3
PolicyDenied FlowymlPolicyError policy_denied 1
PolicyExpired OpaError policy_expired 3
PolicyInvalid OpaError policy_invalid 3
PolicyRolledBack OpaError policy_rolled_back 3
PolicyUndecided FlowymlPolicyError policy_undecided 3
PushRefused BundleError push_refused 1
RecipeInvalid BundleError recipe_invalid 3
ReferenceInvalid FlowymlPolicyError reference_invalid 3
ReferenceMalformed FlowymlPolicyError reference_malformed 3
RegistryAccessDenied RegistryError registry_access_denied 3
RegistryAnswerInvalid RegistryError registry_answer_invalid 3
RegistryCorrupt RegistryError registry_corrupt 3
RegistryError FlowymlPolicyError registry_error 3
RegistryTooNew RegistryError registry_too_new 3
RegistryUnreachable RegistryError registry_unreachable 3
RegistryUnreadable RegistryError registry_unreadable 3
RegistryUnwritable RegistryError registry_unwritable 3
ScanReportInvalid ImageError scan_report_invalid 3
SchemaTooNarrow FlowymlPolicyError schema_too_narrow 3
ServerCorrupt ServerError server_corrupt 3
ServerError FlowymlPolicyError server_error 3
ServerNotStarted ServerError server_not_started 3
ServerTooNew ServerError server_too_new 3
ServerUnreachable ServerError server_unreachable 3
ServerUnreadable ServerError server_unreadable 3
ServerUnwritable ServerError server_unwritable 3
SettingsInvalid FlowymlPolicyError settings_invalid 3
SignatureRefused BundleError signature_refused 1
SigningFailed BundleError signing_failed 3
SigningKeyUnusable ImageError signing_key_unusable 3
SourceAccessDenied SourceError source_access_denied 3
SourceChanged SourceError source_changed 3
SourceError FlowymlPolicyError source_error 3
SourceMissing SourceError source_missing 3
SourceNotPinned SourceError source_not_pinned 3
SourceRefMissing SourceError source_ref_missing 3
SourceRefused SourceError source_refused 3
SourceTooLarge SourceError source_too_large 3
SourceUnreachable SourceError source_unreachable 3
SourceUnreadable SourceError source_unreadable 3
StackAmbiguous SourceError stack_ambiguous 3
StackDrifted LockfileError stack_drifted 3
StackNotFound SourceError stack_not_found 3
StackNotPinned LockfileError stack_not_pinned 3
StackUnbuildable FlowymlPolicyError stack_unbuildable 3
StackUnknown RegistryError stack_unknown 3
StackUnregistrable RegistryError stack_unregistrable 1
UsageError FlowymlPolicyError usage 2
VersionMalformed RegistryError version_malformed 3
VersionRetired RegistryError version_retired 3
VersionTaken RegistryError version_taken 1
VersionUnknown RegistryError version_unknown 3
YamlInvalid FlowymlPolicyError yaml_invalid 3
YamlTooLarge YamlInvalid yaml_too_large 3
"""


def defined() -> dict[str, type[BaseException]]:
    """Every exception that a module of errors/ defines, by name."""
    found: dict[str, type[BaseException]] = {}
    for module in pkgutil.iter_modules(errors.__path__):
        loaded = importlib.import_module(f"{errors.__name__}.{module.name}")
        for name, value in inspect.getmembers(loaded, inspect.isclass):
            if issubclass(value, BaseException) and value.__module__ == loaded.__name__:
                assert name not in found
                found[name] = value
    return found


def test_tree_is_as_it_was() -> None:
    rows = [
        f"{name} {kind.__mro__[1].__name__} {kind.code} {kind.exit_code}"
        for name, kind in sorted(defined().items())
        if issubclass(kind, FlowymlPolicyError)
    ]
    assert rows == TREE.splitlines()


def test_tree_has_one_root() -> None:
    assert [name for name, kind in defined().items() if not issubclass(kind, FlowymlPolicyError)] == []
    assert not any(issubclass(kind, ImportError) for kind in defined().values())


PLACE: Final = Location(file="f.yaml", line=3, column=7)
FINDING: Final = Finding(
    code="a.b",
    severity="deny",
    enforcement="hard",
    subject="x",
    path=("spec",),
    message="it is wrong",
    fix="correct it",
    waiver=None,
    override=None,
    effective_on=None,
)
RESULT: Final = Result.model_validate(
    {
        "stack": {"name": "prod", "version": "1.0.0"},
        "source": Source(kind="local", uri="prod.yaml"),
        "outcome": "error",
        "decision_id": "1",
        "authority": "project",
        "environments": (),
        "hypothetical": False,
        "bundles": {},
        "evaluator": None,
        "findings": (),
        "images": (),
        "error": {"code": "opa_error", "message": "no answer", "advice": "ask again"},
    }
)
REGISTERED: Final = RegisteredStack(
    name="prod",
    version="1.0.0",
    digest="sha256:" + "0" * 64,
    document={},
    source=RESULT.source,
    applied_by="ada",
    applied_at="2026-11-23T10:00:00Z",
)
GIVEN: Final[dict[str, dict[str, Any]]] = {
    "PolicyDenied": {
        "decision": Decision.model_validate(
            {
                "schema_version": 1,
                "allow": False,
                "findings": (FINDING,),
                "waivers": {"applied": (), "expired": ()},
                "rules": ("a",),
            }
        ),
        "result": RESULT,
    },
    "PolicyUndecided": {"result": RESULT},
    "LockTimeout": {
        "stack": "prod",
        "timeout": 2.5,
        "holder": LockHolder(stack="prod", pid=7, host="h", user="ada", since="2026-11-23T10:00:00Z"),
    },
    "VersionTaken": {"message": "taken", "registered": REGISTERED, "diff": "-a"},
    "VersionUnknown": {"message": "unknown", "versions": ("1.0.0",)},
    "StackUnknown": {"message": "unknown", "near": ("prod",)},
    "DefinitionInvalid": {
        "problems": (DefinitionProblem("c", "m", fix="f", location=PLACE, path=("a", 0)),),
        "stack_name": "prod",
    },
    "SchemaTooNarrow": {"stack": "prod", "schema": "flowyml/v1", "reasons": ("no place",)},
    "SettingsInvalid": {"message": "m", "problems": (SettingsProblem("w", location=PLACE, fix="f"),)},
    "RecipeInvalid": {"message": "m", "problems": (SettingsProblem("w", location=PLACE, fix="f"),)},
    "YamlInvalid": {"problem": "p", "location": PLACE, "fix": "f"},
    "YamlTooLarge": {"problem": "p", "location": PLACE, "fix": "f"},
    "ReferenceInvalid": {"message": "m", "problem": "p"},
}
"""What a constructor takes that takes more than a message and advice."""


def example(name: str) -> BaseException:
    """An error of the class `name` with every field set."""
    return defined()[name](**GIVEN.get(name, {"message": "what happened", "advice": "what to do"}))


def told(error: BaseException) -> tuple[object, ...]:
    """All that `error` says; the problems in it are told by what they say."""
    return type(error), str(error), error.args, {name: repr(value) for name, value in vars(error).items()}


def raised(name: str) -> None:
    raise example(name)


@pytest.mark.parametrize("name", sorted(defined()))
def test_error_comes_back_equal_when_pickled_or_copied(name: str) -> None:
    error = example(name)
    error.add_note("seen") if hasattr(error, "add_note") else None
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert told(pickle.loads(pickle.dumps(error, protocol))) == told(error)
    assert told(copy.copy(error)) == told(error) == told(copy.deepcopy(error))


def test_every_error_crosses_a_pool_of_processes() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for name in sorted(defined()):
            caught = pool.submit(raised, name).exception()
            assert caught is not None
            assert (type(caught), str(caught)) == (defined()[name], str(example(name)))
