"""Secrets that are known by their shape: what each kind looks like, and what it is called.

No pattern reaches over a line end, but for key blocks, and none takes more than linear time.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from flowyml_policy.mask.harmless import is_harmless
from flowyml_policy.mask.names import A_KEY, reads_as_a_key
from flowyml_policy.mask.randomness import Span, looks_random


class Pattern(NamedTuple):
    """A detector: it can find nothing where none of `signs` is in the text; `accepts` has the last word.

    The pattern's group `secret` is what is masked.
    """

    name: str
    signs: tuple[str, ...]
    pattern: str
    accepts: Callable[[str], bool] = lambda _: True

    def spans(self, text: str) -> Iterator[Span]:
        for match in re.finditer(self.pattern, text):
            if self.accepts(match["secret"]):
                yield match.span("secret")


def _token(name: str, signs: str, pattern: str, accepts: Callable[[str], bool] = lambda _: True) -> Pattern:
    """A token that is known by its beginning, wherever a word may begin."""
    return Pattern(name, tuple(signs.split()), rf"(?<![A-Za-z0-9])(?P<secret>{pattern})", accepts)


def _credential(text: str) -> bool:
    """Whether what follows `Bearer` is more than a word of a sentence."""
    return any(character.isdigit() for character in text) and not is_harmless(text)


def _login_in_base64(text: str) -> bool:
    """Whether `text` is what a browser makes of a name and a password: text with a colon, in base64."""
    encoded = text.replace("%3D", "=").replace("%3d", "=").rstrip("=").translate(_URL_SAFE)
    try:
        decoded = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode()
    except ValueError:
        return False
    return ":" in decoded and decoded.isprintable()


def url_password(text: str) -> bool:
    """Whether `text` in the place of a password is one, rather than a placeholder or a mask."""
    return not is_harmless(text)


_URL_SAFE: Final = str.maketrans("-_", "+/")
_IS: Final = r"\\{0,3}[\"'][ \t]{0,8}:[ \t]{0,8}\\{0,3}[\"']"
_NEXT: Final = r"\\{0,3}[\"'][ \t]{0,8},\s{0,8}\\{0,3}[\"']"
_USER_NAMED: Final = rf"(?<![\w.-])(?:user_?(?:name)?|login){_IS}[^\"'\\\r\n]{{0,128}}\\{{0,3}}[\"']"
NO_MASK: Final = r"(?!masked:[a-z_]{1,40}@)"

URL_PATTERNS: Final = (
    # The password ends at the last @ of the authority.
    Pattern("url_password", (), rf"://{NO_MASK}[^\s/?#:@]*:(?P<secret>[^\s/?#]+)@", url_password),
    # Unescaped / ? # in it, as SQLAlchemy takes them; a port is no password.
    Pattern(
        "url_password",
        (),
        rf"://{NO_MASK}[^\s/?#:@]*:(?!\d{{1,5}}(?:[/?#,;]|$))(?P<secret>[^\s@\"'<>]{{1,256}})@",
        url_password,
    ),
    Pattern("url_password", (), r"://(?P<secret>[A-Za-z0-9_.~%+-]{20,})@", looks_random),
)
"""Run where the text has both :// and @."""

PATTERNS: Final = (
    Pattern(
        "private_key",
        ("PRIVATE KEY",),
        (
            r"(?P<secret>-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----[\s\S]*?"
            r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----|\Z))"
        ),
    ),
    Pattern(
        "authorization",
        ("earer", "EARER"),
        r"(?i:\bbearer)[ \t]+(?P<secret>[A-Za-z0-9._~+/=-]{8,})",
        _credential,
    ),
    Pattern(
        "authorization",
        ("uthorization", "UTHORIZATION"),
        r"(?i:\bauthorization)[\"' \t:=]{1,8}(?i:basic)[ \t]+(?!masked:)(?P<secret>[A-Za-z0-9+/=_-]{6,})",
    ),
    Pattern(
        "authorization",
        ("asic", "ASIC"),
        r"(?i:\bbasic)(?:[ \t:=]|%20){1,8}[\"']?(?P<secret>[A-Za-z0-9+/_-]{4,}(?:=|%3[Dd]){0,2})",
        _login_in_base64,
    ),
    Pattern(
        "authorization",
        ('auth\\"', 'auth"', "auth'"),
        r"\bauth\\{0,3}[\"'][ \t]{0,8}:[ \t]{0,8}\\{0,3}[\"'](?P<secret>[A-Za-z0-9+/_-]{4,}={0,2})",
        _login_in_base64,
    ),
    *(
        Pattern("named_secret", ("key",), order, reads_as_a_key)
        for order in (
            rf"{_USER_NAMED}[ \t]{{0,8}},\s{{0,8}}\\{{0,3}}[\"']key{_IS}(?P<secret>{A_KEY})",
            rf"(?<![\w.-])key{_IS}(?P<secret>{A_KEY}){_NEXT}(?={_USER_NAMED})",
        )
    ),
    Pattern("jwt", ("eyJ",), r"(?a)(?<![A-Za-z0-9_-])(?P<secret>eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"),
    Pattern(
        "slack_webhook",
        ("hooks.slack.com",),
        r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[A-Za-z0-9/_-]{16,})",
    ),
    Pattern(
        "azure_storage_key",
        ("ey=",),
        r"(?i:accountkey|sharedaccesskey)=(?P<secret>[A-Za-z0-9+/%]{16,}=*)",
    ),
    Pattern("azure_sas", ("sig=",), r"(?<![A-Za-z0-9])sig=(?P<secret>[A-Za-z0-9%+/_-]{20,}=*)"),
    Pattern("url_signature", ("ignature=",), r"[Ss]ignature=(?P<secret>[A-Za-z0-9%+/_~-]{20,}=*)"),
)
"""Run wherever one of their signs is."""

TOKENS: Final = (
    _token("aws_access_key", "AKIA ASIA ABIA ACCA", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _token("gcp_api_key", "AIza", r"AIza[A-Za-z0-9_-]{35}"),
    _token("gcp_token", "ya29. GOCSPX-", r"(?:ya29\.|GOCSPX-)[A-Za-z0-9_-]{20,}"),
    _token("azure_client_secret", "8Q~ 7Q~", r"[A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{30,34}"),
    _token(
        "github_token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        r"(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,})",
    ),
    _token(
        "gitlab_token",
        "glpat- glptt- glrt- gldt- glcbt- glft- glsoat- glagent- gloas- glimt- glffct-",
        r"gl(?:pat|ptt|rt|dt|cbt|ft|soat|agent|oas|imt|ffct)-[A-Za-z0-9_.-]{18,}",
    ),
    _token("slack_token", "xox xapp-", r"(?:xox[a-z]|xapp)-[A-Za-z0-9-]{16,}"),
    _token("policy_server_token", "fps_", r"fps_[A-Za-z0-9_-]{43}"),
    _token("huggingface_token", "hf_ api_org_", r"(?:hf|api_org)_[A-Za-z0-9]{30,}"),
    _token("openai_key", "sk-", r"sk-[A-Za-z0-9_-]{20,}", looks_random),
    _token("databricks_token", "dapi", r"dapi[a-f0-9]{32}(?:-\d)?(?![A-Za-z0-9])"),
    _token("npm_token", "npm_", r"npm_[A-Za-z0-9]{36}"),
    _token("pypi_token", "pypi-", r"pypi-[A-Za-z0-9_-]{50,}"),
    _token("stripe_key", "k_live_ k_test_", r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    _token("sendgrid_key", "SG.", r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    _token("vault_token", "hvs. hvb. hvr.", r"hv[sbr]\.[A-Za-z0-9_-]{20,}"),
    _token("docker_token", "dckr_", r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}"),
    _token("digitalocean_token", "_v1_", r"do[opr]_v1_[a-f0-9]{40,}"),
    _token("langsmith_key", "lsv2_", r"lsv2_[a-z]{2}_[a-f0-9]{32}_[a-f0-9]{10}(?![A-Za-z0-9])"),
    _token("age_key", "AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[A-Z0-9]{40,}"),
)
"""Run where the text has a long run of token characters."""
