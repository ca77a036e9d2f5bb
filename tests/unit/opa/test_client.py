"""Opa: any Rego and any JSON, in this process."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flowyml_policy.errors.opa import (
    OpaDeadlineExceeded,
    OpaEvaluationFailed,
    OpaStartFailed,
    OpaUnavailable,
    OpaUndefined,
    PolicyInvalid,
)
from flowyml_policy.opa import Opa

AUTHZ = """\
package authz

default allow := false

allow if input.user in data.admins

roles contains role if some role in input.roles

age := data.users[input.user].age
"""


def test_rules_and_data_given_as_values_are_evaluated() -> None:
    with Opa(modules={"authz.rego": AUTHZ}, data={"admins": ["ada"], "users": {"ada": {"age": 36}}}) as opa:
        assert opa.evaluate("data.authz.allow", {"user": "ada"}) is True
        assert opa.evaluate("authz/allow", {"user": "bob"}) is False
        assert opa.evaluate("data.authz.roles", {"roles": ["b", "a", "b"]}) == ["a", "b"]
        assert opa.evaluate('data.users["ada"]') == {"age": 36}
        assert opa.evaluate("authz/age", {"user": "eve"}, default=None) is None
        assert opa.query("data.users[name].age = x; x > 17") == [{"name": "ada", "x": 36}]
        assert opa.query("1 == 1") == [{}]
        assert opa.query("1 == 2") == []
        assert opa.version.startswith("1.")
        assert opa.revisions == {}


def test_files_and_folders_are_loaded_as_opa_loads_them(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "authz.rego").write_text(AUTHZ)
    (tmp_path / "policy" / "users.yaml").write_text("admins: [ada]\n")
    (tmp_path / "more.json").write_text('{"users": {"ada": {"age": 36}}}')
    with Opa(tmp_path / "policy", tmp_path / "more.json") as opa:
        assert opa.evaluate("authz/allow", {"user": "ada"}) is True
        assert opa.evaluate("authz/age", {"user": "ada"}) == 36


def test_file_is_put_where_its_prefix_says_and_a_path_has_none(tmp_path: Path) -> None:
    folder = tmp_path / "a:b c%20"
    folder.mkdir()
    (folder / "ages.json").write_text('{"ada": 36}')
    with Opa(folder / "ages.json") as opa:
        assert opa.evaluate("ada") == 36
    (tmp_path / "ages.json").write_text('{"ada": 36}')
    with Opa(f"users.old:{tmp_path}/ages.json") as opa:
        assert opa.evaluate("users/old/ada") == 36


def test_bundles_are_loaded_with_their_revisions(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "authz.rego").write_text(AUTHZ)
    (folder / "data.json").write_text('{"admins": ["ada"]}')
    (folder / ".manifest").write_text('{"revision": "r7", "roots": ["authz", "admins"]}')
    with tarfile.open(tmp_path / "bundle.tar.gz", "w:gz") as archive:
        archive.add(folder, arcname=".")
    for place in (folder, tmp_path / "bundle.tar.gz"):
        with Opa(bundles=[place], data={"users": {"ada": {"age": 36}}}) as opa:
            assert opa.evaluate("authz/allow", {"user": "ada"}) is True
            assert opa.evaluate("authz/age", {"user": "ada"}) == 36
            assert opa.revisions == {str(place): "r7"}


@pytest.mark.parametrize(
    "value", [None, True, 0, -1.5, 10**40, 'é "q" \\ \n \u2028 😀', [], {"a": [{"b": None}]}, 1e300], ids=repr
)
def test_any_json_comes_back_as_it_went(value: Any) -> None:
    with Opa(modules={"e.rego": "package e\n\nsame := input"}) as opa:
        assert opa.evaluate("e/same", value) == value


def test_input_that_is_not_given_is_undefined() -> None:
    with Opa(modules={"e.rego": "package e\n\nsame := input"}) as opa:
        with pytest.raises(OpaUndefined, match=r"data\[\"e\"\]\[\"same\"\] is undefined"):
            opa.evaluate("e/same")
        assert opa.evaluate("e/same", None) is None


def test_rego_of_version_0_is_read_where_it_is_asked_for() -> None:
    old = {"old.rego": "package old\n\nallow { input.x }"}
    with Opa(modules=old, rego_version=0) as opa:
        assert opa.evaluate("old/allow", {"x": True}) is True
    with pytest.raises(PolicyInvalid, match="rego_parse_error"):
        Opa(modules=old)


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"modules": {"bad.rego": "package bad\n\nx :="}}, PolicyInvalid, r"bad\.rego:3: rego_parse_error"),
        ({"modules": {"bad.rego": "package bad\n\nx := y"}}, PolicyInvalid, r"bad\.rego:3: rego_unsafe_var_error"),
        ({"bundles": ["/nowhere/b.tar.gz"]}, OpaStartFailed, "no such file"),
        ({"data": {"a": {1, 2}}}, OpaEvaluationFailed, "is no JSON"),
        ({"data": {"a": float("nan")}}, OpaEvaluationFailed, "is no JSON"),
        ({"rego_version": 3}, OpaEvaluationFailed, "no Rego of version 3"),
    ],
)
def test_what_cannot_be_loaded_is_an_error(options: dict[str, Any], error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        Opa(**options)


def test_file_that_is_missing_or_no_rego_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OpaStartFailed, match="no such file"):
        Opa(tmp_path / "none.rego")
    (tmp_path / "bad.rego").write_text("package bad\n\nx :=")
    with pytest.raises(PolicyInvalid, match=r"bad\.rego:3: rego_parse_error"):
        Opa(tmp_path)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("x = ", "the query is no Rego"),
        ("x = unknown(1)", "the query does not compile"),
        ("x = 1\0", "NUL"),
        ('http.send({"method": "get", "url": "http://127.0.0.1:9"})', r"http\.send is refused"),
        ("opa.runtime()", r"opa\.runtime is refused"),
        ('x = net.lookup_ip_addr("localhost")', r"net\.lookup_ip_addr is refused"),
    ],
)
def test_query_that_cannot_be_answered_is_an_error(query: str, reason: str) -> None:
    with Opa() as opa, pytest.raises(OpaEvaluationFailed, match=reason):
        opa.query(query)


def test_host_that_is_allowed_is_asked_and_no_other() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    send = 'x = http.send({"method": "get", "url": input}).status_code'
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, Opa(allow_hosts=["127.0.0.1"]) as opa:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        assert opa.query(send, f"http://127.0.0.1:{port}/") == [{"x": 200}]
        assert opa.query(send, f"http://localhost:{port}/") == []
        server.shutdown()


FORKED = """\
import os
from flowyml_policy.errors.opa import OpaUnavailable
from flowyml_policy.opa import Opa

opa = Opa()
child = os.fork()
if child == 0:
    for call in (lambda: opa.query("x = 1"), opa.reload, Opa):
        try:
            call()
        except OpaUnavailable as error:
            assert "spawn" in error.advice
        else:
            os._exit(1)
    opa.close()
    os._exit(0)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), opa.query("x = 1"))
"""


def test_forked_child_is_told_that_opa_is_not_there() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("0 [{'x': 1}]\n", "")


@pytest.mark.parametrize("rule", ["", "/", "a//b"])
def test_rule_that_is_none_is_an_error(rule: str) -> None:
    with Opa() as opa, pytest.raises(OpaEvaluationFailed, match="is no rule"):
        opa.evaluate(rule)


def test_builtin_error_is_undefined_or_strict() -> None:
    modules = {"e.rego": "package e\n\nx := 1 / input"}
    with Opa(modules=modules) as opa, pytest.raises(OpaUndefined):
        opa.evaluate("e/x", 0)
    with Opa(modules=modules, strict_builtin_errors=True) as opa:
        with pytest.raises(OpaEvaluationFailed, match="divide by zero"):
            opa.evaluate("e/x", 0)
        assert opa.evaluate("e/x", 1) == 1


def test_deadline_ends_an_evaluation() -> None:
    slow = "some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); i + j == 0"
    with Opa(deadline=0.2) as opa:
        began = time.monotonic()
        with pytest.raises(OpaDeadlineExceeded, match="no decision within 200ms"):
            opa.query(slow)
        assert time.monotonic() - began < 2
        assert opa.query("x = 1", deadline=5) == [{"x": 1}]


def test_threads_are_answered_each_its_own_while_all_is_loaded_again(tmp_path: Path) -> None:
    """Every answer is of one load, whole: the two files never mix."""
    files = [tmp_path / name for name in ("a.rego", "b.rego")]

    def write(number: int) -> None:
        for file in files:
            file.write_text(f"package {file.stem}\n\nn := {number}")

    write(0)
    stop = threading.Event()
    with Opa(tmp_path) as opa:

        def ask(number: int) -> bool:
            while not stop.is_set():
                found = opa.query("x = [data.a.n, data.b.n, input]", number)[0]["x"]
                if found[0] != found[1] or found[2] != number:
                    return False
            return True

        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, number) for number in range(8)]
            for number in range(1, 30):
                write(number)
                opa.reload()
                assert opa.evaluate("a/n") == number
            stop.set()
            assert all(one.result() for one in asked)


def test_reload_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a.rego"
    file.write_text("package a\n\nn := 1")
    with Opa(tmp_path) as opa:
        file.write_text("package a\n\nn :=")
        with pytest.raises(PolicyInvalid, match="rego_parse_error"):
            opa.reload()
        assert opa.evaluate("a/n") == 1


def test_closed_is_an_error() -> None:
    opa = Opa()
    opa.close()
    opa.close()
    for call in (lambda: opa.query("x = 1"), opa.reload, lambda: opa.evaluate("a"), lambda: opa.revisions):
        with pytest.raises(OpaUnavailable, match="is closed"):
            call()


def test_package_offers_opa_and_loads_nothing_before() -> None:
    program = (
        "import sys, flowyml_policy.opa as opa\n"
        "assert 'ctypes' not in sys.modules and 'flowyml_policy.opa.client' not in sys.modules\n"
        "print(opa.Opa().query('x = 1'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (json.loads(done.stdout.replace("'", '"')), done.returncode) == ([{"x": 1}], 0)
