"""The registry that settings name, opened as they say."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from flowyml_policy.errors import RegistryUnreachable
from flowyml_policy.settings import load_settings
from flowyml_policy.stack_resolver import open_registry

PutAll = Callable[..., None]


@pytest.mark.parametrize("owner", ["platform", "project"])
def test_open_registry_trusts_the_ca_beside_the_file_that_names_it(
    server: Any, put_all: PutAll, tmp_path: Path, owner: str
) -> None:
    put_all("1.0.0")
    ours, others = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http:", "https:")
    files = {"platform": tmp_path / "etc" / "settings.yaml", "project": tmp_path / "project" / "flowyml.yaml"}
    named = f"policy: {{registry: {{url: '{url}', ca: ca.pem}}}}\n"
    for name, file in files.items():
        file.parent.mkdir()
        file.write_text(named if name == owner else "policy: {}\n")
        (ours if name == owner else others).cert_pem.write_to_path(str(file.parent / "ca.pem"))

    def opened() -> Any:
        settings = load_settings(
            project=files["project"].parent, environ={"HOME": str(tmp_path)}, system_file=files["platform"]
        )
        return open_registry(settings, environ={})

    assert opened().get("prod-gpu").version == "1.0.0"
    files[owner].write_text(named.replace(", ca: ca.pem", ""))
    with pytest.raises(RegistryUnreachable, match="certificate is not trusted"):
        opened().get("prod-gpu")
