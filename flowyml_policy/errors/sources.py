"""Errors of where definitions are kept."""

from __future__ import annotations

from flowyml_policy.errors.root import FlowymlPolicyError


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
