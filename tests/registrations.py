"""What clients of the stack registry send, and a policy that tells stacks apart by their names, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from flowyml_policy.documents.canonical import canonical_digest
from flowyml_policy.records.server import Token
from flowyml_policy.server.configuration import Configuration, read_configuration
from flowyml_policy.server.exchange import Answer, Call
from flowyml_policy.server.stacks import Stacks

AT: Final = "2026-11-23T10:00:00Z"

RULE: Final = """\
package project.rules.probe

_ten(text) := concat("", [text | some _ in numbers.range(1, 10)])

_endless := regex.match("(a?){900}(a?){90}b", _ten(_ten(_ten(_ten(_ten("a"))))))

# METADATA
# title: What the names of stacks ask for
# custom:
#   code: probe.denied
findings contains {"code": "probe.denied", "subject": "x", "path": [], "message": "it says so", "fix": "rename"} if {
	startswith(input.stack.name, "denied")
}

findings contains {"code": "probe.denied", "subject": "x", "path": [], "message": "endless", "fix": "f"} if {
	startswith(input.stack.name, "endless")
	_endless
}
"""


def document(name: str, version: str = "1.0.0", *, nodes: int = 4, image: str | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {"compute": {"backend": "local", "max_nodes": nodes}}
    if image is not None:
        spec["runtime"] = {"docker_image": image}
    return {
        "apiVersion": "flowyml/v1",
        "kind": "StackDefinition",
        "metadata": {"name": name, "version": version, "labels": {"team": "ml"}},
        "spec": spec,
    }


def body_of(definition: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What a client sends of a definition; a change to `...` takes the key out."""
    metadata = definition["metadata"]
    source = {"kind": "git", "uri": "https://git.example/x", "ref": "v1", "commit": "1" * 40, "pinned": True}
    sent = {
        "name": metadata["name"],
        "version": metadata["version"],
        "digest": canonical_digest(definition),
        "document": definition,
        "labels": metadata.get("labels", {}),
        "source": source,
        "applied_by": "root",
        "applied_at": AT,
        "decision_id": str(uuid4()),
        **changes,
    }
    return {key: value for key, value in sent.items() if value is not ...}


def configured(folder: Path, **values: Any) -> Configuration:
    """Settings of a server in `folder`, with `values`."""
    folder.mkdir(exist_ok=True)
    file = folder / "server.yaml"
    file.write_text(json.dumps({"data": str(folder / "data"), "bundles": {"require_signed": False}, **values}))
    return read_configuration(file, {})


def put(stacks: Stacks, sent: dict[str, Any], *, began: float = 0.0) -> Answer:
    """What the part answers itself to a request of ada's. Raises Refused."""
    handle = next(one.handle for one in stacks.operations() if one.method == "PUT")
    names = {"name": sent["name"], "version": sent["version"]}
    token = Token(1, "ada", "", (), "", None, None)
    headers = {"content-type": "application/json"}
    return handle(Call(names=names, headers=headers, body=json.dumps(sent).encode(), token=token, began=began))
