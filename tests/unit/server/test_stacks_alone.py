"""The company's stack registry without HTTP: listings by parts, time that is over, a server that is killed."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.decision.verification import verify_project
from flowyml_policy.records.events import StackApplied
from flowyml_policy.records.registry import NewStack
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.server.exchange import Call, Refused
from flowyml_policy.server.stacks import Stacks
from tests.forked import forking
from tests.registrations import RULE, body_of, configured, document, put

# pages


def new_stack(name: str, version: str) -> NewStack:
    return NewStack.model_validate(body_of(document(name, version)))


def test_listing_comes_in_parts_that_others_may_change_meanwhile(tmp_path: Path) -> None:
    configuration = configured(tmp_path)
    with closing(Stacks(configuration, print, page=2)) as stacks, LocalRegistry(configuration.database) as registry:
        assert ask(stacks, "/v1/stacks") == {"stacks": [], "next": None}
        for name, version in (("a", "1.0.0"), ("a", "1.10.0"), ("a", "1.9.0"), ("b", "1.0.0"), ("c", "1.0.0-rc.1")):
            registry.put(new_stack(name, version))
        seen = []
        after: tuple[tuple[str, str], ...] = ()
        while True:
            page = ask(stacks, "/v1/stacks", ("all_versions", "true"), *after)
            seen.append([(one["name"], one["version"]) for one in page["stacks"]])
            if page["next"] is None:
                break
            after = (("after", page["next"]),)
            if len(seen) == 1:
                registry.put(new_stack("0", "1.0.0"))
                registry.put(new_stack("b", "0.1.0"))
        assert seen == [
            [("a", "1.10.0"), ("a", "1.9.0")],
            [("a", "1.0.0"), ("b", "1.0.0")],
            [("b", "0.1.0"), ("c", "1.0.0-rc.1")],
        ]
        page = ask(stacks, "/v1/stacks", ("name", "?"), ("label", "team=ml"))
        assert [(one["name"], one["version"]) for one in page["stacks"]] == [("0", "1.0.0"), ("a", "1.10.0")]
        assert page["next"] == "a@1.10.0"
        assert ask(stacks, "/v1/stacks", ("label", "team=other")) == {"stacks": [], "next": None}


def ask(stacks: Stacks, path: str, *query: tuple[str, str]) -> Any:
    handle = next(one.handle for one in stacks.operations() if (one.method, one.path) == ("GET", path))
    return json.loads(handle(Call(query=query)).body)


# time, and kills


def test_requests_end_in_time_and_register_nothing_later(tmp_path: Path) -> None:
    """Several wait for a rule that does not end; each is told to come again, and none is registered afterwards."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "probe.rego").write_text(RULE)
    configuration = configured(tmp_path, policy={"rules": ["rules"], "opa": {"deadline": "500ms"}})

    def asked(name: str) -> tuple[str, bool]:
        began = time.monotonic()
        with pytest.raises(Refused) as caught:
            put(stacks, body_of(document(name)))
        return caught.value.code, time.monotonic() - began < 4

    with closing(Stacks(configuration, print, seconds=1.0)) as stacks:
        stacks.start()
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(asked, ["endless-1", "endless-2", "endless-3", "endless-4"]))
        assert set(found) == {("stack_undecided", True)}
        with pytest.raises(Refused, match="in time"):
            put(stacks, body_of(document("late")), began=time.monotonic() - 60)
    assert LocalRegistry(configuration.database).list() == ()


KILLED: Final = """\
import os, signal, sys
from pathlib import Path
from flowyml_policy.records.server import Token
from flowyml_policy.server.configuration import read_configuration
from flowyml_policy.server.exchange import Call
from flowyml_policy.server.stacks import Stacks

step, body = sys.argv[1:]


class Killed:
    def __init__(self, recorded):
        self.recorded = recorded

    def put(self, *args, **kwargs):
        if step == "decided":
            os.kill(os.getpid(), signal.SIGKILL)
        self.recorded.put(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)


stacks = Stacks(read_configuration(Path("server.yaml"), {}), print)
stacks.start()
stacks._recorded = Killed(stacks._recorded)
handle = next(one.handle for one in stacks.operations() if one.method == "PUT")
token = Token(1, "ada", "", (), "", None, None)
names = {"name": "killed", "version": "1.0.0"}
handle(Call(names=names, headers={"content-type": "application/json"}, body=body.encode(), token=token))
"""


@pytest.mark.parametrize(("step", "outcomes", "status"), [("decided", 2, 201), ("registered", 1, 200)])
def test_server_killed_in_a_request_answers_it_rightly_afterwards(
    tmp_path: Path, step: str, outcomes: int, status: int
) -> None:
    configuration = configured(tmp_path)
    body = json.dumps(body_of(document("killed")))
    assert forking().run(KILLED, [step, body], folder=tmp_path, environ=os.environ)[0] == -9
    with closing(Stacks(configuration, print)) as stacks:
        stacks.start()
        assert put(stacks, json.loads(body)).status == status
    with AuditStore(configuration.database) as audit:
        assert [one.outcome for one in audit.decisions()] == ["allow"] * outcomes
        assert len(audit.get_events(type=StackApplied.TYPE)) == 1
        assert verify_project(audit, in_one_file=True).problem is None
