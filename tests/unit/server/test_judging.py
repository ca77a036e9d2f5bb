"""By what the server judges stacks: settings that no server can have, and policy that cannot be loaded for now."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from flowyml_policy.errors.opa import OpaStartFailed, OpaUnavailable, PolicyInvalid
from flowyml_policy.errors.settings import FeatureUnavailable, SettingsInvalid
from flowyml_policy.records.protocols import Evaluator
from flowyml_policy.server.exchange import Refused
from flowyml_policy.server.judging import ReloadedEvaluator
from flowyml_policy.server.stacks import Stacks
from tests.forked import forking
from tests.registrations import body_of, configured, document, put

SCRIPT: Final = "from flowyml_policy.cli import script; script()"


@pytest.mark.parametrize(
    ("policy", "what"),
    [
        ({"registry": {"url": "https://x.example"}}, r"`policy\.registry\.url` is not the server's to set"),
        ({"audit": {"path": "x.db"}}, r"`policy\.audit\.path` is not the server's to set"),
        ({"opa": {"mode": "sidecar"}}, r"`policy\.opa\.mode` is not for the server"),
        ({"images": {"inspect": "daemon"}}, r"`policy\.images\.inspect` is not for the server"),
        ({"rules": ["nowhere"]}, r"`policy\.rules\[0\]` names nothing that exists"),
    ],
)
def test_settings_that_no_server_can_have_are_told_with_their_place(
    tmp_path: Path, policy: dict[str, Any], what: str
) -> None:
    with pytest.raises(SettingsInvalid, match=what) as caught:
        configured(tmp_path, policy=policy)
    assert "server.yaml:1:" in str(caught.value)


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        ({"opa": {"config": {"nonsense": 1}}}, SettingsInvalid),
        ({"opa": {"config": {"bundles": {}}}}, PolicyInvalid),
        (
            {"opa": {"config": {"bundles": {"flowyml": {"resource": "shipped"}}, "decision_logs": {}}}},
            FeatureUnavailable,
        ),
        ({"waivers": "waivers.yaml"}, FeatureUnavailable),
    ],
)
def test_registry_does_not_start_on_settings_that_are_wrong(
    tmp_path: Path, policy: dict[str, Any], error: type[Exception]
) -> None:
    with closing(Stacks(configured(tmp_path, policy=policy), print)) as stacks, pytest.raises(error):
        stacks.start()


def test_server_that_cannot_judge_by_its_settings_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "waivers.yaml").write_text("[]\n")
    configured(tmp_path)
    code, _, stderr = forking().run(SCRIPT, ["server", "run"], folder=tmp_path, environ=os.environ)
    assert (code, b"asks for waivers" in stderr) == (3, True)


def test_policy_that_does_not_load_leaves_stacks_undecided(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "x.rego").write_text("package project.rules.x\n\nfindings contains")
    told: list[str] = []
    sent = body_of(document("unjudged"))
    with closing(Stacks(configured(tmp_path, policy={"rules": ["rules"]}), told.append)) as stacks:
        stacks.start()
        with pytest.raises(Refused, match="opa_unavailable") as caught:
            put(stacks, sent)
        assert not stacks.can_judge
    assert (caught.value.status, caught.value.headers) == (503, {"retry-after": "5"})
    assert len(told) == 1
    assert told[0].startswith("stacks: no stack can be judged: ")


class Loaded:
    """An evaluator in memory, which dies when it is told to."""

    def __init__(self) -> None:
        self.closed = 0
        self.fault: Exception | None = None

    def query(self, path: str, document: Any) -> Any:
        if self.fault is not None:
            raise self.fault
        return [path, document]

    def close(self) -> None:
        self.closed += 1


def test_policy_is_loaded_again_when_it_can_be() -> None:
    first, second = Loaded(), Loaded()
    coming: list[Any] = [OpaStartFailed("no bundle yet"), first, second]
    told: list[str] = []

    def load() -> Evaluator:
        found = coming.pop(0)
        if isinstance(found, Exception):
            raise found
        evaluator: Evaluator = found
        return evaluator

    evaluator = ReloadedEvaluator(load, told.append, pause=0)
    evaluator.start()
    while evaluator.failure is None:
        time.sleep(0.01)
    assert evaluator.query("a", 1) == ["a", 1]
    first.fault = OpaUnavailable("it was stopped")
    with pytest.raises(OpaUnavailable, match="it was stopped"):
        evaluator.query("a", 1)
    assert first.closed == 1
    assert evaluator.query("b", 2) == ["b", 2]
    assert [line.split(";")[0] for line in told] == [
        "stacks: no stack can be judged: no bundle yet",
        "stacks: the policy is loaded again",
        "stacks: no stack can be judged: it was stopped",
        "stacks: the policy is loaded again",
    ]
    evaluator.close()
    evaluator.close()
    assert second.closed == 1
    with pytest.raises(OpaUnavailable, match="closed"):
        evaluator.query("b", 2)
