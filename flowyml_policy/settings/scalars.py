"""The scalar types that settings are made of, each with its grammar and the words for a value outside it.

Rules of this room:
- A validator raises `BadValue`, which says what is wrong and how to write it; nothing is coerced or repaired.
- A value that may carry credentials (an address) is never repeated in a message.
- What a file leaves empty (`key:` with nothing after it) is no value: null is accepted only where it is one.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any, Final, TypeAlias, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from flowyml_policy.errors import ReferenceInvalid
from flowyml_policy.image_reference import parse_allowlist_entry
from flowyml_policy.settings.ssh_address import meant_by_short_form

MAX_TEXT: Final = 1000
MAX_SHOWN: Final = 60
MAX_HOST: Final = 259
MAX_DURATION: Final = 3650 * 86400.0

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)", re.ASCII)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_HOST: Final = re.compile(
    r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*)(?::[0-9]{1,5})?",
    re.ASCII,
)
_PIN: Final = re.compile(r"(?:sha256:)?[0-9a-f]{64}", re.ASCII)
_END_OF_HOST: Final = re.compile(r"[/?#]")
_STACK_KEY: Final = re.compile(r"[^\s/@#:]{1,128}")


class BadValue(ValueError):
    """A value that its type does not allow: `what` completes "`key` ...", `fix` says how to write it."""

    def __init__(self, what: str, fix: str) -> None:
        self.what = what
        self.fix = fix
        super().__init__(f"{what}; {fix}")


def shown(value: object) -> str:
    """`value` as a message repeats it: quoted, on one line, at most 60 characters, never a credential."""
    if isinstance(value, str) and "@" in value and ":" in value:
        return "(not shown)"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def text(value: str) -> str:
    """A string that says something and hides nothing."""
    if not value.strip():
        raise BadValue("is blank", "write a value, or take the key out")
    if value != value.strip():
        raise BadValue(f"has blanks around its value: {shown(value)}", "take the blanks out")
    if not value.isprintable():
        raise BadValue(f"holds a control or invisible character: {shown(value)}", "take it out")
    if len(value) > MAX_TEXT:
        raise BadValue(f"is longer than {MAX_TEXT} characters", "write a shorter value")
    return value


def duration(value: Any) -> float:
    """Seconds from a number and a unit: `500ms`, `2s`, `5m`, `1.5h`, `7d`."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise BadValue(f"is not a duration: {shown(value)}", "write a number and its unit: 500ms, 2s, 5m, 1h or 7d")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > MAX_DURATION:
        raise BadValue(f"is longer than ten years: {shown(value)}", "write a shorter duration")
    return seconds


def _some_time(value: float) -> float:
    if value <= 0:
        raise BadValue("is no time at all", "write a duration longer than zero")
    return value


def label_requirement(value: str) -> str:
    """`name` asks for a label that is not blank, `name=value` for that value."""
    text(value)
    name, equals, wanted = value.partition("=")
    if name != name.strip() or wanted != wanted.strip():
        raise BadValue(f"has blanks around '=': {shown(value)}", f"write {name.strip()}={wanted.strip()}")
    if not name:
        raise BadValue(f"names no label: {shown(value)}", "write the label's name, as `team`, or `approved=true`")
    if equals and not wanted:
        raise BadValue(
            f"asks for no value: {shown(value)}", f"write {name} alone, which asks for any value, or {name}=value"
        )
    return value


def registry_entry(value: str) -> str:
    """An allowlist entry in its normal form: a host, or a host and a path."""
    try:
        return parse_allowlist_entry(value)
    except ReferenceInvalid as error:
        raise BadValue(f"is refused: {error.message}", error.advice) from error


def host(value: str) -> str:
    """A host, with or without a port."""
    if len(value) > MAX_HOST or _HOST.fullmatch(value) is None:
        raise BadValue(f"is no host: {shown(value)}", "write a host alone, as registry.example.com or localhost:5000")
    return value


def named_host(value: str) -> str:
    """A host as addresses are compared with it: in small letters, with a port where it is named for that one alone."""
    try:
        parts = urlsplit(f"//{host(value)}")
        name, port = bracketed(parts.hostname or ""), parts.port
    except BadValue:
        raise
    except ValueError:
        name, port = "", None
    if not name or port == 0:
        raise BadValue(f"is no host: {shown(value)}", "write a host alone, or with its port, as files.example.com:8080")
    return name if port is None else f"{name}:{port}"


def bracketed(name: str) -> str:
    """A host without its port as addresses write it: an IPv6 address in brackets, in its shortest form."""
    return f"[{ip_address(name).compressed}]" if ":" in name else name


def url(value: str) -> str:
    """An address: https, or plain http to this machine itself."""
    parts = urlsplit(web_address(value))
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise BadValue(
            f"is a plain http address of {parts.hostname}", "write https; plain http is for this machine alone"
        )
    return value


def web_address(value: str) -> str:
    """An address: https, or plain http to whatever host."""
    try:
        parts = urlsplit(text(value))
        name, _ = parts.hostname, parts.port
    except BadValue:
        raise
    except ValueError as error:
        raise BadValue("is no address", "write it as https://host/path") from error
    if parts.scheme not in {"https", "http"} or not name or " " in value:
        raise BadValue("is no https address", "write it as https://host/path")
    if parts.username is not None or parts.password is not None:
        raise BadValue("carries credentials in its address", "take them out and name a variable in `token_env`")
    if parts.fragment:
        raise BadValue("has a '#' part", "take it out")
    return value


def is_loopback(name: str) -> bool:
    """Whether a host, without its port, is this machine itself."""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def variable_name(value: str) -> str:
    """The name of an environment variable, never its value."""
    if _VARIABLE.fullmatch(value) is None:
        raise BadValue("is no name of an environment variable", "write the variable's name alone, as REGISTRY_TOKEN")
    return value


def file_path(value: str) -> str:
    """A path on this machine, relative to the folder of the file that names it."""
    text(value)
    if value.startswith("~"):
        raise BadValue(f"starts with '~', which is not expanded: {shown(value)}", "write the path in full")
    return value


def audit_file(value: str) -> str:
    """A path that keeps what is written to it."""
    if value.startswith((":memory:", "file:")):
        raise BadValue(f"is no file that lasts: {shown(value)}", "write the path of a file on a local disk")
    return file_path(value)


def repository_path(value: str) -> str:
    """A path inside a repository."""
    text(value)
    if value.startswith("/") or ".." in value.split("/") or "\\" in value:
        raise BadValue(f"leads out of the repository: {shown(value)}", "write a path from the repository's root")
    return value


def git_ref(value: str) -> str:
    """A tag, branch or commit."""
    text(value)
    if value.startswith(("-", "/")) or value.endswith(("/", ".", ".lock")) or ".." in value or "@{" in value:
        raise BadValue(f"is no git ref: {shown(value)}", "write a tag, a branch or a commit, as v2.1.0")
    if any(character in " ~^:?*[\\" for character in value):
        raise BadValue(f"is no git ref: {shown(value)}", "write a tag, a branch or a commit, as v2.1.0")
    return value


def pin(value: str) -> str:
    """A SHA-256 as `sha256:` and 64 lower-case hex digits; the prefix may be left out."""
    if _PIN.fullmatch(value) is None:
        raise BadValue(f"is no SHA-256 digest: {shown(value)}", "write its 64 lower-case hex digits")
    return value if value.startswith("sha256:") else f"sha256:{value}"


def stack_key(value: str) -> str:
    """A key of `stacks:`, such as a command can be given in place of a path or an address."""
    text(value)
    if value == "local":
        raise BadValue("is reserved for the built-in stack", "give the stack another name")
    if _STACK_KEY.fullmatch(value) is None or value.endswith((".yaml", ".yml")):
        raise BadValue(
            f"would be read as a path or an address: {shown(value)}",
            "write a name without blanks, '/', '@', '#', ':' and ending",
        )
    return value


def stack_name(value: str) -> str:
    """What names a stack: a name, a path or an address, which is printed and pinned and so holds no credentials."""
    if _may_hold_credentials(text(value)):
        raise BadValue(
            "carries credentials in its address",
            "take them out; git asks its credential helper, `stacks:` names a variable in `token_env`",
        )
    return value


def _may_hold_credentials(value: str) -> bool:
    """Whether a user with a password stands before the host, or what may be one; a user alone is ssh's own."""
    scheme, sign, rest = value.partition("://")
    first = _END_OF_HOST.split(rest if sign else value, maxsplit=1)[0]
    user, at, _ = first.rpartition("@")
    if at:
        has_password = ":" in user or (bool(sign) and "http" in scheme.lower())
        return has_password and meant_by_short_form(value) is None
    port = first.rpartition(":")[2] if sign and ":" in first and not first.endswith("]") else "0"
    return "@" in rest and not port.isdecimal()


class _WhenSet:
    """Marks a type that holds None, which means that the file does not set the key; null in the file is refused."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_not_null, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        written = handler(schema)
        if not written:  # any value
            return {"not": {"type": "null"}}
        alternatives = [choice for choice in written.pop("anyOf", []) if choice != {"type": "null"}]
        return {**alternatives[0], **written} if len(alternatives) == 1 else written


def _not_null(value: Any) -> Any:
    if value is None:
        raise BadValue("has no value", "write one, or take the key out")
    return value


WhenSet: Final = _WhenSet()

_Item = TypeVar("_Item")
Listing: TypeAlias = Annotated[tuple[_Item, ...], Strict(strict=False)]
"""A YAML list, kept as a tuple."""

_VISIBLE: Final = r"^\S(.*\S)?$"


def _written(pattern: str, *, never: str | None = None) -> WithJsonSchema:
    """What the JSON Schema says of a string: all that an expression can say of its grammar."""
    schema: dict[str, Any] = {"type": "string", "pattern": pattern}
    return WithJsonSchema(schema if never is None else {**schema, "not": {"pattern": never}})


Text: TypeAlias = Annotated[str, AfterValidator(text), _written(_VISIBLE)]
StackName: TypeAlias = Annotated[
    str,
    AfterValidator(stack_name),
    _written(_VISIBLE, never=r"^([^/:]*[Hh][Tt][Tt][Pp][^/:]*://[^/?#]*@|[^/]*://[^/?#]*:[^/?#]*@)"),
]
LabelRequirement: TypeAlias = Annotated[
    str, AfterValidator(label_requirement), _written(r"^[^\s=]([^=]*[^\s=])?(=\S.*)?$")
]
RegistryEntry: TypeAlias = Annotated[
    str, AfterValidator(registry_entry), _written(r"^(\*\.)?[^\s*/@]+(/[^\s*@A-Z]*)?(/\*{0,2})?$", never="://")
]
Host: TypeAlias = Annotated[str, AfterValidator(host), _written(f"^{_HOST.pattern}$")]
NamedHost: TypeAlias = Annotated[str, AfterValidator(named_host), _written(f"^{_HOST.pattern}$")]
Url: TypeAlias = Annotated[str, AfterValidator(url), _written(r"^https?://[^\s@#]+$")]
WebAddress: TypeAlias = Annotated[str, AfterValidator(web_address), _written(r"^https?://[^\s@#]+$")]
VariableName: TypeAlias = Annotated[str, AfterValidator(variable_name), _written(f"^{_VARIABLE.pattern}$")]
FilePath: TypeAlias = Annotated[str, AfterValidator(file_path), _written(_VISIBLE, never="^~")]
AuditFile: TypeAlias = Annotated[str, AfterValidator(audit_file), _written(_VISIBLE, never="^(~|:memory:|file:)")]
RepositoryPath: TypeAlias = Annotated[
    str, AfterValidator(repository_path), _written(_VISIBLE, never=r"^/|(^|/)\.\.(/|$)")
]
GitRef: TypeAlias = Annotated[
    str, AfterValidator(git_ref), _written(r"^[^\s~^:?*\[\\/-][^\s~^:?*\[\\]*$", never=r"\.\.")
]
Pin: TypeAlias = Annotated[str, AfterValidator(pin), _written(f"^{_PIN.pattern}$")]
StackKey: TypeAlias = Annotated[
    str, AfterValidator(stack_key), _written(f"^{_STACK_KEY.pattern}$", never=r"^local$|\.ya?ml$")
]

_DURATION_SCHEMA: Final = _written(f"^{_DURATION.pattern}$")
Duration: TypeAlias = Annotated[float, BeforeValidator(duration), _DURATION_SCHEMA]
"""Seconds, zero among them."""
Timeout: TypeAlias = Annotated[float, AfterValidator(_some_time), BeforeValidator(duration), _DURATION_SCHEMA]
"""Seconds, more than none."""
