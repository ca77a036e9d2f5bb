"""The ways to be undecided that only a server has, and what of its environment may not matter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from opa_client.opa import OpaClient

from flowyml_policy.errors.opa import (
    OpaAnswerInvalid,
    OpaDeadlineExceeded,
    OpaError,
    OpaEvaluationFailed,
    OpaStartFailed,
    OpaUnavailable,
    OpaUndefined,
    PolicyInvalid,
    PolicyRolledBack,
)
from flowyml_policy.opa.sidecar import SidecarEvaluator
from flowyml_policy.storage.sequences import FileSequences
from tests.contract.conftest import built, document, policy, write
from tests.contract.test_undecided import SOUND
from tests.opa_server import OpaServer, free_port

TOKEN = "s3cr3t-of-the-server"
DECISION = "/v1/data/flowyml/main/decision"


class Answer:
    """What a server says to one question."""

    def __init__(self, body: Any = None, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status = status
        self.headers = {"Content-Length": str(len(self.body)), **(headers or {})}

    def send(self, to: BaseHTTPRequestHandler) -> None:
        to.send_response(self.status)
        for name, value in self.headers.items():
            to.send_header(name, value)
        to.end_headers()
        to.wfile.write(self.body)


class Dribbling(Answer):
    """An answer of which a byte comes every 50 ms, for 20 s."""

    def send(self, to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Length", "400")
        to.end_headers()
        for _ in range(400):
            to.wfile.write(b" ")
            time.sleep(0.05)


class Silent(Answer):
    """No answer at all for 20 s."""

    def send(self, to: BaseHTTPRequestHandler) -> None:
        to.server.stopped.wait(20)  # type: ignore[attr-defined]


def provenance(**changed: Any) -> dict[str, Any]:
    return {"version": "1.22.4", "build_commit": "", "bundles": {"flowyml": {"revision": "f1"}}, **changed}


def answer(result: Any = SOUND, **changed: Any) -> dict[str, Any]:
    return {"result": result, "provenance": provenance(**changed)}


ABOUT = {"flowyml": {"manifest": {"revision": "f1", "roots": ["flowyml"]}}}


class Pretender(ThreadingHTTPServer):
    """Says what it is told to; health and bundles are sound unless told otherwise. `heard` holds what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answers: dict[str, Answer] = {"/health": Answer({}), "/v1/data/system/bundles": Answer(answer(ABOUT))}
        self.heard: list[tuple[str, dict[str, str], bytes]] = []
        self.stopped = threading.Event()

    def handle_error(self, *_: object) -> None:
        """The other side went away, as it should."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Pretender

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.heard.append((self.path, dict(self.headers.items()), body))
        self.server.answers.get(self.path.partition("?")[0], Answer({}, status=404)).send(self)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def server() -> Iterator[Pretender]:
    with Pretender() as pretender:
        thread = threading.Thread(target=pretender.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield pretender
        pretender.stopped.set()
        pretender.shutdown()


def ask(server: Pretender, said: Answer, **options: Any) -> Any:
    """The decision of a server that answers so, once the evaluator has started."""
    with SidecarEvaluator(server.url, start_timeout=5, **{"deadline": 5, **options}) as evaluator:
        server.answers[DECISION] = said
        return evaluator.judge(document())


def test_server_that_answers_soundly_is_believed(server: Pretender) -> None:
    """What the cases below refuse is their oddity."""
    decision, evaluation = ask(server, Answer({**answer(), "decision_id": "x", "metrics": {}}))
    assert decision.allowed
    assert (evaluation.bundles, evaluation.evaluator.name, evaluation.evaluator.version) == (
        {"flowyml": "f1"},
        "sidecar",
        "1.22.4",
    )
    path, headers, body = server.heard[-1]
    assert path == f"{DECISION}?provenance=true&strict-builtin-errors=true"
    assert body == b'{"input":' + document().encoded + b"}"
    assert headers["Accept-Encoding"] == "identity"


BUILTIN_ERROR = {
    "code": "internal_error",
    "message": "error(s) occurred while evaluating query",
    "errors": [
        {"code": "eval_builtin_error", "message": "div: divide by zero", "location": {"file": "/a.rego", "row": 3}}
    ],
}
OLD = {"version": "1.20.9"}

REFUSED: dict[str, tuple[Answer, type[OpaError], str]] = {
    "undefined": (Answer({"provenance": provenance()}), OpaUndefined, r"data\.flowyml\.main\.decision is undefined"),
    "401": (Answer({"code": "unauthorized"}, status=401), OpaUnavailable, "refuses this caller"),
    "403": (Answer({}, status=403), OpaUnavailable, "refuses this caller"),
    "404": (Answer(b"<html>", status=404), OpaUnavailable, "HTTP 404"),
    "500": (Answer({"code": "internal_error", "message": "no disk"}, status=500), OpaUnavailable, "HTTP 500: no disk"),
    "503": (Answer(b"<html>busy</html>", status=503), OpaUnavailable, "HTTP 503: http"),
    "a rule that failed": (
        Answer(BUILTIN_ERROR, status=500),
        OpaEvaluationFailed,
        r"a\.rego:3: eval_builtin_error: div",
    ),
    "no JSON": (Answer(b"allow"), OpaAnswerInvalid, "is no JSON"),
    "a page": (Answer(b"<html>sign in</html>"), OpaAnswerInvalid, "is no JSON"),
    "half of it": (Answer(json.dumps(answer()).encode()[:-5]), OpaAnswerInvalid, "is no JSON"),
    "nothing": (Answer(b""), OpaAnswerInvalid, "is no JSON"),
    "a number that is none": (Answer(b'{"result": NaN}'), OpaAnswerInvalid, "is no JSON"),
    "depth": (Answer(b"[" * 100_000), OpaAnswerInvalid, "is no JSON"),
    "truncated": (
        Answer(b"{}", headers={"Content-Length": "9", "Connection": "close"}),
        OpaAnswerInvalid,
        "ends before its end",
    ),
    "a list": (Answer([SOUND]), OpaAnswerInvalid, "no JSON object"),
    "the bare decision": (Answer(SOUND), OpaAnswerInvalid, "a key that OPA does not send"),
    "an extra key": (Answer({**answer(), "allow": True}), OpaAnswerInvalid, "'allow'"),
    "an extra key of the decision": (Answer(answer({**SOUND, "why": ""})), OpaAnswerInvalid, "agreed shape"),
    "a wrong shape": (Answer(answer({"allow": True})), OpaAnswerInvalid, "agreed shape"),
    "no provenance": (Answer({"result": SOUND}), OpaAnswerInvalid, "no provenance"),
    "no version": (Answer(answer(version=None)), OpaAnswerInvalid, "does not say its version"),
    "no bundles": (Answer(answer(bundles={})), OpaAnswerInvalid, "judges by no bundle"),
    "no revision": (Answer(answer(bundles={"flowyml": {"revision": ""}})), OpaAnswerInvalid, "the revision of bundle"),
    "an old server": (Answer(answer(**OLD)), OpaUnavailable, r"version 1\.20\.9; 1\.21\.0 is the oldest"),
    "a server before the release": (Answer(answer(version="1.21.0-rc1")), OpaUnavailable, "is the oldest"),
    "too much": (Answer(b" " * (16 * 2**20 + 1)), OpaAnswerInvalid, "longer than 16 MiB"),
    "a redirect": (
        Answer(b"", status=307, headers={"Location": "/v1/data/x"}),
        OpaUnavailable,
        r"redirect \(HTTP 307\)",
    ),
}


@pytest.mark.parametrize(("said", "error", "reason"), REFUSED.values(), ids=REFUSED)
def test_answer_of_a_server_fails_closed(server: Pretender, said: Answer, error: type[OpaError], reason: str) -> None:
    with pytest.raises(error, match=reason) as caught:
        ask(server, said)
    assert server.url in str(caught.value) or "agreed shape" in reason


@pytest.mark.parametrize("said", [Silent(), Dribbling()], ids=["silent", "dribbling"])
def test_server_that_is_slow_fails_closed(server: Pretender, said: Answer) -> None:
    """Whatever it does with its bytes: the whole call is bounded, not each wait."""
    began = time.monotonic()
    with pytest.raises(OpaDeadlineExceeded, match="no decision within 400ms"):
        ask(server, said, deadline=0.4)
    assert time.monotonic() - began < 3


def test_server_that_is_slow_and_then_well_goes_on(server: Pretender) -> None:
    with SidecarEvaluator(server.url, deadline=0.3) as evaluator:
        for said in (*[Silent()] * 3, Answer(answer())):
            server.answers[DECISION] = said
            if isinstance(said, Silent):
                with pytest.raises(OpaDeadlineExceeded):
                    evaluator.judge(document())
        assert evaluator.evaluate(document()).allowed


@pytest.mark.parametrize("version", ["1.21.2", "1.21.0"])
def test_old_server_where_bundles_must_be_signed_fails_closed(server: Pretender, version: str, tmp_path: Path) -> None:
    about = Answer(answer(ABOUT, version=version))
    server.answers["/v1/data/system/bundles"] = about
    said = Answer(answer(version=version))
    assert ask(server, said)[0].allowed
    with pytest.raises(OpaUnavailable, match=r"1\.21\.3 is the oldest that may judge where bundles must be signed"):
        ask(server, said, sequences=FileSequences(tmp_path))


def test_server_down_fails_closed() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(OpaUnavailable, match=f"cannot be reached: Connection refused: {url}"):
        SidecarEvaluator(url, start_timeout=0.3)


def test_server_that_never_answers_at_the_start_fails_closed(server: Pretender) -> None:
    server.answers["/health"] = Silent()
    with pytest.raises(OpaUnavailable, match="does not answer within 300ms"):
        SidecarEvaluator(server.url, start_timeout=0.3)


@pytest.mark.parametrize("url", ["http://a..b:1", "http://\u200b:1", f"http://{'a' * 70}.example:1"])
def test_host_that_is_none_fails_closed(url: str) -> None:
    with pytest.raises(OpaError):
        SidecarEvaluator(url, start_timeout=0.2)


def test_server_whose_bundle_does_not_load_fails_closed(tmp_path: Path) -> None:
    config = {"bundles": {"flowyml": {"resource": (tmp_path / "none.tar.gz").as_uri()}}}
    with OpaServer(config, tmp_path) as server:
        server.await_listening()
        with pytest.raises(OpaStartFailed, match=r"has not activated all its bundles \(HTTP 500\): .*flowyml"):
            SidecarEvaluator(server.url, start_timeout=3)


def test_server_is_waited_for_until_it_starts_and_fails_closed_when_it_ends(tmp_path: Path) -> None:
    archive = built("flowyml", write(tmp_path / "policy", policy()), tmp_path)
    with (
        OpaServer({"bundles": {"flowyml": {"resource": archive.as_uri()}}}, tmp_path) as server,
        SidecarEvaluator(server.url, start_timeout=30) as evaluator,
    ):
        assert evaluator.evaluate(document()).allowed
        server.stop()
        with pytest.raises(OpaUnavailable, match="cannot be reached"):
            evaluator.judge(document())


def test_server_without_bundles_fails_closed(tmp_path: Path) -> None:
    with OpaServer({}, tmp_path) as server:
        server.await_listening()
        with pytest.raises(OpaError, match=r"judges by no bundle|data\.system\.bundles is undefined"):
            SidecarEvaluator(server.url, start_timeout=5)


def test_bundle_that_is_activated_later_for_another_input_fails_closed(server: Pretender) -> None:
    later = {"bundles": {"flowyml": {"revision": "f2"}}}
    about = {"flowyml": {"manifest": {"revision": "f2", "metadata": {"input_schema": 2}}}}
    with SidecarEvaluator(server.url) as evaluator:
        server.answers[DECISION] = Answer(answer(**later))
        server.answers["/v1/data/system/bundles"] = Answer(answer(about, **later))
        with pytest.raises(PolicyInvalid, match="written for input schema 2"):
            evaluator.judge(document())


def test_answer_without_a_bundle_of_the_start_fails_closed(server: Pretender) -> None:
    both = {"bundles": {"flowyml": {"revision": "f1"}, "company": {"revision": "c1"}}}
    server.answers["/v1/data/system/bundles"] = Answer(answer(ABOUT, **both))
    with SidecarEvaluator(server.url) as evaluator:
        server.answers[DECISION] = Answer(answer())
        server.answers["/v1/data/system/bundles"] = Answer(answer(ABOUT))
        with pytest.raises(OpaAnswerInvalid, match="without the bundle company"):
            evaluator.judge(document())


def test_revision_recorded_is_that_of_the_answer(server: Pretender) -> None:
    later = {"bundles": {"flowyml": {"revision": "f2"}}, "version": "1.22.5"}
    with SidecarEvaluator(server.url) as evaluator:
        server.answers[DECISION] = Answer(answer(**later))
        server.answers["/v1/data/system/bundles"] = Answer(answer(ABOUT, **later))
        _, evaluation = evaluator.judge(document())
    assert (evaluation.bundles, evaluation.evaluator.version) == ({"flowyml": "f2"}, "1.22.5")


@pytest.mark.parametrize("path", ["", "flowyml//main", "flowyml/../system", "."])
def test_query_of_what_is_no_path_fails_closed(server: Pretender, path: str) -> None:
    with SidecarEvaluator(server.url) as evaluator:
        asked = len(server.heard)
        with pytest.raises(OpaEvaluationFailed, match="no path below data"):
            evaluator.query(path, {})
    assert len(server.heard) == asked


@pytest.mark.parametrize("url", ["ftp://localhost", "localhost:8181", "http://u:p@localhost", "http://localhost/v1"])
def test_address_that_is_none_fails_closed(url: str) -> None:
    with pytest.raises(OpaStartFailed) as caught:
        SidecarEvaluator(url)
    assert "u:p" not in str(caught.value)


# What the environment says.


def test_environment_changes_neither_whom_it_asks_nor_the_token(
    server: Pretender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A .netrc, proxies and certificates that lie, and a redirect to a server that would allow."""
    with Pretender() as liar:
        threading.Thread(target=liar.serve_forever, daemon=True).start()
        (tmp_path / ".netrc").write_text("default login somebody password else\n")
        (tmp_path / ".netrc").chmod(0o600)
        lies = {
            "HOME": str(tmp_path),
            "NETRC": str(tmp_path / ".netrc"),
            **dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"), liar.url),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), ""),
            **dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), str(tmp_path / "none.pem")),
        }
        for name, value in lies.items():
            monkeypatch.setenv(name, value)
        assert ask(server, Answer(answer()), token_env="OWN", environ={"OWN": TOKEN})[0].allowed
        assert {headers.get("Authorization") for _, headers, _ in server.heard} == {f"Bearer {TOKEN}"}
        assert ask(server, Answer(answer()))[0].allowed
        assert "Authorization" not in server.heard[-1][1]
        liar.answers[DECISION] = Answer(answer())
        away = Answer(b"", status=307, headers={"Location": liar.url + DECISION})
        with pytest.raises(OpaUnavailable, match="redirect"):
            ask(server, away)
        assert liar.heard == []
        liar.shutdown()


@pytest.mark.parametrize(("value", "reason"), [("", "is not set"), ("two words", "no bearer token")])
def test_token_that_is_none_fails_closed(server: Pretender, value: str, reason: str) -> None:
    with pytest.raises(OpaUnavailable, match=reason) as caught:
        SidecarEvaluator(server.url, token_env="OWN", environ={"OWN": value})
    assert "two words" not in str(caught.value)
    assert server.heard == []


def test_token_that_the_server_repeats_is_not_told(server: Pretender) -> None:
    said = Answer({"message": f"no {TOKEN}"}, status=500)
    with pytest.raises(OpaUnavailable) as caught:
        ask(server, said, token_env="OWN", environ={"OWN": TOKEN})
    assert "(not shown)" in str(caught.value)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_client_without_the_session_that_is_known_fails_closed(
    server: Pretender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpaClient, "_init_session", lambda _self: None)
    with pytest.raises(OpaUnavailable, match=r"opa-python-client 3\.0\.0 keeps its session otherwise") as caught:
        SidecarEvaluator(server.url)
    assert "pip install 'flowyml-policy[sidecar]'" in caught.value.advice
    assert server.heard == []


def test_client_that_is_not_installed_fails_closed(server: Pretender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opa_client.opa", None)
    with pytest.raises(OpaUnavailable, match="needs opa-python-client") as caught:
        SidecarEvaluator(server.url)
    assert caught.value.advice == "pip install 'flowyml-policy[sidecar]'"
    assert caught.value.exit_code == 3


# A real server, with TLS and a token.

AUTHORIZATION = """\
package system.authz

default allow := false

allow if input.identity == "%s"
"""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secured(tmp_path: Path, authority: trustme.CA) -> Iterator[OpaServer]:
    """A server that is asked over TLS only, with the token only."""
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "authz.rego").write_text(AUTHORIZATION % TOKEN)
    archive = built("flowyml", write(tmp_path / "policy", policy()), tmp_path)
    arguments = [
        *("--authentication=token", "--authorization=basic"),
        *("--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-private-key-file", str(tmp_path / "key.pem")),
        str(tmp_path / "authz.rego"),
    ]
    config = {"bundles": {"flowyml": {"resource": archive.as_uri()}}}
    with OpaServer(config, tmp_path, arguments, scheme="https") as server:
        yield server.await_listening()


def test_server_with_tls_and_token_judges(secured: OpaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reach = {"ca": tmp_path / "ca.pem", "start_timeout": 30.0}
    with SidecarEvaluator(secured.url, token_env="OWN", environ={"OWN": TOKEN}, **reach) as evaluator:  # type: ignore[arg-type]
        assert evaluator.evaluate(document()).allowed
    with pytest.raises(OpaUnavailable, match="refuses this caller"):
        SidecarEvaluator(secured.url, token_env="OWN", environ={"OWN": "another"}, **reach)  # type: ignore[arg-type]
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "ca.pem"))
    with pytest.raises(OpaUnavailable, match=r"is not trusted: .*CERTIFICATE_VERIFY_FAILED"):
        SidecarEvaluator(secured.url, token_env="OWN", environ={"OWN": TOKEN}, start_timeout=5)
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(OpaUnavailable, match="cannot be read"):
        SidecarEvaluator(secured.url, ca=tmp_path / "empty.pem")


FORKED = """\
import os, sys
from tests.contract.conftest import document
from flowyml_policy.opa.sidecar import SidecarEvaluator

evaluator = SidecarEvaluator(sys.argv[1])
said = evaluator.evaluate(document())
child = os.fork()
if child == 0:
    assert evaluator.evaluate(document()) == said
    evaluator.close()
    os._exit(0)
_, status = os.waitpid(child, 0)
assert evaluator.evaluate(document()) == said
print("child", os.waitstatus_to_exitcode(status))
"""


def test_forked_child_asks_over_a_connection_of_its_own(server: Pretender) -> None:
    server.answers[DECISION] = Answer(answer())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, server.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ},
    )
    assert (done.stdout, done.stderr, done.returncode) == ("child 0\n", "", 0)


@pytest.mark.parametrize(
    ("demanded", "is_met"), [({"flowyml": "f1"}, True), ({"flowyml": "f9"}, False), ({"org": "f1"}, False)]
)
def test_revision_that_is_demanded_holds_or_fails_closed(
    server: Pretender, demanded: dict[str, str], *, is_met: bool
) -> None:
    if is_met:
        assert ask(server, Answer(answer()), require_revision=demanded)[0].allowed
        return
    with pytest.raises(OpaAnswerInvalid, match=r"at revision f1, and .* demands f9|without the bundle org"):
        ask(server, Answer(answer()), require_revision=demanded)


# Signed bundles, of which an older one is signed as well. OPA itself knows no sequence, and activates it.


def about(revision: str, **metadata: Any) -> dict[str, Answer]:
    """What a server says whose bundle has this revision: by path, its answers about itself and to a stack."""
    bundles = {"bundles": {"flowyml": {"revision": revision}}}
    manifest = {"revision": revision, "roots": ["flowyml"], "metadata": metadata}
    return {
        "/v1/data/system/bundles": Answer(answer({"flowyml": {"manifest": manifest}}, **bundles)),
        DECISION: Answer(answer(**bundles)),
    }


@pytest.mark.parametrize(("again", "said"), [({"sequence": 1}, "sequence 1"), ({}, "no sequence")])
def test_bundle_that_goes_back_fails_closed(
    server: Pretender, tmp_path: Path, again: dict[str, int], said: str
) -> None:
    """Also where its revision decided before, for another process of this user, and until there is a newer one."""
    reason = f"bundle 'flowyml' of revision f1 has {said}, and one of sequence 2 was seen before: {server.url}"
    sequences = FileSequences(tmp_path)
    server.answers |= about("f1", sequence=1)
    with SidecarEvaluator(server.url, sequences=sequences) as evaluator:
        for revision, sequence in (("f1", 1), ("f2", 2)):
            server.answers |= about(revision, sequence=sequence)
            assert evaluator.judge(document())[1].bundles == {"flowyml": revision}
        server.answers |= about("f1", **again)
        for _ in range(2):
            with pytest.raises(PolicyRolledBack, match=reason):
                evaluator.judge(document())
        with pytest.raises(PolicyRolledBack, match=reason):
            SidecarEvaluator(server.url, sequences=sequences)
        server.answers |= about("f1", sequence=3)
        assert evaluator.judge(document())[1].bundles == {"flowyml": "f1"}
    with SidecarEvaluator(server.url) as evaluator:  # where no signature is demanded, no sequence is worth anything
        server.answers |= about("f1", sequence=1)
        assert evaluator.evaluate(document()).allowed


def test_sequences_that_cannot_be_kept_fail_closed(server: Pretender, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    server.answers |= about("f1", sequence=1)
    with pytest.raises(OpaUnavailable, match=r"sequences? of"):
        SidecarEvaluator(server.url, sequences=FileSequences(tmp_path / "file"))
