"""Errors of looking at container images: why nothing is known of one."""

from __future__ import annotations

from flowyml_policy.errors.root import FlowymlPolicyError


class ImageError(FlowymlPolicyError):
    """An image could not be examined. It is then denied, with `code` and `message` as the reason."""

    code = "image_error"
    default_advice = "check that the image exists and that you may pull it, then try again"


class ImageMissing(ImageError):
    """The registry or the daemon answered, and has no such image, tag or digest."""

    code = "image_missing"
    default_advice = "push the image, or correct its name, tag or digest"


class ImageAccessDenied(ImageError):
    """The registry wants other credentials, or gives these no access."""

    code = "image_access_denied"
    default_advice = "log in with `docker login`, or name credentials under policy.images.credentials"


class ImageCredentialsUnusable(ImageError):
    """Docker's configuration, a credential helper or a variable that the settings name gives no usable login."""

    code = "image_credentials_unusable"
    default_advice = "correct the login, or name credentials under policy.images.credentials"


class ImageUnreachable(ImageError):
    """The registry, or the way to it, failed: unknown host, certificate, time out, 5xx, cut off."""

    code = "image_unreachable"
    default_advice = "check the registry's name and the network, and try again"


class ImageRateLimited(ImageError):
    """The registry takes no more requests for now."""

    code = "image_rate_limited"
    default_advice = "log in for a larger quota, or try again later"


class ImageInvalid(ImageError):
    """What the registry or the daemon holds is no container image that can be read."""

    code = "image_invalid"
    default_advice = "name a container image, built and pushed by a current tool"


class ImageDigestMismatch(ImageError):
    """What was sent is not what its digest says: a registry, mirror or proxy changed it, or a tag moved meanwhile."""

    code = "image_digest_mismatch"
    default_advice = "do not use this registry or mirror before its owner has explained it; then try again"


class ImageTooLarge(ImageError):
    """A document about the image is larger, or it has more parts, than this program reads."""

    code = "image_too_large"
    default_advice = "name an image with smaller metadata"


class ImageNotAsked(ImageError):
    """The server that judges may not ask the image's registry."""

    code = "image_not_asked"
    default_advice = "name the registry in `inspect_hosts` of the server's settings"


class ImageOffline(ImageError):
    """FLOWYML_POLICY_OFFLINE asks no server, and what is remembered does not suffice."""

    code = "image_offline"
    default_advice = "examine the image once while there is a network, by digest if it is to be remembered for ever"


class DaemonUnavailable(ImageError):
    """No container daemon answers, or not in a way that can be read."""

    code = "daemon_unavailable"
    default_advice = "start it, or set DOCKER_HOST; or set policy.images.inspect to registry"


class ScanReportInvalid(ImageError):
    """A file given as a scan report is none that this program reads."""

    code = "scan_report_invalid"
    default_advice = "write it with `trivy image --format json` or `grype -o json`"


class SigningKeyUnusable(ImageError):
    """A file that `policy.images.cosign_keys` names is no public key, or a package to check signatures is missing."""

    code = "signing_key_unusable"
    default_advice = "name a PEM file with a public key, as `cosign generate-key-pair` writes cosign.pub"
