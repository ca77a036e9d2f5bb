"""Errors of the stack registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowyml_policy.errors.root import USE_NEWER, FlowymlPolicyError

if TYPE_CHECKING:
    from flowyml_policy.records.registry import RegisteredStack


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
    default_advice = USE_NEWER
