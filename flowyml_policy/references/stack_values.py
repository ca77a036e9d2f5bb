"""What a stack reference is once it is read: one value for each kind, which writes itself as it is read.

Rules:
- A value cannot be made malformed: whatever makes one, its parts are checked, and put in their one canonical spelling.
- `parse_stack_reference(str(value)) == value`; how a reference is written is told there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from flowyml_policy.errors.references import ReferenceMalformed
from flowyml_policy.mask.text import holds_secret
from flowyml_policy.records.record import SourceKind
from flowyml_policy.references import stack_parts as parts
from flowyml_policy.references.arguments import FILE_ENDINGS
from flowyml_policy.references.url import DEFAULT_PORTS

GitKind: TypeAlias = Literal["github", "gitlab", "git"]

DEFAULT_HOSTS: Final = {"github": "github.com", "gitlab": "gitlab.com"}

FORMS: Final = {
    "name": "prod-gpu or prod-gpu@2.1.0",
    "github": "github://org/repo@v1.0#stack",
    "gitlab": "gitlab://group/repo@v1.0#stack",
    "git+https": "git+https://host/path.git@v1.0#stack",
    "git+http": "git+https://host/path.git@v1.0#stack",
    "git+ssh": "git+ssh://git@host/path.git@v1.0#stack",
    "git+file": "git+file:///folder/repo@v1.0#stack",
    "file": "file:///folder/stack.yaml or file://./stacks/prod.yaml",
    "https": "https://host/stack.yaml#stack",
    "http": "https://host/stack.yaml#stack",
    "registry": "registry://prod-gpu@2.1.0",
}
"""How each kind is written, by its scheme."""

_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _NamedStack:
    """A stack by its name; `wanted` is a version or a range, None for the highest release."""

    name: str
    wanted: str | None = None

    def __post_init__(self) -> None:
        self._check_name()
        if self.wanted is not None:
            parts.wanted(self.wanted)

    def _check_name(self) -> None:
        parts.name(self.name)

    @property
    def source_kind(self) -> SourceKind:
        """The registry is the last place in which a bare name is looked up."""
        return "registry"

    def __str__(self) -> str:
        return self.name if self.wanted is None else f"{self.name}@{self.wanted}"


@dataclass(frozen=True, slots=True)
class NameReference(_NamedStack):
    """A bare name, looked up as DESIGN 10 says."""

    def _check_name(self) -> None:
        parts.name(self.name)
        if self.name.lower().endswith(FILE_ENDINGS):
            raise ReferenceMalformed("it names a file", advice=f"write file://./{self.name}")


@dataclass(frozen=True, slots=True)
class RegistryReference(_NamedStack):
    """A name that only the stack registry answers."""

    def __str__(self) -> str:
        return f"registry://{_NamedStack.__str__(self)}"


@dataclass(frozen=True, slots=True)
class GitReference:
    """A stack in a git repository. `url` is what git is given; without `ref` the remote's HEAD is meant.

    `path` is a file or folder from the repository's root; without it the stack is searched by name.
    """

    kind: GitKind
    url: str
    ref: str | None = None
    path: str | None = None
    stack: str | None = None

    def __post_init__(self) -> None:
        address = parts.git_url(self.url)
        if self.kind != "git":
            if address.scheme != "https":
                raise ReferenceMalformed(f"{self.kind} answers by https", advice=f"write {FORMS[self.kind]}")
            address = address._replace(path=f"/{parts.project(address.path[1:], self.kind)}.git")
        object.__setattr__(self, "url", str(address))
        if self.ref is not None:
            parts.git_ref(self.ref)
        if self.path is not None:
            object.__setattr__(self, "path", parts.repository_path(self.path))
        if self.stack is not None:
            parts.name(self.stack, "the stack's name")

    @property
    def source_kind(self) -> SourceKind:
        return self.kind

    @property
    def names_commit(self) -> bool:
        """Whether the ref is a full commit id, which cannot come to mean something else."""
        return self.ref is not None and _COMMIT.fullmatch(self.ref) is not None

    def __str__(self) -> str:
        ref = "" if self.ref is None else f"@{parts.encoded(self.ref, '#')}"
        return f"{self._address()}{ref}{self._fragment()}"

    def _address(self) -> str:
        if self.kind == "git":
            return f"git+{self.url}"
        address = parts.git_url(self.url)
        host, project = address.host, address.path[1:].removesuffix(".git")
        if not parts.looks_like_host(host):
            host = f"{host}:{DEFAULT_PORTS['https']}"
        if host == DEFAULT_HOSTS[self.kind] and not parts.looks_like_host(project.partition("/")[0]):
            return f"{self.kind}://{project}"
        return f"{self.kind}://{host}/{project}"

    def _fragment(self) -> str:
        stack = "" if self.stack is None else parts.encoded(self.stack, "")
        if self.path is None:
            return f"#{stack}" if stack and not is_path(stack) else f"#:{stack}" if stack else ""
        path = parts.encoded(self.path, "#:")
        if stack:
            return f"#{path}:{stack}"
        return f"#{path}" if is_path(path) else f"#./{path}"


def _secret_advice(url: str) -> str:
    if re.search(r"(?i)[?&](?:sig|x-amz-signature|x-goog-signature|signature)=", url):
        return (
            "a signed address is a key, and would be recorded: fetch the file first (`azcopy copy`, `aws s3 cp`) and"
            " name its path, or keep it in git or where it is read with a bearer token, which `token_env` names"
        )
    return "take it out, and name a variable in `token_env` of an entry of `stacks:`"


@dataclass(frozen=True, slots=True)
class HttpReference:
    """One file at a web address. Plain http is read, and left to the source to refuse."""

    url: str
    stack: str | None = None

    def __post_init__(self) -> None:
        address = parts.http_url(self.url)
        if holds_secret(self.url):
            raise ReferenceMalformed("what looks like a secret stands in the address", advice=_secret_advice(self.url))
        object.__setattr__(self, "url", str(address))
        if self.stack is not None:
            parts.name(self.stack, "the stack's name")

    @property
    def source_kind(self) -> SourceKind:
        return "http"

    def __str__(self) -> str:
        return self.url + ("" if self.stack is None else f"#{parts.encoded(self.stack, '')}")


@dataclass(frozen=True, slots=True)
class FileReference:
    """A file or folder of this machine; `path` is absolute, or relative to the folder of flowyml.yaml."""

    path: str
    stack: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", parts.file_path(self.path))
        if self.stack is not None:
            parts.name(self.stack, "the stack's name")

    @property
    def source_kind(self) -> SourceKind:
        return "local"

    def __str__(self) -> str:
        path = self.path if self.path.startswith("/") else f"./{self.path}"
        stack = "" if self.stack is None else f"#{parts.encoded(self.stack, '')}"
        return f"file://{parts.encoded(path, '#')}{stack}"


StackReference: TypeAlias = NameReference | GitReference | HttpReference | FileReference | RegistryReference


def is_path(fragment: str) -> bool:
    """Whether a fragment as written names a file rather than a stack."""
    return "/" in fragment or fragment.lower().endswith(FILE_ENDINGS)
