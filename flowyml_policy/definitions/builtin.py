"""The stack that is always there: work on this machine, without a file."""

from __future__ import annotations

from typing import Final

from flowyml_policy.definitions.model import API_VERSION, KIND
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.records.policy_input import Source

LOCAL_STACK: Final = StackDefinition.from_dict(
    {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "local"}, "spec": {"compute": {"backend": "local"}}},
    source=Source(kind="builtin", uri="builtin:local", pinned=True),
)
"""The built-in stack `local`: exempt from rules on names, labels and versions, judged by the rule `source`."""
