"""Policy inputs as anybody might write them: those of samples and stacks, changed at random, and what is none at all.

Everything is made anew the same in every run.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from flowyml_policy.decision.engine import PolicyEngine
from flowyml_policy.opa.embedded import EmbeddedEvaluator
from flowyml_policy.records.policy_input import PolicyInput
from flowyml_policy.records.result import DecisionRecord
from flowyml_policy.settings.loading import load_settings
from flowyml_policy.system.actor import current_actor

ROOT: Final = Path(__file__).parents[2]
POLICY: Final = ROOT / "rego" / "flowyml"
INPUT: Final = (POLICY / "main" / "samples" / "input.json").read_text("utf-8")
SAMPLES: Final = sorted(path for path in POLICY.rglob("samples/*.json") if path.name != "input.json")

PER_EXAMPLE: Final = 20
"""Inputs that are made of one example of hypothesis, whose own choices take longer than to judge an input."""

NONE_AT_ALL: Final = tuple(
    text.encode()
    for text in (
        *("null", "true", "false", "0", "-0", "1.5", "1e400", "123456789012345678901234567890", '""', '"x"', "[]"),
        *("{}", "[[]]", "[{}]", '{"": null}', '{"schema_version": 1}', '{"schema_version": 1.0}', '{"stack": {}}'),
        *('{"input": {}}', '{"globs": ["["]}', '{"globs": 7}', f'"{"x" * 70_000}"', "[" * 500 + "]" * 500),
        *('{"schema_version": 1, "stack": null}', '"\\u0000\\ud83d\\ude00"', "  \n{ }\t"),
    )
)
"""JSON that is no policy input."""

NO_JSON: Final = (
    *(b"", b" ", b"{", b"NaN", b"{} {}", b"a: 1", b"[1,]", b"01", b"\xff", b'"\x01"', b'"\\u12"', b"[" * 20_000),
    *(
        b'{"a": 1, "a": 2}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b"\xef\xbb\xbf{}",
        b'1, "input": {}',
        "{}".encode("utf-16"),
    ),
)
"""Texts that are no JSON, or not the same JSON to everybody."""

_NUMBER: Final = "<number %s>"
_NUMBERS: Final = [
    _NUMBER % text
    for text in (
        *("0", "-0", "1", "-1", "1.0", "1e0", "10E-1", "0.1", "1e2", "1E+400", "-1e-400", "9007199254740993"),
        *("9223372036854775807", "9223372036854775808", "1" + "0" * 40, "3.141592653589793238462643383279"),
    )
]
"""Numbers as they stand in a text, which no value of Python's would keep."""

_TEXTS: Final = [
    *("", " ", "*", "[", "{a", "[a-z0-9]", "a,b", "latest", "root", "0", "0:0", "1000", "sha256:", "%d"),
    *(
        "%!s(MISSING)",
        "\x00",
        "\u2028",
        "\U0001f600",
        "e\u0301",
        "\u202eabc",
        "\ufeff",
        "İ",
        "ﬀ",
        '"',
        "\\",
        "a\nb",
        "</script>",
    ),
    *("1.2.3", "01.2.3", "v1.2", "1.0.0-rc.1+b", "9" * 400 + ".0.0", "x" * 3000, "docker.io", "evil.gcr.io", "a/b:c"),
    *("2026-02-30T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9+23:59", "2300-01-01T00:00:00Z", "30d"),
    *("advisory", "soft", "hard", "disabled", "critical", "high", "unknown", "invalid", "keyless", "layers", "claim"),
]

JUNK: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
).map(json.dumps)


def changed(values: Mapping[str, Any]) -> PolicyInput:
    """The input of a sample: the one that all of them change, with these values by their paths."""
    document: dict[str, Any] = json.loads(INPUT)
    for path, value in values.items():
        place: Any = document
        *parents, last = (int(key) if key.isdigit() else key for key in path.split("/"))
        for key in parents:
            place = place[key]
        place[last] = value
    return PolicyInput.model_validate_json(json.dumps(document))


def of_samples() -> Iterator[bytes]:
    """The input of every sample."""
    for sample in SAMPLES:
        yield changed(json.loads(sample.read_text("utf-8"))["changes"]).encoded


_SELDOM_READ: Final = (("stack", "document"), ("stack", "spec"))
"""Large parts of an input of which rules read little."""

_EVERYWHERE: Final = 0.15
_ESCAPED: Final = 0.5
_TAKEN_OUT: Final = 0.07
_ADDED: Final = 0.12
_OF_ANOTHER: Final = 0.35
_JUNK: Final = 0.48
"""How often something is done; where two are asked of one number, up to which."""


class _Inputs:
    """A recorder that keeps the inputs of what was judged."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def record(self, records: Sequence[DecisionRecord]) -> None:
        self.kept += [record.input for record in records if record.input is not None]


def of_stacks(folders: Sequence[Path]) -> list[bytes]:
    """The input of every stack below `folders` that comes so far, as the project at the root makes it."""
    recorder = _Inputs()
    named = load_settings(project=ROOT, environ={})
    evaluator = EmbeddedEvaluator()
    with PolicyEngine(named, evaluator=evaluator, recorder=recorder, actor=current_actor({}), environ={}) as engine:
        for environment in (None, "production", "staging"):
            for _ in engine.validate([str(folder) for folder in folders], environment=environment):
                pass
    return recorder.kept


def generate(count: int, number: int, known: Sequence[bytes]) -> list[bytes]:
    """`count` inputs that are changed ones of `known`; other ones for another `number`."""
    maker, chance = _Maker([json.loads(one) for one in known]), Random(number)
    examples = 2 + count // PER_EXAMPLE
    made: dict[bytes, None] = {}

    @seed(number)
    @settings(max_examples=examples, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(st.lists(JUNK, min_size=4, max_size=8))
    def make(junk: list[str]) -> None:
        for _ in range(min(PER_EXAMPLE, count - len(made))):
            made[maker.make(chance, junk)] = None

    make()
    return list(made)


class _Maker:
    """Changes inputs at random, by what stands in others and by what stands in none."""

    def __init__(self, known: Sequence[Any]) -> None:
        self._texts = [json.dumps(one) for one in known]
        self._by_key: dict[str, list[str]] = defaultdict(list)
        for one in known:
            self._collect(one)

    def make(self, chance: Random, junk: Sequence[str]) -> bytes:
        """One input, with one change to three."""
        document = json.loads(chance.choice(self._texts))
        for _ in range(chance.randint(1, 3)):
            everywhere = chance.random() < _EVERYWHERE
            places = [
                (place, key) for path, place, key in _places(document) if everywhere or path[:2] not in _SELDOM_READ
            ]
            self._change(*chance.choice(places), chance, junk)
        text = json.dumps(document, ensure_ascii=chance.random() < _ESCAPED)
        return re.sub(r'"<number ([^>]*)>"', r"\1", text).encode()

    def _change(self, place: Any, key: Any, chance: Random, junk: Sequence[str]) -> None:
        """Change what stands at a key of `place`."""
        what = chance.random()
        if what < _TAKEN_OUT:
            del place[key]
        elif what < _ADDED:
            _add(place, chance, json.loads(chance.choice(junk)))
        else:
            place[key] = self._other(key, place[key], chance, junk)

    def _other(self, key: Any, value: Any, chance: Random, junk: Sequence[str]) -> Any:
        """Another value: mostly of the same type, so that rules are asked and not only the shape of the input."""
        kind = chance.random()
        if kind < _OF_ANOTHER and self._by_key.get(key):
            return json.loads(chance.choice(self._by_key[key]))
        if kind < _JUNK:
            return json.loads(chance.choice(["null", *junk]))
        if isinstance(value, bool):
            return not value
        if isinstance(value, list):
            return chance.choice([[], value * 2, value[::-1], [*value, chance.choice(_TEXTS)], [*value, None]])
        others = {str: _TEXTS, int: _NUMBERS, float: _NUMBERS}.get(type(value))
        return chance.choice(others) if others else {}

    def _collect(self, value: Any) -> None:
        """Keep by its key what stands below `value`."""
        for key in _keys(value):
            if isinstance(key, str):
                text = json.dumps(value[key])
                if text not in self._by_key[key]:
                    self._by_key[key].append(text)
            self._collect(value[key])


def _places(value: Any, *path: Any) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """Every place below `value`: its path, what it stands in, and its key there."""
    for key in _keys(value):
        yield (*path, key), value, key
        yield from _places(value[key], *path, key)


def _add(place: Any, chance: Random, value: Any) -> None:
    if isinstance(place, dict):
        place[chance.choice(_TEXTS)] = value
    elif isinstance(place, list):
        place.append(value)


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    return list(range(len(value))) if isinstance(value, list) else []
