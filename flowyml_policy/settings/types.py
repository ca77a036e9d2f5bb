"""The scalar types that settings are made of, each with its grammar and the words for a value outside it.

Rules:
- A validator raises `BadValue`, which says what is wrong and how to write it; nothing is coerced or repaired.
- A value that may carry credentials (an address) is never repeated in a message.
- What a file leaves empty (`key:` with nothing after it) is no value: null is accepted only where it is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from flowyml_policy.errors.references import ReferenceInvalid
from flowyml_policy.records.record import computed_once
from flowyml_policy.references.arguments import FILE_ENDINGS
from flowyml_policy.references.credentials import has_credentials
from flowyml_policy.references.git import git_ref
from flowyml_policy.references.glob import IMAGE_NAMES, STACK_NAMES, TAG_NAMES
from flowyml_policy.references.image import parse_allowlist_entry, parse_reference
from flowyml_policy.references.label_demand import label_demand
from flowyml_policy.references.url import (
    HOST_PATTERN,
    BadValue,
    file_path,
    host,
    named_host,
    repository_path,
    server,
    shown,
    text,
    url,
    web_address,
)

MAX_DURATION: Final = 3650 * 86400.0
LEAST_MEMORY: Final = 3 * 2**29

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)", re.ASCII)
_SIZES: Final = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(KiB|MiB|GiB)", re.ASCII)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_PIN: Final = re.compile(r"(?:sha256:)?[0-9a-f]{64}", re.ASCII)
_STACK_KEY: Final = re.compile(r"[^\s/@#:]{1,128}")


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


def byte_size(value: Any) -> int:
    """Bytes from a number and a unit: `512MiB`, `1.5GiB`."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise BadValue(f"is not a size: {shown(value)}", "write a number and its unit: 512MiB or 4GiB")
    return round(float(match[1]) * _SIZES[match[2]])


def _memory_of_a_process(value: int) -> int:
    """Go reserves most of the least, whether or not it is used."""
    if value < LEAST_MEMORY:
        raise BadValue("is too little for OPA to start", "write at least 1.5GiB")
    return value


def registry_entry(value: str) -> str:
    """An allowlist entry in its normal form: a host, or a host and a path."""
    try:
        return parse_allowlist_entry(value)
    except ReferenceInvalid as error:
        raise BadValue(f"is refused: {error.message}", error.advice) from error


def image_reference(value: str) -> str:
    """An image's reference with a tag or a digest, in its normal form."""
    try:
        reference = parse_reference(value)
    except ReferenceInvalid as error:
        raise BadValue(f"is refused: {error.message}", error.advice) from error
    if reference.tag is None and reference.digest is None:
        raise BadValue(f"names no tag and no digest: {shown(value)}", f"write {value}:TAG or {value}@sha256:...")
    return str(reference)


def variable_name(value: str) -> str:
    """The name of an environment variable, never its value."""
    if _VARIABLE.fullmatch(value) is None:
        raise BadValue("is no name of an environment variable", "write the variable's name alone, as REGISTRY_TOKEN")
    return value


def audit_file(value: str) -> str:
    """A path that keeps what is written to it."""
    if value.startswith((":memory:", "file:")):
        raise BadValue(f"is no file that lasts: {shown(value)}", "write the path of a file on a local disk")
    return file_path(value)


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
    if _STACK_KEY.fullmatch(value) is None or value.endswith(FILE_ENDINGS):
        raise BadValue(
            f"would be read as a path or an address: {shown(value)}",
            "write a name without blanks, '/', '@', '#', ':' and ending",
        )
    return value


def stack_name(value: str) -> str:
    """What names a stack: a name, a path or an address, which is printed and pinned and so holds no credentials."""
    if has_credentials(text(value)):
        raise BadValue(
            "carries credentials in its address",
            "take them out; git asks its credential helper, `stacks:` names a variable in `token_env`",
        )
    return value


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


class _OrUrl:
    """Marks a section that may be written as its `url` alone."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_as_section, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        written = handler(schema)
        return {**written, "anyOf": [{"type": "string", "pattern": _URL}, *written["anyOf"]]}


def _as_section(value: Any) -> Any:
    return {"url": url(value)} if isinstance(value, str) else value


OrUrl: Final = _OrUrl()
_URL: Final = r"^https?://[^\s@#]+$"

_Item = TypeVar("_Item")
Listing: TypeAlias = Annotated[tuple[_Item, ...], Strict(strict=False)]
"""A YAML list, kept as a tuple."""


def _each_once(normal: Callable[[str], str]) -> BeforeValidator:
    """Refuse a mapping that names one thing twice, in two spellings: one of them would be lost."""

    def checked(value: Any) -> Any:
        seen: dict[str, str] = {}
        for key in value if isinstance(value, dict) else ():
            try:
                name = normal(key)
            except (BadValue, TypeError, AttributeError):
                continue  # told where keys are checked
            if name in seen:
                raise BadValue(f"names {name} twice, as {shown(seen[name])} and {shown(key)}", "keep one of the two")
            seen[name] = key
        return value

    return BeforeValidator(checked)


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
_NO_GLOB: Final = r"\*\*|(^|[-_\]])\.[*?]"
StackGlob: TypeAlias = Annotated[
    str, AfterValidator(STACK_NAMES.checked), _written(STACK_NAMES.pattern, never=_NO_GLOB)
]
ImageGlob: TypeAlias = Annotated[
    str, AfterValidator(IMAGE_NAMES.checked), _written(IMAGE_NAMES.pattern, never=_NO_GLOB)
]
TagGlob: TypeAlias = Annotated[str, AfterValidator(TAG_NAMES.checked), _written(TAG_NAMES.pattern, never=_NO_GLOB)]
BaseImage: TypeAlias = Annotated[str, AfterValidator(image_reference), _written(r"^[^\s]+[:@][^\s/]+$")]
LabelRequirement: TypeAlias = Annotated[
    str,
    AfterValidator(label_demand),
    _written(r"""^[^\s=!<>~^$*?(){}\[\]|&;"'`\\:,]+(=[^\s=!<>~^"'(\[{*|\\,]((?:[^*|\\,]|,\s)*[^\s*|\\,$"'])?)?$"""),
]
AllowedRegistry: TypeAlias = Annotated[
    str, AfterValidator(registry_entry), _written(r"^(\*\.)?[^\s*/@]+(/[^\s*@A-Z]*)?(/\*{0,2})?$", never="://")
]
Host: TypeAlias = Annotated[str, AfterValidator(host), _written(f"^{HOST_PATTERN}$")]
NamedHost: TypeAlias = Annotated[str, AfterValidator(named_host), _written(f"^{HOST_PATTERN}$")]
Url: TypeAlias = Annotated[str, AfterValidator(url), _written(_URL)]
ServerUrl: TypeAlias = Annotated[str, AfterValidator(server), _written(r"^https?://[^\s@#?/]+/*$")]
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


Memory: TypeAlias = Annotated[
    int, AfterValidator(_memory_of_a_process), BeforeValidator(byte_size), _written(f"^{_SIZE.pattern}$")
]
"""Bytes of memory that a process may take."""


ByRegistry: TypeAlias = Annotated[dict[AllowedRegistry, _Item], _each_once(registry_entry)]
"""A mapping by hosts, or hosts and paths."""

Size: TypeAlias = Annotated[int, BeforeValidator(byte_size), _written(f"^{_SIZE.pattern}$")]
"""Bytes."""


class Section(BaseModel):
    """A mapping of a settings file. Unknown keys and values of another type are refused, never coerced.

    Validators are built when first needed, as part of the file that holds the section: most never are by themselves.
    """

    IS_ONE_VALUE: ClassVar[bool] = False
    """Whether it has one owner, who says all of it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, defer_build=True, ignored_types=(computed_once,)
    )
