"""Secrets that are known by their shape: what each kind looks like, and what it is called.

No pattern reaches over a line end, but for key blocks, and none takes more than linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from flowyml_policy.mask.harmless import is_harmless
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


def _url_password(text: str) -> bool:
    return not is_harmless(text)


_NO_MASK: Final = r"(?!masked:[a-z_]{1,40}@)"

URL_PATTERNS: Final = (
    # The password ends at the last @ of the authority.
    Pattern("url_password", (), rf"://{_NO_MASK}[^\s/?#:@]*:(?P<secret>[^\s/?#]+)@", _url_password),
    # Unescaped / ? # in it, as SQLAlchemy takes them; a port is no password.
    Pattern(
        "url_password",
        (),
        rf"://{_NO_MASK}[^\s/?#:@]*:(?!\d{{1,5}}(?:[/?#,;]|$))(?P<secret>[^\s@\"'<>]{{1,256}})@",
        _url_password,
    ),
    Pattern("url_password", (), r"://(?P<secret>[A-Za-z0-9_.~%+-]{20,})@", looks_random),
)
"""Run where the text has both :// and @."""

_USER: Final = (
    rf"""(?<![^\s"'<>=,;()/]){_NO_MASK}"""
    r"""(?!(?i:file|npm|pkg|arn|urn|projects|env|vault|secrets?):)[^\s:@"'<>=,;()/]{0,64}:(?!//)(?!\d{1,5}[/?#,;])"""
)
_ADDRESS: Final = (
    r"(?!(?i:mailto|sips?|xmpp|acct|e?-?mail|contact|owner|user|group|domain|member|principal|serviceaccount"
    r"|from|to|cc|by|author):)"
)
"""What is written before an address of mail: `user:ada@example.com` has no password."""

HOST_PATTERNS: Final = (
    # What follows the @ is a host, because a port or a path follows it; a digest does neither.
    Pattern(
        "url_password",
        (),
        rf"""{_USER}(?P<secret>[^\s"'<>]{{1,256}})@(?=[A-Za-z0-9._-]{{1,253}}(?:/|:\d{{1,5}}(?![A-Za-z0-9])))""",
        _url_password,
    ),
    Pattern(
        "url_password",
        (),
        (
            rf"""{_ADDRESS}{_USER}(?P<secret>[^\s"'<>/]{{1,256}})@"""
            r"(?=(?:localhost|\d{1,3}(?:\.\d{1,3}){3}|(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24})(?![A-Za-z0-9-]|\.\w))"
        ),
        _url_password,
    ),
)
"""Run where `may_name_a_user`: `ada:password@host` without a scheme, as in references to images."""

_LONGEST_LOGIN: Final = 64 + 1 + 256


def may_name_a_user(text: str) -> bool:
    """Whether a colon stands in the word before an @ that no digest follows; that of a scheme does not count."""
    at = text.find("@")
    while at >= 0:
        if not text.startswith(("sha256:", "sha512:"), at + 1):
            before = text[max(at - _LONGEST_LOGIN, 0) : at]
            if ":" in before and ":" in before.rsplit(None, 1)[-1].replace("://", ""):
                return True
        at = text.find("@", at + 1)
    return False


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
    _token("age_key", "AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[A-Z0-9]{40,}"),
)
"""Run where the text has a long run of token characters."""
