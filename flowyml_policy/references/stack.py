"""References: every way to name a stack, read once into a value that says what to look for, and where.

    prod-gpu  prod-gpu@2.1.0  prod-gpu@^2.1            a name, and which of its versions
    github://org/repo@ref#stack                        gitlab:// the same, with nested groups
    gitlab://git.company.com/group/sub/repo@ref#stack  a server of one's own
    git+https://host/path.git@ref#stack                git+ssh://git@host/..., git+file:///...
    https://host/stack.yaml#stack                      one file
    file:///folder#stack  file://./folder/stack.yaml   absolute, or from the folder of flowyml.yaml
    registry://prod-gpu@^2.1                           the stack registry and nothing else

Rules:
- For github and gitlab, a first segment with a dot or a port is a host. So a group of gitlab.com with a dot in its
  name is written with the host (`gitlab://gitlab.com/my.group/repo`), and a host without a dot with its port
  (`gitlab://gitlab:443/group/repo`).
- The first '@' after the host begins the ref, the first '#' the fragment; no path of an address
  holds either (write %40, %23).
- A git fragment is a stack's name, a path if it has a '/' or ends in .yaml or .yml (`#stacks/prod.yaml`, `#./prod`),
  or both (`#stacks/all.yaml:prod`). Everywhere else it is a stack's name.
- `%XX` stands for a character in a ref, a path and a fragment; it is decoded before anything is checked. The
  address of a repository or file keeps its escapes, and none may hide a letter, a dot or a slash.
- Credentials do not belong into a reference: they are refused, and never repeated in the message.
"""

from __future__ import annotations

import re
from typing import Final

from flowyml_policy.errors.references import ReferenceMalformed
from flowyml_policy.errors.root import UsageError
from flowyml_policy.mask.text import mask
from flowyml_policy.references import stack_parts as parts
from flowyml_policy.references.credentials import may_have_credentials
from flowyml_policy.references.git import meant_by_short_form
from flowyml_policy.references.stack_values import (
    DEFAULT_HOSTS,
    FORMS,
    FileReference,
    GitReference,
    HttpReference,
    NameReference,
    RegistryReference,
    StackReference,
    is_path,
)

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_SHOWN: Final = 120

_OTHERS: Final = {
    "ssh": "git+ssh://git@host/path.git@v1.0#stack",
    "git": "git+https://host/path.git@v1.0#stack",
    "git+git": "git+https://host/path.git@v1.0#stack",
}


def parse_stack_reference(text: str) -> StackReference:
    """The reference that `text` writes. Raises ReferenceMalformed, which says what is wrong and how it is written."""
    match = _SCHEME.fullmatch(text)
    meant = meant_by_short_form(text)
    scheme = "git+ssh" if meant else match[1].lower() if match else "name"
    form = FORMS.get(scheme) or _OTHERS.get(scheme) or FORMS["github"]
    try:
        _check_characters(text)
        _check_short_form(meant)
        if match is None:
            return _name_reference(text)
        return _with_scheme(scheme, match[2])
    except ReferenceMalformed as error:
        message = f"the stack reference{_shown(text)} is malformed: {mask(error.message)}"
        shape = f"its form is {form}"
        raise ReferenceMalformed(message, advice=f"{error.advice}; {shape}" if error.advice else shape) from error


def _check_characters(text: str) -> None:
    if not text.strip():
        raise ReferenceMalformed("it is empty", advice="name a stack")
    if len(text) > parts.LONGEST:
        raise ReferenceMalformed(f"it is longer than {parts.LONGEST} characters", advice="shorten it")
    if any(one.isspace() for one in text):
        raise ReferenceMalformed("it holds a blank or line break", advice="take it out, or write %20 in a path")
    if not text.isprintable():
        raise ReferenceMalformed("it holds a control or invisible character", advice="take it out")


def _check_short_form(meant: str | None) -> None:
    if meant:
        raise ReferenceMalformed("it is git's short form of an ssh address", advice=f"write git+{meant}")


def _name_reference(text: str) -> NameReference:
    if "::" in text:
        raise ReferenceMalformed("git's remote helpers (`helper::`) run commands", advice="write a git+https address")
    if text.startswith("-"):
        raise ReferenceMalformed("it begins with '-', as an option does", advice="write the stack's name")
    if "/" in text and ":" not in text:
        form = text if text.startswith(("/", "./", "../")) else f"./{text}"
        raise ReferenceMalformed("it is a path", advice=f"write file://{form}")
    if ":" in text:
        raise ReferenceMalformed("it is no name, and no address either", advice="write git+ssh://git@host/path for git")
    if "#" in text:
        raise ReferenceMalformed("only an address has a '#'", advice="write the stack's name alone")
    name, at, wanted = text.partition("@")
    return NameReference(name, wanted if at else None)


def _with_scheme(scheme: str, rest: str) -> StackReference:
    if scheme not in FORMS:
        raise ReferenceMalformed(f"{scheme}:// is no kind of reference", advice="")
    place, hash_sign, fragment = rest.partition("#")
    if hash_sign and not fragment:
        raise ReferenceMalformed("nothing stands after the '#'", advice="write the stack's name there")
    if scheme == "registry":
        if hash_sign:
            raise ReferenceMalformed("a registered stack has no '#'", advice="write its version after an '@'")
        name, at, wanted = place.partition("@")
        return RegistryReference(name, wanted if at else None)
    if scheme == "file":
        return FileReference(_local_path(place), parts.decoded(fragment) or None)
    if scheme in {"https", "http"}:
        return HttpReference(f"{scheme}://{place}", parts.decoded(fragment) or None)
    path, stack = _path_and_stack(fragment)
    if scheme.startswith("git+"):
        url, ref = _split_ref(place)
        return GitReference("git", f"{scheme[4:]}://{url}", ref, path, stack)
    url, ref = _hosted(scheme, place)
    return GitReference("github" if scheme == "github" else "gitlab", url, ref, path, stack)


def _local_path(place: str) -> str:
    if place.startswith(("/", "./", "../")) or place in {".", ".."}:
        return parts.decoded(place)
    if place.lower().startswith("localhost/"):
        return parts.decoded(place[len("localhost") :])
    first = place.partition("/")[0]
    raise ReferenceMalformed(
        f"{first!r} stands where a host would" if first else "it names no file",
        advice="write three slashes before an absolute path, file://./ before one from the folder of flowyml.yaml",
    )


def _split_ref(place: str) -> tuple[str, str | None]:
    """The address without its ref: the '@' of a user stands before the first '/', that of a ref after it."""
    authority, slash, path = place.partition("/")
    path, at, ref = path.partition("@")
    return f"{authority}{slash}{path}", _decoded_ref(ref) if at else None


def _hosted(scheme: str, place: str) -> tuple[str, str | None]:
    first = place.partition("/")[0]
    if "@" in first:
        if ":" in first or "/" in place:
            parts.git_url(f"https://{place}")
        raise ReferenceMalformed("it names no repository before the '@'", advice="write its owner and name")
    project, at, ref = place.partition("@")
    host = DEFAULT_HOSTS[scheme]
    if parts.looks_like_host(first):
        host, _, project = project.partition("/")
    project = parts.project(project.removesuffix("/"), scheme)
    return f"https://{host}/{project}.git", _decoded_ref(ref) if at else None


def _decoded_ref(ref: str) -> str:
    if not ref:
        raise ReferenceMalformed("nothing stands after the '@'", advice="write a tag, a branch or a commit there")
    return parts.decoded(ref)


def _path_and_stack(fragment: str) -> tuple[str | None, str | None]:
    before, colon, after = fragment.rpartition(":")
    if colon:
        if not after:
            raise ReferenceMalformed("nothing stands after the ':'", advice="write the stack's name there")
        return parts.decoded(before) or None, parts.decoded(after)
    if is_path(fragment):
        return parts.decoded(fragment), None
    return None, parts.decoded(fragment) or None


def without_secrets(text: str) -> str:
    """What names a stack, as it may be told: masked, and of what is malformed nothing where credentials may stand."""
    if "@" in text and may_have_credentials(text):
        try:
            parse_stack_reference(text)
        except ReferenceMalformed:
            return "not shown, for credentials may stand in it"
    return mask(text)


def _shown(text: str) -> str:
    """The text as a message repeats it: not at all where credentials may stand in it."""
    if not text.strip() or may_have_credentials(text):
        return ""
    masked = repr(mask(text))
    return f" {masked if len(masked) <= _SHOWN else masked[: _SHOWN - 4] + '...' + masked[-1]}"


def exact_version(reference: str) -> tuple[str, str]:
    """The name and the version that `name@version` writes. Raises UsageError, ReferenceMalformed."""
    parsed = parse_stack_reference(reference)
    if isinstance(parsed, NameReference | RegistryReference) and parsed.wanted and parsed.wanted[0] not in "^~":
        return parsed.name, parsed.wanted
    name = parsed.name if isinstance(parsed, NameReference | RegistryReference) else "NAME"
    raise UsageError(
        f"{reference!r} names no one version of a stack",
        advice=f"write {name}@VERSION; `flowyml-policy stack list --all-versions` shows what is registered",
    )
