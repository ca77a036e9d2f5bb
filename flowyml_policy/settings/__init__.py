"""Settings: flowyml.yaml and the platform's file, read strictly into one frozen value.

Rules of this room:
- A file that exists is used whole or refused whole; every problem names file, line, column and what to write.
- Unknown keys, ill-typed values and empty values are problems; nothing is coerced, nothing quietly left out.
- The platform owns what it sets. A project that sets the same key is refused.
- What a later version will do is read and checked today; `require_supported` stops a command that would need it.
- No `from __future__ import annotations` where sections are: pydantic would compile every annotation at each start.
- Secrets are named by environment variable; only `policy.opa.config` takes their values in, and is never shown.
"""

from typing import TYPE_CHECKING

from flowyml_policy.on_demand import on_demand
from flowyml_policy.settings.effective import Settings
from flowyml_policy.settings.features import Unsupported
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.settings.places import PLATFORM_FILE, PROJECT_FILE, state_directory, user_audit_file
from flowyml_policy.settings.policy_section import (
    AuditSettings,
    Enforce,
    ImagesSettings,
    OpaSettings,
    PolicySection,
    RegistryCredential,
    SidecarSettings,
    SourcesSettings,
    StackRegistrySettings,
)
from flowyml_policy.settings.sources import (
    GitHubSource,
    GitLabSource,
    GitSource,
    HttpSource,
    LocalSource,
    RegistrySource,
    StackSource,
)
from flowyml_policy.settings.written import EnvironmentSettings, ImagePolicySection, PoliciesSection, ProjectIdentity

if TYPE_CHECKING:
    from flowyml_policy.settings.schema import settings_json_schema

__all__ = [
    "PLATFORM_FILE",
    "PROJECT_FILE",
    "AuditSettings",
    "Enforce",
    "EnvironmentSettings",
    "GitHubSource",
    "GitLabSource",
    "GitSource",
    "HttpSource",
    "ImagePolicySection",
    "ImagesSettings",
    "LocalSource",
    "OpaSettings",
    "PoliciesSection",
    "PolicySection",
    "ProjectIdentity",
    "RegistryCredential",
    "RegistrySource",
    "Settings",
    "SidecarSettings",
    "SourcesSettings",
    "StackRegistrySettings",
    "StackSource",
    "Unsupported",
    "load_settings",
    "settings_json_schema",
    "state_directory",
    "user_audit_file",
]

__getattr__ = on_demand(__name__, {"settings_json_schema": "schema"})
