"""What a secret becomes, and what stands where a secret could and is none."""

from __future__ import annotations

import re
from typing import Final

DETECTORS: Final = (
    "private_key",
    "age_key",
    "langsmith_key",
    "authorization",
    "jwt",
    "slack_webhook",
    "azure_storage_key",
    "azure_sas",
    "url_signature",
    "aws_access_key",
    "gcp_api_key",
    "gcp_token",
    "azure_client_secret",
    "github_token",
    "gitlab_token",
    "slack_token",
    "huggingface_token",
    "openai_key",
    "policy_server_token",
    "databricks_token",
    "npm_token",
    "pypi_token",
    "stripe_key",
    "sendgrid_key",
    "vault_token",
    "docker_token",
    "digitalocean_token",
    "aws_secret_key",
    "url_password",
    "named_secret",
    "assigned_secret",
    "high_entropy",
    "unstable",
)
"""Every detector's name; where two find overlapping secrets, the earlier name stands."""

MASK_SIGN: Final = "masked:"
"""What every mask begins with."""

_MASK: Final = rf"{MASK_SIGN}(?:{'|'.join(DETECTORS)})"

_HARMLESS: Final = (
    rf"(?x)(?:(?i:bearer|basic|token)\ +)?{_MASK}(?:\#\d+)?"
    r"""
    | \$\{[^{}]*\} | \$\([^()]*\) | \$\{\{[^{}]*\}\} | \{\{[^{}]*\}\} | \{\w*\} | \$[A-Z_][A-Z0-9_]* | %\(\w+\)s | %s
    | <[^<>]*> | [][{}(),*]+ | \.\.\. | (?i:x+)
    | (?i: | true | false | yes | no | on | off | none | null | nil | required | optional | enabled | disabled
         | default | unset | empty | redacted | hidden | missing )
    """
)

_REFERENCE: Final = (
    r"(?i:[a-z][a-z0-9+.-]{0,30}://|(?:env|file|vault|secrets?|secretref|keyvault|ssm|arn|projects)[:/])"
)


def mask_of(detector: str) -> str:
    """What stands in the place of a secret that `detector` found."""
    return f"{MASK_SIGN}{detector}"


def without_masks(text: str) -> str:
    """`text` as it reads where its masks are taken out."""
    return re.sub(_MASK, "", text) if MASK_SIGN in text else text


def is_harmless(text: str) -> bool:
    """Whether all of `text` is a mask, a placeholder or a mere word: what nobody has to hide."""
    return re.fullmatch(_HARMLESS, text) is not None


def is_reference(text: str) -> bool:
    """Whether `text` says where a secret lies. Passwords in URLs have their own detector."""
    return re.match(_REFERENCE, text) is not None
