"""Errors of bundles: of a recipe, of what it names, of archives, keys and signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowyml_policy.errors.root import FlowymlPolicyError

if TYPE_CHECKING:
    from flowyml_policy.errors.settings import SettingsInvalid, SettingsProblem


class BundleError(FlowymlPolicyError):
    """A bundle cannot be built, read, signed or believed."""

    code = "bundle_error"
    default_advice = "see `flowyml-policy bundle --help`"


class RecipeInvalid(BundleError):
    """A recipe, or a file of data that it names, cannot be used as written.

    `problems` holds all that was found in the files, in their order, and `message` a line for each; it is empty where
    a file as a whole is the problem.
    """

    code = "recipe_invalid"
    default_advice = "correct the recipe; docs/bundles.md says what may stand there"

    def __init__(self, message: str, *, advice: str | None = None, problems: Sequence[SettingsProblem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message, advice=advice)

    @classmethod
    def of(cls, error: SettingsInvalid) -> RecipeInvalid:
        """The same of a recipe as `error` says of settings."""
        return cls(error.message, advice=error.advice, problems=error.problems)

    def __str__(self) -> str:
        return f"{self.message}\n{self.advice}" if len(self.problems) > 1 else super().__str__()


class BundleRefused(BundleError):
    """What a recipe names breaks a rule, so no bundle is made: its tests, the conventions, builtins, data."""

    code = "bundle_refused"
    exit_code = 1
    default_advice = "correct what it names; no bundle was written"


class BundleUnreadable(BundleError):
    """A file is no bundle that this program reads, or one cannot be written."""

    code = "bundle_unreadable"
    default_advice = "name a .tar.gz that `flowyml-policy bundle build` or `opa build` wrote"


class SigningFailed(BundleError):
    """A key cannot be used, or a bundle cannot be signed with it."""

    code = "signing_failed"
    default_advice = "name a PEM file, or a variable that holds one, as `flowyml-policy bundle keygen` writes it"


class SignatureRefused(BundleError):
    """A bundle is not signed, not by a key that was named, or not as it was signed."""

    code = "signature_refused"
    exit_code = 1
    default_advice = "do not load it: fetch it again, or ask who builds it for one that is signed"


class PushRefused(BundleError):
    """A bundle is not published: it has no sequence, its tag would go back in sequence, or the other side declines."""

    code = "push_refused"
    exit_code = 1
    default_advice = "build it with a `--sequence` that is higher than that of every bundle published before"


class BundleMissing(BundleError):
    """The registry or the server answered, and has no such bundle, repository or name."""

    code = "bundle_missing"
    default_advice = "correct the name, tag or digest, or push the bundle"


class BundleAccessDenied(BundleError):
    """The registry or the server wants other credentials, or gives these no access."""

    code = "bundle_access_denied"
    default_advice = "log in with `docker login`, or name credentials under policy.images.credentials"


class BundleUnreachable(BundleError):
    """The registry or the server, or the way to it, failed, or none is asked offline."""

    code = "bundle_unreachable"
    default_advice = "check the address and the network, and try again"


class BundleTampered(BundleError):
    """What a registry sent is not what its digest says: the registry or a proxy changed it."""

    code = "bundle_tampered"
    default_advice = "try again, and ask who runs the registry if it stays so"
