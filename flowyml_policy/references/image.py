"""Image references as Docker reads them, and the registries that a list allows.

Rules:
- The grammar and the normalisation are those of github.com/distribution/reference, which the Docker Engine
  uses: `ubuntu` is docker.io/library/ubuntu. What Docker versions read differently is refused, never guessed.
- Hosts are compared as written, port included: DOCKER.IO is not docker.io, x.io is not x.io:5000.
- An allowlist entry is a whole host, or a host and whole components of a path; neighbours never pass.
- A refusal says what is wrong, and shows nothing that might be a password.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.mask.quoted import shown

DOCKER_HUB: Final = "docker.io"
_DOCKER_HUB_OLD: Final = "index.docker.io"
_DOCKER_HUB_OTHER: Final = re.compile(
    r"(?:\*\.)?(?:[a-z0-9-]+\.)*docker\.(?:com|io)(?::[0-9]+)?|docker-?hub(?:\.(?:com|io))?"
)
"""What Docker Hub is called in other places, and no image's host: its website, its API, its servers, its patterns."""
_OFFICIAL: Final = "library/"
_LOCALHOST: Final = "localhost"
_DEFAULT_TAG: Final = "latest"
LONGEST_NAME: Final = 255
_LONGEST_TEXT: Final = 1024
_SHOWN: Final = 80

_LABEL: Final = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_PORT: Final = "(?::[0-9]+)?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\]){_PORT}")
_HOST_BELOW: Final = rf"{_LABEL}(?:\.{_LABEL})*{_PORT}"
_COMPONENT: Final = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH: Final = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_TAG: Final = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST: Final = "sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}"
_DIGEST_SHAPE: Final = "[A-Za-z][A-Za-z0-9+._-]*:[0-9A-Za-z=_-]*"
_AZURE_ML: Final = re.compile(r"azureml:(?://|[^/:@]+[:@](?!sha[0-9]))", re.IGNORECASE)
_IMAGE_ID = re.compile(f"[0-9a-f]{{64}}|{_DIGEST}")
_REMAINDER = re.compile(rf"({_PATH})(?::({_TAG}))?(?:@({_DIGEST}))?")
_BLANK_OR_CONTROL: Final = r"[\s\x00-\x1f\x7f]"


class ImageReference(NamedTuple):
    """A reference after normalisation. `tag` and `digest` are None where the author set none."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """`docker.io/library/ubuntu`."""
        return f"{self.registry}/{self.repository}"

    @property
    def effective_tag(self) -> str | None:
        """The tag that a pull would ask for: `latest` where neither tag nor digest is set, None beside a digest."""
        if self.digest is not None:
            return None
        return self.tag or _DEFAULT_TAG

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        return f"{self.name}{tag}@{self.digest}" if self.digest is not None else f"{self.name}{tag}"


def parse_reference(text: str) -> ImageReference:
    """What Docker takes `text` for. Raises ReferenceInvalid.

    Refused besides what Docker refuses: an image id (`sha256:...`), which names no repository; a name longer
    than 255 with its host, which some Docker versions count in; a first component that looks like a host and
    is none (`a_b.com/c`), which leaves Docker without a registry.
    """
    if not isinstance(text, str) or not text or len(text) > _LONGEST_TEXT:
        raise _refused(text, *_not_text(text))
    if _AZURE_ML.match(text):
        fix = "name the image that the environment is built from, as registry/path@sha256:digest"
        raise _refused(text, "it is an Azure ML environment, no image", fix)
    if _IMAGE_ID.fullmatch(text):
        raise _refused(text, "it is an image id, which names no repository", "name the repository")
    registry, remainder = _split(text)
    parts = _REMAINDER.fullmatch(remainder)
    if parts is None or not _HOST.fullmatch(registry):
        raise _refused(text, *next(_why(text, registry, remainder)))
    repository, tag, digest = parts.groups()
    if len(registry) + 1 + len(repository) > LONGEST_NAME:
        raise _refused(text, f"its name is longer than {LONGEST_NAME} characters", "use a shorter name")
    return ImageReference(registry, repository, tag, digest)


def parse_allowlist_entry(text: str) -> str:
    """A normalised entry, `host` or `host/path`, from one that may end in `/`, `/*` or `/**`. Raises ReferenceInvalid.

    `*.` may lead the host. The host must be what a reference would take for one: it holds a dot, a port or an
    upper-case letter, or is localhost.
    """
    if not isinstance(text, str) or not text or len(text) > _LONGEST_TEXT:
        raise _refused_entry(text, *_not_text(text))
    host, slash, path = _without_open_end(text).partition("/")
    if host == _DOCKER_HUB_OLD:
        host = DOCKER_HUB
    if host != DOCKER_HUB and _DOCKER_HUB_OTHER.fullmatch(host):
        fix = f"write {DOCKER_HUB}, or {DOCKER_HUB}/ and the account"
        raise _refused_entry(text, "Docker Hub is docker.io, and this matches no image of it", fix)
    is_host = re.fullmatch(_HOST_BELOW, host[2:]) if host.startswith("*.") else _HOST.fullmatch(host) and _is_host(host)
    if not is_host or (slash and not re.fullmatch(_PATH, path)):
        raise _refused_entry(text, *next(_why_no_entry(text, host, path)))
    entry = f"{host}/{path}" if path else host
    if len(entry) > LONGEST_NAME:
        raise _refused_entry(text, f"it is longer than {LONGEST_NAME} characters", "use a shorter one")
    return entry


def matches(entry: str, reference: ImageReference) -> bool:
    """Whether a normalised allowlist entry allows a reference.

    The host must be equal (`*.` standing for exactly one label), and the path, if there is one, equal or
    continued after a `/`.
    """
    host, _, path = entry.partition("/")
    if host.startswith("*."):
        _, dot, below = reference.registry.partition(".")
        if not dot or below != host[2:]:
            return False
    elif host != reference.registry:
        return False
    return not path or reference.repository == path or reference.repository.startswith(f"{path}/")


def _split(text: str) -> tuple[str, str]:
    """The registry and the rest, by Docker's rule for what the first component is."""
    first, slash, rest = text.partition("/")
    if not slash:
        return DOCKER_HUB, _OFFICIAL + text
    if first == _DOCKER_HUB_OLD:
        registry, remainder = DOCKER_HUB, rest
    elif _is_host(first):
        registry, remainder = first, rest
    else:
        registry, remainder = DOCKER_HUB, text
    if registry == DOCKER_HUB and "/" not in remainder:
        remainder = _OFFICIAL + remainder
    return registry, remainder


def _is_host(component: str) -> bool:
    """Whether Docker takes a first component for a host; it may be no valid one all the same."""
    return "." in component or ":" in component or component == _LOCALHOST or component.lower() != component


def _without_open_end(text: str) -> str:
    for ending in ("/**", "/*", "/"):
        if text.endswith(ending):
            return text[: -len(ending)]
    return text


def _refused(text: object, problem: str, fix: str) -> ReferenceInvalid:
    return ReferenceInvalid(f"{_shown(text)} is no image reference: {problem}", problem=problem, advice=fix)


def _refused_entry(text: object, problem: str, fix: str) -> ReferenceInvalid:
    return ReferenceInvalid(f"{_shown(text)} cannot stand in a list of registries: {problem}", advice=fix)


def _shown(text: object) -> str:
    """`text` for a message, without what stands before an `@` that no digest follows."""
    if not isinstance(text, str):
        return "a value that is not text"
    head, at, digest = text.rpartition("@")
    if not re.fullmatch(_DIGEST_SHAPE, digest):
        head, at, digest = text, "", ""
    user, separator, rest = head.rpartition("@")
    return shown(f"{f'...@{rest}' if separator and user else head}{at}{digest}", _SHOWN)


def _not_text(text: object) -> tuple[str, str]:
    if not isinstance(text, str):
        return "it is not text", "write it as text"
    if not text:
        return "it is empty", "name an image or a registry"
    return f"it is longer than {_LONGEST_TEXT} characters", "use a shorter one"


_Reasons: TypeAlias = Iterator[tuple[str, str]]
"""What may be wrong and what to do, the best explanation first; the last is always true."""


def _unwritable(text: str) -> _Reasons:
    """What is wrong with `text` whatever it was meant to be."""
    if re.search(_BLANK_OR_CONTROL, text):
        yield "it holds a blank or a control character", "take it out"
    if "://" in text:
        yield "it begins with a scheme", "leave out what stands up to and including `://`"
    if "${" in text or "{{" in text:
        yield "it holds a template's placeholder", "write what the placeholder stands for"
    if not text.isascii():
        yield "it holds a character that is not ASCII", "take it out"
    if text.startswith("/") or text.endswith("/") or "//" in text:
        yield "a component of its path is empty", "take the extra `/` out"


def _why(text: str, registry: str, remainder: str) -> _Reasons:
    yield from _unwritable(text)
    if "/" in text and "@" in text.partition("/")[0]:
        yield "it holds a user name or password", "leave out what stands up to and including `@`"
    if not _HOST.fullmatch(registry):
        yield f"{registry!r} is no host name", "correct the part before the first `/`"
    named, at, digest = remainder.partition("@")
    if at and not re.fullmatch(_DIGEST, digest):
        yield "its digest is not sha256:, sha384: or sha512: and lower-case hex digits", "write the whole digest"
    path, colon, tag = named.partition(":")
    if path != path.lower():
        yield "its repository holds upper-case letters", "write the repository in lower case"
    if colon and re.fullmatch(_PATH, path) and not re.fullmatch(_TAG, tag):
        yield "its tag is malformed", "use at most 128 letters, digits, `_`, `.` or `-`, not `.` or `-` first"
    yield "its repository is malformed", "use letters and digits, and single `.`, `_` or `-` between them"


def _why_no_entry(text: str, host: str, path: str) -> _Reasons:
    if host in ("*", "**"):
        yield "a lone * would allow every registry", "name the hosts"
    yield from _unwritable(_without_open_end(text) or text)
    if "@" in text:
        yield "it holds a digest, a user name or a password", "name a host, or a host and a path"
    if "*" in path or "*" in host.removeprefix("*."):
        yield "a * may only lead the host, as in *.azurecr.io", "name the host or path without it"
    if ":" in path or (":" in host and "[" not in host and not _HOST.fullmatch(host.removeprefix("*."))):
        yield "it holds a tag, or a port that is no number", "name a host, or a host and a path, without a tag"
    if path != path.lower():
        yield "its path holds upper-case letters, which no repository has", "write the path in lower case"
    if not path and not _is_host(host):
        fix = f"write {DOCKER_HUB}/{_OFFICIAL}{host} for the image, {DOCKER_HUB}/{host} for the account"
        yield f"{host!r} is no host to Docker", fix
    if not _is_host(host):
        yield f"{host!r} is no host to Docker", f"write {DOCKER_HUB}/{host}/{path}"
    yield "it is no host, or host and path", "write it as host or host/path"
