"""The part of the distribution API by which a registry is given something: blobs, and manifests under a tag.

Rules:
- A blob goes whole in one PUT, to where the registry says, which must be the registry itself: nothing that is uploaded,
  and no login, goes to another scheme, host or port.
- The digest of what was put is computed of its bytes; a registry that names another one is not believed.
- What is there already is not sent again. No redirect of an upload is followed.
"""

from __future__ import annotations

import hashlib
from typing import ClassVar, Final
from urllib.parse import quote, urljoin

from flowyml_policy.mask.quoted import shown
from flowyml_policy.network.address import AddressRefused, parse_address
from flowyml_policy.network.deadline import Deadline
from flowyml_policy.network.messages import Request, Response
from flowyml_policy.network.oci_failures import RegistryFailure, error_code
from flowyml_policy.network.oci_registry import Endpoint, OciRegistry

_LARGEST_ANSWER: Final = 1 << 18
_MOST_REDIRECTS: Final = 5
_OK: Final = 200
_CREATED: Final = 201
_ACCEPTED: Final = 202
_NOT_FOUND: Final = 404
_TOO_LARGE: Final = 413
_SAME_AS_READING: Final = frozenset({401, 403, 429, *range(500, 600)})
_SHOWN: Final = 80


class PushDeclined(RegistryFailure):
    """The registry answered that it does not take what it was sent."""


class WritableRegistry(OciRegistry):
    """As OciRegistry, and its tokens are for pushing too."""

    _actions: ClassVar = "pull,push"

    def put_blob(self, endpoint: Endpoint, data: bytes, deadline: Deadline) -> str:
        """Have the registry keep `data`, if it does not yet; its digest."""
        digest = digest_of(data)
        there = Request("HEAD", f"{endpoint.url}/blobs/{digest}", _LARGEST_ANSWER, redirects=_MOST_REDIRECTS)
        if self._exchange(endpoint, there, deadline).status == _OK:
            return digest
        # An upload that was begun twice is forgotten by the registry, so that asking again does no harm.
        begin = Request("POST", f"{endpoint.url}/blobs/uploads/", _LARGEST_ANSWER, body=b"", repeatable=True)
        begun = self._exchange(endpoint, begin, deadline)
        if begun.status != _ACCEPTED:
            raise self._declined(endpoint, begun, "an upload")
        headers = {"Content-Type": "application/octet-stream"}
        upload = Request("PUT", self._upload(endpoint, begun, digest), _LARGEST_ANSWER, headers, data)
        done = self._exchange(endpoint, upload, deadline)
        if done.status != _CREATED:
            raise self._declined(endpoint, done, f"a blob of {len(data):,} bytes")
        return digest

    def put_manifest(self, endpoint: Endpoint, tag: str, data: bytes, media_type: str, deadline: Deadline) -> str:
        """Have the registry keep a manifest, whose blobs it has, and name it by `tag`; its digest."""
        url = f"{endpoint.url}/manifests/{quote(tag, safe=':')}"
        request = Request("PUT", url, _LARGEST_ANSWER, {"Content-Type": media_type}, data, repeatable=True)
        response = self._exchange(endpoint, request, deadline)
        if response.status != _CREATED:
            raise self._declined(endpoint, response, "the manifest")
        digest = digest_of(data)
        said = response.headers.get("docker-content-digest", digest)
        if said != digest:
            what = f"the registry says that it keeps {shown(said, _SHOWN)} in place of the manifest {digest}"
            raise RegistryFailure("mismatch", what)
        return digest

    def _upload(self, endpoint: Endpoint, begun: Response, digest: str) -> str:
        """Where the registry wants the blob, which is told it by its digest."""
        given = begun.headers.get("location", "")
        try:
            address = parse_address(urljoin(begun.url, given), self._insecure)
            is_own = bool(given) and address.origin == parse_address(endpoint.origin, self._insecure).origin
        except (AddressRefused, ValueError):
            is_own = False
        if not is_own:
            what = "the registry wants the upload at another scheme, host or port than its own"
            advice = "have it, or the proxy before it, name its address as it is asked for (X-Forwarded-Proto, Host)"
            raise RegistryFailure("invalid", what, advice, begun.status)
        return f"{endpoint.origin}{address.target}{'&' if '?' in address.target else '?'}digest={digest}"

    def _declined(self, endpoint: Endpoint, response: Response, what: str) -> RegistryFailure:
        status = response.status
        if status in _SAME_AS_READING:
            return self._refused(endpoint, response)
        code = error_code(response.body)
        said = f"{status}" if code is None else f"{status}, {code}"
        if status == _NOT_FOUND:
            what = f"the registry has no such repository ({said})"
            return RegistryFailure("missing", what, "create the repository there first", status)
        if status == _TOO_LARGE:
            advice = "raise the limit of the registry, or of the proxy before it"
        else:
            advice = "look whether the registry takes pushes, and lets this tag be moved"
        return PushDeclined("invalid", f"the registry does not take {what} ({said})", advice, status)


def digest_of(data: bytes) -> str:
    """`sha256:` and the SHA-256 of `data`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
