"""The mask: secrets never reach OPA, the audit, or a screen.

Rules of this room:
- Only the secret part of a value becomes `masked:<detector>`: of a URL with a password, the password.
- Masking what is masked changes nothing; no JSON value makes it fail; time grows linearly with the text.
- What merely looks random but is public stays: digests, uuids, commit ids, URLs, image references, public keys.
- A reference to a secret is not a secret: `${DB_PASSWORD}`, `env:HF_TOKEN`, `vault://...`, `token_env`.
- No pattern reaches over a line end (but for key blocks), so that many strings can be looked at as one text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import groupby, pairwise
from math import log2
from typing import Final, NamedTuple

from flowyml_policy.records.policy_input import SuspectedSecret
from flowyml_policy.records.record import Json, Key, KeyPath

_Span = tuple[int, int]

_ROUNDS: Final = 8
"""A masked text is looked at again until nothing more is found; two rounds are the rule."""


def mask_text(text: str) -> tuple[str, tuple[str, ...]]:
    """`text` with its secrets masked, and the names of the detectors that found them, in order of place."""
    names: list[str] = []
    for _ in range(_ROUNDS):
        found = _find(text)
        if not found:
            return text, tuple(dict.fromkeys(names))
        names += [detector for _, _, detector in found]
        text = _replaced(text, found)
    return _mask("unstable"), tuple(dict.fromkeys(names))


def holds_secret(text: str) -> bool:
    """Whether `mask_text` would change `text`, or any line of it."""
    return bool(_find(text))


def mask_value(value: Json) -> tuple[Json, tuple[SuspectedSecret, ...]]:
    """`value` with every secret in it masked, and where they were, in document order.

    Keys are masked like texts. A value under a key that is named like a secret is one, unless it is a mere
    word (`true`, `none`) or a reference. A value without secrets is returned as it is, uncopied.
    """
    texts: list[str] = []
    if not _gather(value, texts) and not _find("\n".join(texts)):
        return value, ()
    return _rebuilt(value)


# What a text may hold. A pattern's group `secret` is what is masked.


class _Pattern(NamedTuple):
    """A detector: it runs where one of `signs` is in the text, and `accepts` has the last word."""

    name: str
    signs: tuple[str, ...]
    pattern: re.Pattern[str]
    accepts: Callable[[str], bool] = lambda _: True

    def spans(self, text: str) -> Iterator[_Span]:
        if any(sign in text for sign in self.signs):
            for match in self.pattern.finditer(text):
                if self.accepts(match["secret"]):
                    yield match.span("secret")


def _token(name: str, signs: str, pattern: str, accepts: Callable[[str], bool] = lambda _: True) -> _Pattern:
    """A token that is known by its beginning, wherever a word may begin."""
    return _Pattern(name, tuple(signs.split()), re.compile(rf"(?<![A-Za-z0-9])(?P<secret>{pattern})"), accepts)


def _looks_random(text: str) -> bool:
    """Whether `text` reads like random base64 rather than like names: every class of character, well mixed."""
    rest = _PUBLIC_IDS.sub("", text)
    kinds = [_KIND.get(character, "") for character in rest]
    if not {"a", "A", "0"} <= set(kinds):
        return False
    pairs = [(left, right) for left, right in pairwise(kinds) if left and right]
    changes = sum(left != right for left, right in pairs)
    return len(pairs) >= _MIN_PAIRS and changes >= _MIN_CHANGES * len(pairs) and _entropy(rest) >= _MIN_ENTROPY


def _entropy(text: str) -> float:
    """Shannon's, in bits a character."""
    counts = [len(list(group)) for _, group in groupby(sorted(text))]
    return -sum(count / len(text) * log2(count / len(text)) for count in counts)


_MIN_PAIRS: Final = 17
_MIN_CHANGES: Final = 0.42  # of random base62 it is 0.62, of CamelCase names with numbers about 0.3
_MIN_ENTROPY: Final = 3.5
_PUBLIC_IDS: Final = re.compile(
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?<![A-Za-z0-9])[0-9a-fA-F]{7,}(?![A-Za-z0-9])"
)
_KIND: Final = {
    **dict.fromkeys("abcdefghijklmnopqrstuvwxyz", "a"),
    **dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "A"),
    **dict.fromkeys("0123456789", "0"),
}


def _credential(text: str) -> bool:
    """Whether what follows `Bearer` is more than a word of a sentence."""
    return any(character.isdigit() for character in text) and not _harmless(text)


def _url_password(text: str) -> bool:
    return not _harmless(text)


def _aws_secret(text: str) -> bool:
    return text.count("/") <= 4 and _looks_random(text)  # noqa: PLR2004  a path has more


_URL_PATTERNS: Final = (
    # The password ends at the last @ of the authority.
    _Pattern("url_password", ("://",), re.compile(r"://[^\s/?#:@]*:(?P<secret>[^\s/?#]+)@"), _url_password),
    # Unescaped / ? # in it, as SQLAlchemy takes them; a port is no password.
    _Pattern(
        "url_password",
        ("://",),
        re.compile(r"://[^\s/?#:@]*:(?!\d{1,5}(?:[/?#,;]|$))(?P<secret>[^\s@\"'<>]{1,256})@"),
        _url_password,
    ),
    _Pattern("url_password", ("://",), re.compile(r"://(?P<secret>[A-Za-z0-9_.~%+-]{20,})@"), _looks_random),
)
"""Run where the text has both :// and @."""

_PATTERNS: Final = (
    _Pattern(
        "private_key",
        ("PRIVATE KEY",),
        re.compile(
            r"(?P<secret>-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----[\s\S]*?"
            r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----|\Z))"
        ),
    ),
    _Pattern(
        "authorization",
        ("earer ", "EARER ", "earer\t", "EARER\t"),
        re.compile(r"(?i:\bbearer)[ \t]+(?P<secret>[A-Za-z0-9._~+/=-]{8,})"),
        _credential,
    ),
    _Pattern(
        "authorization",
        ("asic", "ASIC"),
        re.compile(r"(?i:\bauthorization)[\"' \t:=]{1,8}(?i:basic)[ \t]+(?P<secret>[A-Za-z0-9+/=_-]{6,})"),
    ),
    _Pattern("jwt", ("eyJ",), re.compile(r"(?<![A-Za-z0-9_-])(?P<secret>eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)", re.ASCII)),
    _Pattern(
        "slack_webhook",
        ("hooks.slack.com",),
        re.compile(r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[A-Za-z0-9/_-]{16,})"),
    ),
    _Pattern(
        "azure_storage_key",
        ("Key=", "key="),
        re.compile(r"(?i:accountkey|sharedaccesskey)=(?P<secret>[A-Za-z0-9+/%]{16,}=*)"),
    ),
    _Pattern("azure_sas", ("sig=",), re.compile(r"(?<![A-Za-z0-9])sig=(?P<secret>[A-Za-z0-9%+/_-]{20,}=*)")),
    _Pattern("url_signature", ("ignature=",), re.compile(r"[Ss]ignature=(?P<secret>[A-Za-z0-9%+/_~-]{20,}=*)")),
    _Pattern(
        "aws_secret_key",
        ("/", "+"),
        re.compile(r"(?<![A-Za-z0-9/+=_.-])(?P<secret>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=_.-])"),
        _aws_secret,
    ),
)
"""Run wherever one of their signs is."""

_TOKENS: Final = (
    _token("aws_access_key", "AKIA ASIA ABIA ACCA", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _token("gcp_api_key", "AIza", r"AIza[A-Za-z0-9_-]{35}"),
    _token("gcp_token", "ya29. GOCSPX-", r"(?:ya29\.|GOCSPX-)[A-Za-z0-9_-]{20,}"),
    _token("azure_client_secret", "8Q~ 7Q~", r"[A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{30,34}"),
    _token("github_token", "gh github_pat_", r"(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,})"),
    _token("gitlab_token", "gl", r"gl(?:pat|ptt|rt|dt|cbt|ft|soat|agent|oas|imt|ffct)-[A-Za-z0-9_.-]{18,}"),
    _token("slack_token", "xox xapp-", r"(?:xox[a-z]|xapp)-[A-Za-z0-9-]{16,}"),
    _token("huggingface_token", "hf_ api_org_", r"(?:hf|api_org)_[A-Za-z0-9]{30,}"),
    _token("openai_key", "sk-", r"sk-[A-Za-z0-9_-]{20,}", _looks_random),
    _token("databricks_token", "dapi", r"dapi[a-f0-9]{32}(?:-\d)?(?![A-Za-z0-9])"),
    _token("npm_token", "npm_", r"npm_[A-Za-z0-9]{36}"),
    _token("pypi_token", "pypi-", r"pypi-[A-Za-z0-9_-]{50,}"),
    _token("stripe_key", "k_live_ k_test_", r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    _token("sendgrid_key", "SG.", r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    _token("vault_token", "hvs. hvb. hvr.", r"hv[sbr]\.[A-Za-z0-9_-]{20,}"),
    _token("docker_token", "dckr_", r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}"),
    _token("digitalocean_token", "_v1_", r"do[opr]_v1_[a-f0-9]{40,}"),
    _token("age_key", "AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[A-Z0-9]{40,}"),
)
"""Run where the text has a long run of token characters."""

_NAMES: Final = tuple(
    dict.fromkeys(
        [
            *(pattern.name for pattern in (*_PATTERNS, *_URL_PATTERNS, *_TOKENS)),
            *("named_secret", "assigned_secret", "high_entropy", "unstable"),
        ]
    )
)
"""Every detector; where two find overlapping secrets, the earlier name stands."""

_RANK: Final = {name: rank for rank, name in enumerate(_NAMES)}

_MASKED: Final = rf"masked:(?:{'|'.join(_NAMES)})(?:\#\d+)?"

_HARMLESS: Final = re.compile(
    rf"(?:(?i:bearer|basic|token)\ +)?{_MASKED}"
    r"""
    | \$\{[^{}]*\} | \$\([^()]*\) | \$\{\{[^{}]*\}\} | \{\{[^{}]*\}\} | \{\w*\} | \$[A-Z_][A-Z0-9_]* | %\(\w+\)s | %s
    | <[^<>]*> | [][{}(),*]+ | \.\.\. | (?i:x+)
    | (?i: | true | false | yes | no | on | off | none | null | nil | required | optional | enabled | disabled
         | default | unset | empty | redacted | hidden | missing )
    """,
    re.VERBOSE,
)
"""Masks, placeholders and mere words: what nobody has to hide."""

_REFERENCE: Final = re.compile(
    r"(?i:[a-z][a-z0-9+.-]{0,30}://|(?:env|file|vault|secrets?|secretref|keyvault|ssm|arn|projects)[:/])"
)
"""How a reference to a secret begins; passwords in URLs have their own detector."""


def _harmless(text: str) -> bool:
    return _HARMLESS.fullmatch(text) is not None


def _mask(detector: str) -> str:
    return f"masked:{detector}"


# Runs of token characters are found without a pattern: translated to one letter, they are a substring search.

_TOKEN_CHARACTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=~-"
_SHAPE: Final = bytes(97 if code in _TOKEN_CHARACTERS else 32 for code in range(256))
_TOKEN_RUN: Final = b"a" * 20
_RANDOM_RUN: Final = b"a" * 24

_PUBLIC: Final = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}(?:CERTIFICATE|PUBLIC KEY|CERTIFICATE REQUEST)-----[\s\S]*?(?:-----END|\Z)"
    r"|(?<![A-Za-z0-9])(?:ssh-[a-z0-9]{2,10}|ecdsa-[a-z0-9-]{5,30})[ \t]+[A-Za-z0-9+/=]+"
    r"|(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s\"'<>]*"
    r"|(?<![A-Za-z0-9])sha(?:1|256|384|512)[:-][A-Za-z0-9+/=]+"
)
"""What may hold long random runs and is public."""


def _random_runs(text: str, shape: bytes) -> Iterator[_Span]:
    spans = [span for span in _runs(shape) if _looks_random(text[span[0] : span[1]])]
    if not spans:
        return
    public = [match.span() for match in _PUBLIC.finditer(text)]
    for start, end in spans:
        while public and public[0][1] <= start:
            del public[0]
        if not (public and public[0][0] < end):
            yield start, end


def _runs(shape: bytes) -> Iterator[_Span]:
    start = shape.find(_RANDOM_RUN)
    while start >= 0:
        end = shape.find(b" ", start)
        end = len(shape) if end < 0 else end
        yield start, end
        start = shape.find(_RANDOM_RUN, end)


# Names of secrets, as keys and in texts.

_PASSWORDS: Final = frozenset({"password", "passwords", "passwd", "passphrase", "pwd", "passcode"})
_SECRETS: Final = frozenset(
    {"secret", "token", "tokens", "credential", "authorization", "pass", "apikey", "apikeys", "accesskey"}
    | {"secretkey", "privatekey", "accountkey", "authtoken", "accesstoken", "sastoken", "connectionstring"}
)
_SECRET_KEYS: Final = frozenset({"api", "access", "secret", "private", "account", "auth", "master", "shared"})
_NOT_SECRETS: Final = frozenset(
    {"env", "envs", "name", "names", "path", "paths", "file", "files", "url", "uri", "provider", "ref", "refs", "id"}
    | {"ids", "arn", "type", "types", "ttl", "version", "scope", "scopes", "expiry", "policy", "policies", "length"}
    | {"count", "limit", "min", "max", "size", "vault", "store", "backend", "manager", "header", "required", "var"}
    | {"variable", "enabled", "rotation", "field", "key_name", "format", "dir", "age", "days", "source", "prefix"}
)
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LONGEST_NAME: Final = 128

_NO, _TEXTS, _NUMBERS_TOO = 0, 1, 2


@lru_cache(maxsize=4096)
def _names_secret(name: str) -> int:
    """Whether a key's value is a secret: of passwords, numbers are too."""
    words = [word.lower() for word in _WORDS.findall(name[-_LONGEST_NAME:])]
    if not words or words[-1] in _NOT_SECRETS:
        return _NO
    if not _PASSWORDS.isdisjoint(words):
        return _NUMBERS_TOO
    keyed = any(right == "key" and left in _SECRET_KEYS for left, right in pairwise(words))
    return _TEXTS if words[-1] in _SECRETS or keyed or words[-2:] == ["connection", "string"] else _NO


def _level(key: object) -> int:
    return _names_secret(key) if isinstance(key, str) and len(key) <= _LONGEST_NAME else _NO


_NAME: Final = r"(?P<name>[A-Za-z_][\w.-]{0,127})"
_ASSIGNED: Final = re.compile(rf"(?<![\w.-])-{{0,2}}{_NAME}[\"']?[ \t]{{0,8}}:?=[ \t]{{0,8}}", re.ASCII)
_FLAGGED: Final = re.compile(rf"(?<![\w.-])--{_NAME}[ \t]{{1,8}}(?!-)", re.ASCII)
_QUOTED: Final = re.compile(rf"(?<!\w)\\{{0,3}}[\"']{_NAME}\\{{0,3}}[\"'][ \t]{{0,8}}:[ \t]{{0,8}}", re.ASCII)
_ON_A_LINE: Final = re.compile(
    rf"^[ \t]*(?:-[ \t]+)?{_NAME}[ \t]{{0,8}}:[ \t]{{1,8}}(?=\S+[ \t]*$)", re.ASCII | re.MULTILINE
)
_VALUE: Final = re.compile(r"\\{0,3}(?:\"(?P<d>[^\"\r\n]*)|'(?P<s>[^'\r\n]*)|(?P<bare>[^\s\"'&;]+))")


def _assigned(text: str) -> Iterator[_Span]:
    """Values that a text gives to names of secrets: `password=...`, `--token ...`, `"api_key": "..."`."""
    for signs, pattern in (
        (("=",), _ASSIGNED),
        (("--",), _FLAGGED),
        (('":', "':", '" :', "' :"), _QUOTED),
        ((": ", ":\t"), _ON_A_LINE),
    ):
        if any(sign in text for sign in signs):
            for match in pattern.finditer(text):
                value = _VALUE.match(text, match.end()) if _names_secret(match["name"]) else None
                if value and value.lastgroup:
                    start, end = value.span(value.lastgroup)
                    secret = text[start:end].rstrip("\\,")
                    if not _harmless(secret) and not _REFERENCE.match(secret):
                        yield start, start + len(secret)


# Texts


def _find(text: str) -> list[tuple[int, int, str]]:
    """Every secret in `text` as start, end and detector, in order, none overlapping another."""
    found: list[tuple[int, int, str]] = []
    if "://" in text and "@" in text:
        _collect(found, text, _URL_PATTERNS)
    _collect(found, text, _PATTERNS)
    shape = text.encode("ascii", "replace").translate(_SHAPE)
    if _TOKEN_RUN in shape:
        _collect(found, text, _TOKENS)
        found += [(start, end, "high_entropy") for start, end in _random_runs(text, shape)]
    found += [(start, end, "assigned_secret") for start, end in _assigned(text)]
    return _disjoint(found) if found else found


def _collect(found: list[tuple[int, int, str]], text: str, patterns: Iterable[_Pattern]) -> None:
    for pattern in patterns:
        found += [(start, end, pattern.name) for start, end in pattern.spans(text)]


def _disjoint(found: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Secrets that overlap are one, from the first's start to the last's end."""
    found.sort()
    disjoint = found[:1]
    for start, end, name in found[1:]:
        last_start, last_end, last_name = disjoint[-1]
        if start < last_end:
            disjoint[-1] = (last_start, max(end, last_end), min(name, last_name, key=_RANK.__getitem__))
        else:
            disjoint.append((start, end, name))
    return disjoint


def _replaced(text: str, found: Iterable[tuple[int, int, str]]) -> str:
    parts, at = [], 0
    for start, end, name in found:
        parts += [text[at:start], _mask(name)]
        at = end
    return "".join((*parts, text[at:]))


# Values


def _gather(value: Json, texts: list[str]) -> bool:
    """Put every key and text of `value` into `texts`; True as soon as a key is named like a secret."""
    waiting: list[Json] = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            texts.append(node)
        elif isinstance(node, dict):
            for key, item in node.items():
                if _level(key):
                    return True
                texts.append(key if isinstance(key, str) else str(key))
                waiting.append(item)
            if "value" in node and (_level(node.get("name")) or _level(node.get("key"))):
                return True
        elif isinstance(node, list | tuple):
            waiting.extend(node)
    return False


class _Trail(NamedTuple):
    """A path from its end, so that deep values cost no copies."""

    above: _Trail | None
    key: Key


def _path(trail: _Trail | None) -> KeyPath:
    keys: list[Key] = []
    while trail is not None:
        keys.append(trail.key)
        trail = trail.above
    return tuple(reversed(keys))


def _rebuilt(value: Json) -> tuple[Json, tuple[SuspectedSecret, ...]]:
    suspects: list[SuspectedSecret] = []
    root: list[Json] = [None]
    waiting: list[tuple[Json, Json, Key, _Trail | None, int]] = [(value, root, 0, None, _NO)]
    while waiting:
        node, place, slot, trail, level = waiting.pop()
        if isinstance(node, dict):
            place[slot], children = _opened(node, trail, level, suspects)
            waiting += children
        elif isinstance(node, list | tuple):
            items: list[Json] = [None] * len(node)
            place[slot] = items
            waiting += [(node[i], items, i, _Trail(trail, i), level) for i in range(len(node) - 1, -1, -1)]
        else:
            place[slot], names = _masked_leaf(node, level)
            suspects += [SuspectedSecret(path=_path(trail), detector=name) for name in names]
    return root[0], tuple(suspects)


def _opened(
    node: dict[str, Json], trail: _Trail | None, level: int, suspects: list[SuspectedSecret]
) -> tuple[dict[str, Json], list[tuple[Json, Json, Key, _Trail | None, int]]]:
    """An empty copy of `node` with masked keys, and its items, last first, waiting to be put there."""
    copy: dict[str, Json] = {}
    children: list[tuple[Json, Json, Key, _Trail | None, int]] = []
    named = max(level, _level(node.get("name")), _level(node.get("key")))
    for key, item in node.items():
        masked, names = mask_text(key) if isinstance(key, str) else (key, ())
        number = 1
        while names and (masked in copy or masked in node):
            number += 1
            masked = f"{mask_text(key)[0]}#{number}"
        copy[masked] = None
        here = _Trail(trail, masked)
        suspects += [SuspectedSecret(path=_path(here), detector=name) for name in names]
        own = _level(key)
        if isinstance(item, dict):
            own = _NO
        children.append((item, copy, masked, here, max(own, named if key == "value" else _NO)))
    return copy, children[::-1]


def _masked_leaf(leaf: Json, level: int) -> tuple[Json, tuple[str, ...]]:
    if isinstance(leaf, str):
        masked, names = mask_text(leaf)
        if level and not _harmless(masked) and not _REFERENCE.match(masked):
            return _mask("named_secret"), ("named_secret",)
        return masked, names
    if level == _NUMBERS_TOO and isinstance(leaf, int | float) and not isinstance(leaf, bool):
        return _mask("named_secret"), ("named_secret",)
    return leaf, ()
