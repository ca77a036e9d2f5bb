"""Who asks: the one place that looks at the operating system's user and at CI's variables.

Rules:
- `name` and `groups` are what the operating system says of this process, never a variable: policy may trust them.
- What a CI system says of its run goes to `claimed`, each under the variable's own name in lower case; whoever
  starts the process can set it, so it is recorded and never trusted.
- Bytes that are no UTF-8 are written out, wherever they come from: a variable must not keep a run from being judged.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping

from flowyml_policy.mask.policy_input import masked_actor
from flowyml_policy.mask.text import encodable
from flowyml_policy.records.policy_input import Actor

CLAIMS = (
    "GITHUB_ACTOR",
    "GITHUB_REPOSITORY",
    "GITHUB_REF",
    "GITHUB_SHA",
    "GITHUB_RUN_ID",
    "GITLAB_USER_LOGIN",
    "CI_PROJECT_PATH",
    "CI_COMMIT_REF_NAME",
    "CI_COMMIT_SHA",
    "CI_JOB_ID",
    "BUILD_REQUESTEDFOR",
    "BUILD_BUILDID",
    "BUILDKITE_BUILD_AUTHOR",
    "BUILDKITE_BUILD_ID",
    "CIRCLE_USERNAME",
    "CIRCLE_BUILD_NUM",
    "JENKINS_URL",
    "BUILD_TAG",
)
"""Variables by which GitHub, GitLab, Azure Pipelines, Buildkite, CircleCI and Jenkins describe a run."""

LONGEST_CLAIM = 256


def current_actor(environ: Mapping[str, str] | None = None) -> Actor:
    """The user that this process runs as, with its groups sorted, and what CI claims of the run."""
    variables = os.environ if environ is None else environ
    claimed = {name.lower(): encodable(variables[name])[:LONGEST_CLAIM] for name in CLAIMS if variables.get(name)}
    return masked_actor(_user_name(os.geteuid()), _group_names(), claimed)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid:{uid}"


def _group_names() -> set[str]:
    return {_group_name(gid) for gid in {os.getegid(), *os.getgroups()}}


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid:{gid}"
