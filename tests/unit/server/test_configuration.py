"""server.yaml: what may stand there, and what is said of what may not."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from flowyml_policy.errors.root import UsageError
from flowyml_policy.errors.settings import SettingsInvalid
from flowyml_policy.server.configuration import read_configuration, server_json_schema


def written(folder: Path, text: str) -> Path:
    (folder / "main.pub").write_text("")
    (folder / "dist").mkdir(exist_ok=True)
    file = folder / "server.yaml"
    file.write_text(text)
    return file


KEYS = "bundles: {keys: {main: {key_file: main.pub}}}\n"


def test_defaults_listen_on_this_machine_and_want_signatures(tmp_path: Path) -> None:
    read = read_configuration(written(tmp_path, KEYS), {})
    assert read.listen == ("127.0.0.1", 8282)
    assert read.data == tmp_path / "server"
    assert read.database == tmp_path / "server" / "server.db"
    assert read.values.bundles.require_signed
    assert read.values.anonymous == ()
    assert read.values.limits.model_dump() == {
        "body": 64 * 2**20,
        "polls": 20_000,
        "wait": 1800.0,
        "header_timeout": 10.0,
        "body_timeout": 60.0,
        "failures_per_minute": 20,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listen: 0.0.0.0:8282\n" + KEYS, "`listen` is reached from other machines, without TLS: 0.0.0.0:8282"),
        ("listen: 127.0.0.1\n" + KEYS, "`listen` is no host with a port: '127.0.0.1'"),
        ("data: ./server\n", "`bundles.keys` names no key, and bundles must be signed"),
        (KEYS + "anonymous: [stacks:write]\n", "`anonymous[0]` cannot be open to everybody: stacks:write"),
        (KEYS + "anonymous: [bundles]\n", "`anonymous[0]` is no scope: 'bundles'"),
        (KEYS + "anonymous: [bundles:read:../x]\n", "`anonymous[0]` is no scope: 'bundles:read:../x'"),
        (KEYS + "tls: {certificate: a.pem, key: b.pem}\n", "`tls.certificate` names nothing that exists: 'a.pem'"),
        (KEYS + "limit: {}\n", "unknown key `limit`"),
        (KEYS + "policy: {enforced: block}\n", "unknown key `policy.enforced`"),
        (KEYS + "policy: {opa: {config: {services: {a: {url: '${NOPE}'}}}}}\n", "needs the environment variable NOPE"),
        ("bundles: {keys: {main: {key_file: none.pub}}}\n", "`bundles.keys.main.key_file` names nothing that exists"),
    ],
)
def test_mistake_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(SettingsInvalid) as caught:
        read_configuration(file, {})
    assert said in caught.value.message
    assert f"{file}:" in caught.value.message


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "localhost:8282", "'[::1]:8282'", "127.8.9.1:8282"])
def test_this_machine_needs_no_tls(tmp_path: Path, listen: str) -> None:
    read_configuration(written(tmp_path, f"listen: {listen}\n{KEYS}"), {})


@pytest.mark.parametrize("more", ["behind_proxy: true\n", "tls: {certificate: main.pub, key: main.pub}\n"])
def test_other_machines_are_served_with_tls_or_behind_a_proxy(tmp_path: Path, more: str) -> None:
    read_configuration(written(tmp_path, f"listen: 0.0.0.0:8282\n{more}{KEYS}"), {})


def test_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        read_configuration(tmp_path / "server.yaml", {})


def test_schema_takes_what_the_server_takes() -> None:
    text = """
listen: 127.0.0.1:8282
data: ./server
tls: {certificate: a.pem, key: b.pem, client_ca: c.pem}
bundles: {watch: ./dist, require_signed: true, keys: {main: {key_file: main.pub}}, keep: 20}
anonymous: [bundles:read, "bundles:read:company", stacks:read]
policy: {images: {inspect: registry}}
limits: {body: 64MiB, polls: 20000, failures_per_minute: 20}
"""
    schema = server_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(text), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"limit": {}}, schema)
