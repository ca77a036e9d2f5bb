"""flowyml.lock: one text for equal pins, whole or not at all, and never read for less than it says."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.errors.lockfile import (
    LockfileForeign,
    LockfileInvalid,
    LockfileTooNew,
    LockfileUnreadable,
    LockfileUnwritable,
    StackDrifted,
    StackNotPinned,
)
from flowyml_policy.errors.root import FlowymlPolicyError
from flowyml_policy.records.pins import StackPin
from flowyml_policy.records.policy_input import LockFacts
from flowyml_policy.resolution.lockfile import Lockfile, read_lockfile, write_lockfile
from flowyml_policy.resolution.pins import ProjectPins

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
COMMIT = "c" * 40

GPU = StackPin(
    name="prod-gpu",
    version="2.1.0",
    definition=A,
    kind="github",
    uri="https://github.com/my-org/ml-stacks.git",
    ref="v2.1.0",
    full_ref="refs/tags/v2.1.0",
    commit=COMMIT,
    images={"z.io/x:1": None, "a.io/y@" + B: B},
)
LOCAL = StackPin(name="local", definition=B, kind="builtin", uri="builtin:local")
LOCKFILE = Lockfile(
    bundles={"flowyml": "0.1.0+1", "acme": "7"},
    environments={"production": "prod", "dev": "local"},
    stacks={"prod": GPU, "local": LOCAL},
)
TEXT = f"""\
# What `flowyml-policy stack lock` pinned. Commit this file; do not edit it.
lockfile: flowyml-policy
version: 2
bundles:
  acme: "7"
  flowyml: 0.1.0+1
environments:
  dev: local
  production: prod
stacks:
  local:
    name: local
    version: null
    definition: {B}
    kind: builtin
    uri: builtin:local
    ref: null
    full_ref: null
    commit: null
    images: {{}}
  prod:
    name: prod-gpu
    version: 2.1.0
    definition: {A}
    kind: github
    uri: https://github.com/my-org/ml-stacks.git
    ref: v2.1.0
    full_ref: refs/tags/v2.1.0
    commit: {COMMIT}
    images:
      a.io/y@{B}: {B}
      z.io/x:1: null
"""
OLD = "".join(line for line in TEXT.splitlines(keepends=True) if "full_ref" not in line).replace(
    "version: 2\n", "version: 1\n", 1
)
FLOWYML = """\
apiVersion: flowyml.io/v1
kind: StackLock
project: default
resolvedStacks: {prod: {source: local, digest: "sha256:00", resolvedAt: "2026-01-01T00:00:00"}}
runtime: {}
policies: {}
"""

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
DIGESTS = st.sampled_from([A, B])
PINS = st.builds(
    StackPin,
    name=NAMES,
    version=st.none() | NAMES,
    definition=DIGESTS,
    kind=st.sampled_from(["local", "git", "http"]),
    uri=NAMES,
    ref=st.none() | NAMES,
    full_ref=st.none() | NAMES,
    commit=st.none() | st.just(COMMIT),
    images=st.dictionaries(NAMES, st.none() | DIGESTS, max_size=3),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flowyml.lock"


def pins(path: Path, **environments: str) -> ProjectPins:
    return ProjectPins(path, environments or {"production": "prod", "dev": "local"})


def test_write_puts_one_value_on_a_line_in_order_and_reads_back(path: Path) -> None:
    assert write_lockfile(path, LOCKFILE)
    assert path.read_text() == TEXT
    assert read_lockfile(path) == LOCKFILE


def test_write_of_the_same_leaves_the_file_alone(path: Path) -> None:
    write_lockfile(path, LOCKFILE)
    before = path.stat()
    assert not write_lockfile(path, LOCKFILE)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_write_of_one_change_differs_in_its_lines_alone() -> None:
    moved = LOCKFILE.model_copy(update={"stacks": {"prod": GPU.model_copy(update={"definition": B}), "local": LOCAL}})
    lines = zip(LOCKFILE.as_text().splitlines(), moved.as_text().splitlines(), strict=True)
    assert [pair for pair in lines if pair[0] != pair[1]] == [(f"    definition: {A}", f"    definition: {B}")]


@given(st.dictionaries(NAMES, PINS, max_size=4), st.dictionaries(NAMES, NAMES, max_size=2))
def test_written_lockfile_is_read_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, stacks: dict[str, StackPin], bundles: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("lock") / "flowyml.lock"
    lockfile = Lockfile(
        bundles=bundles, environments=dict.fromkeys(bundles, next(iter(stacks))) if stacks else {}, stacks=stacks
    )
    try:
        write_lockfile(path, lockfile)
    except LockfileUnwritable:
        assert not path.exists()
    else:
        assert read_lockfile(path) == lockfile


def test_lockfile_of_version_1_is_read_and_written_as_version_2_with_a_line_more_a_stack(path: Path) -> None:
    path.write_text(OLD)
    old = read_lockfile(path)
    assert old is not None
    assert (old.version, old.stacks["prod"]) == (1, GPU.model_copy(update={"full_ref": None}))
    assert write_lockfile(path, LOCKFILE)
    added = [line for line in TEXT.splitlines() if line not in OLD.splitlines()]
    assert added == ["version: 2", "    full_ref: null", "    full_ref: refs/tags/v2.1.0"]


def test_write_keeps_mode_and_link(tmp_path: Path, path: Path) -> None:
    real = tmp_path / "elsewhere.lock"
    real.write_text(TEXT)
    real.chmod(0o640)
    path.symlink_to(real)
    assert write_lockfile(path, LOCKFILE.model_copy(update={"bundles": {}}))
    assert path.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert read_lockfile(real) == LOCKFILE.model_copy(update={"bundles": {}})
    assert sorted(one.name for one in tmp_path.iterdir()) == ["elsewhere.lock", "flowyml.lock"]


def test_write_where_nothing_can_be_written_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(LockfileUnwritable, match="the lockfile cannot be written"):
        write_lockfile(tmp_path / "absent" / "flowyml.lock", LOCKFILE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (FLOWYML, LockfileForeign),
        ("kind: StackLock\nbroken: [", LockfileForeign),
        (TEXT.replace("version: 2", "version: 3", 1), LockfileTooNew),
        ("name: something else\n", LockfileInvalid),
        ("- 1\n", LockfileInvalid),
        ("", LockfileInvalid),
    ],
    ids=["flowyml", "flowyml, broken", "newer", "another file", "a list", "empty"],
)
def test_write_over_what_is_not_ours_leaves_it(path: Path, text: str, error: type[FlowymlPolicyError]) -> None:
    path.write_text(text)
    with pytest.raises(error):
        write_lockfile(path, LOCKFILE)
    assert path.read_text() == text


def test_write_over_a_damaged_lockfile_replaces_it(path: Path) -> None:
    path.write_text(TEXT.replace("bundles:", "<<<<<<< ours\nbundles:"))
    with pytest.raises(LockfileInvalid):
        read_lockfile(path)
    assert write_lockfile(path, LOCKFILE)
    assert path.read_text() == TEXT


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (f"    definition: {A}\n", "", "stacks.prod.definition: Field required"),
        ("    ref: v2.1.0\n", "    ref: 3\n", "stacks.prod.ref: Input should be a valid string"),
        ("version: 2\n", "version: 0\n", "version: Input should be 1 or 2"),
        ("version: 2\n", "version: 2\nmore: 1\n", "more: Extra inputs are not permitted"),
        ("production: prod", "production: prodd", "stacks has no 'prodd'"),
        ("lockfile: flowyml-policy\n", "", "the file is no lockfile"),
        ("kind: github", "kind: github\n    kind: git", "kind"),
    ],
)
def test_read_of_an_edited_lockfile_fails_closed(path: Path, old: str, new: str, said: str) -> None:
    assert TEXT.count(old) == 1
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(LockfileInvalid) as caught:
        read_lockfile(path)
    assert said in caught.value.message
    with pytest.raises(LockfileInvalid):
        pins(path).facts(reference=None, name="prod-gpu", definition=A, commit=COMMIT)


def test_read_of_a_folder_fails_closed(path: Path) -> None:
    path.mkdir()
    with pytest.raises(LockfileUnreadable):
        read_lockfile(path)


def test_read_without_a_file_is_nothing(path: Path) -> None:
    assert read_lockfile(path) is None
    assert pins(path).facts(reference=None, name="prod-gpu", definition=A, commit=COMMIT) is None
    assert pins(path).pin_of("prod") is None
    assert pins(path).pins_at(GPU.uri) == ()


def test_flowymls_own_lockfile_is_explained_and_pins_nothing(path: Path) -> None:
    path.write_text(FLOWYML)
    assert pins(path).facts(reference=None, name="prod", definition=A, commit=None) is None
    with pytest.raises(LockfileForeign) as caught:
        pins(path).require(environment="production", reference=None, name="prod", definition=A, commit=None)
    assert caught.value.message == f"the file is a lockfile of FlowyML itself, not of flowyml-policy: {path}"
    assert caught.value.exit_code == 3


@pytest.fixture
def pinned(path: Path) -> ProjectPins:
    write_lockfile(path, LOCKFILE)
    return pins(path)


FACTS = LockFacts(
    commit=COMMIT, definition_digest=A, images={"a.io/y@" + B: B}, bundles={"acme": "7", "flowyml": "0.1.0+1"}
)


@pytest.mark.parametrize("reference", ["prod", None, "prod-gpu"])
def test_pins_are_found_by_reference_and_by_name(pinned: ProjectPins, reference: str | None) -> None:
    assert pinned.facts(reference=reference, name="prod-gpu", definition=A, commit=COMMIT) == FACTS
    assert (
        pinned.require(environment="production", reference=reference, name="prod-gpu", definition=A, commit=COMMIT)
        == FACTS
    )
    assert (pinned.pin_of("prod"), pinned.pin_of("prod-gpu")) == (GPU, None)


@pytest.mark.parametrize(
    ("reference", "name", "definition", "commit"),
    [
        ("prod", "prod-gpu", B, COMMIT),
        (None, "prod-gpu", B, COMMIT),
        ("prod", "prod-gpu", A, "d" * 40),
        ("prod", "prod-gpu", A, None),
        ("prod", "other", A, COMMIT),
    ],
)
def test_facts_of_another_definition_than_the_pinned_one_are_none(
    pinned: ProjectPins, reference: str | None, name: str, definition: str, commit: str | None
) -> None:
    assert pinned.facts(reference=reference, name=name, definition=definition, commit=commit) is None


def test_facts_are_of_the_pin_that_fits_among_those_of_a_name(path: Path) -> None:
    other = GPU.model_copy(update={"definition": B})
    write_lockfile(path, LOCKFILE.model_copy(update={"stacks": {"a": other, "prod": GPU, "local": LOCAL}}))
    assert pins(path).facts(reference=None, name="prod-gpu", definition=A, commit=COMMIT) == FACTS


@pytest.mark.parametrize("reference", [None, "canary", "prod"])
def test_require_takes_the_pin_of_what_the_environment_runs_on_and_no_other_fails_closed(
    path: Path, reference: str | None
) -> None:
    canary = GPU.model_copy(update={"definition": B})
    write_lockfile(path, LOCKFILE.model_copy(update={"stacks": {"canary": canary, "prod": GPU, "local": LOCAL}}))
    with pytest.raises(StackDrifted, match=f"was pinned as {A} and is {B} now"):
        pins(path).require(environment="production", reference=reference, name="prod-gpu", definition=B, commit=COMMIT)
    with pytest.raises(StackNotPinned, match="'local' is not"):
        pins(path).require(environment="production", reference="local", name="local", definition=B, commit=None)


def test_pins_at_a_place_are_those_that_were_read_there(pinned: ProjectPins) -> None:
    assert pinned.pins_at(GPU.uri) == (GPU,)
    assert pinned.pins_at("https://github.com/my-org/forks.git") == ()
    assert pinned.pins_at("file:///no%00path") == ()
    assert pinned.pins_at("stacks/gpu.yaml") == ()


@pytest.mark.parametrize("uri", ["https://github.com/My-Org/ML-stacks", "ssh://git@github.com/my-org/ml-stacks.git"])
def test_pins_at_a_repository_are_found_by_every_spelling_of_it(pinned: ProjectPins, uri: str) -> None:
    assert pinned.pins_at(uri) == (GPU,)


def test_pins_at_a_repository_leave_out_another_one_of_its_server(path: Path) -> None:
    there = GPU.model_copy(update={"uri": "https://git.example/ml/stacks", "kind": "git"})
    write_lockfile(path, LOCKFILE.model_copy(update={"stacks": {**LOCKFILE.stacks, "prod": there}}))
    assert pins(path).pins_at("https://git.example/teams/ml/stacks") == ()
    assert pins(path).pins_at("ssh://git@git.example/srv/ml/stacks.git") == (there,)


def test_pins_at_a_repository_leave_out_what_can_be_no_address_and_what_is_none(path: Path) -> None:
    odd = GPU.model_copy(update={"uri": "https://[github.com/my-org/ml-stacks.git"})
    file = GPU.model_copy(update={"kind": "http", "uri": "https://github.com/my-org/ml-stacks"})
    write_lockfile(
        path, LOCKFILE.model_copy(update={"stacks": {"odd": odd, "file": file, "prod": GPU, "local": LOCAL}})
    )
    assert pins(path).pins_at(GPU.uri) == (GPU,)
    assert pins(path).pins_at(odd.uri) == (odd,)


def test_require_of_a_stack_that_is_not_pinned_fails_closed(pinned: ProjectPins) -> None:
    with pytest.raises(StackNotPinned, match="'other' is not"):
        pinned.require(environment="production", reference=None, name="other", definition=A, commit=None)


@pytest.mark.parametrize(
    ("name", "definition", "commit", "said"),
    [
        ("prod-gpu", B, COMMIT, f"'prod-gpu' was pinned as {A} and is {B} now"),
        ("prod-gpu", A, "d" * 40, f"was pinned at commit {COMMIT} and comes from {'d' * 40} now"),
        ("prod-gpu", A, None, "comes from no repository now"),
        ("other", A, COMMIT, "stack 'prod-gpu' was pinned where 'other' is now"),
    ],
)
def test_require_of_a_stack_that_drifted_fails_closed(
    pinned: ProjectPins, name: str, definition: str, commit: str | None, said: str
) -> None:
    with pytest.raises(StackDrifted, match="takes pinned stacks only") as caught:
        pinned.require(environment="production", reference="prod", name=name, definition=definition, commit=commit)
    assert said in caught.value.message
    assert caught.value.exit_code == 3


def test_require_for_an_environment_that_moved_to_another_stack_fails_closed(path: Path) -> None:
    write_lockfile(path, LOCKFILE)
    with pytest.raises(StackDrifted, match="was pinned when it ran on 'prod', and runs on 'local' now"):
        pins(path, production="local").require(
            environment="production", reference="local", name="local", definition=B, commit=None
        )
    with pytest.raises(StackNotPinned, match="'staging' takes pinned stacks only, and has no pin"):
        pins(path, staging="local").require(
            environment="staging", reference="local", name="local", definition=B, commit=None
        )


def test_require_without_a_lockfile_fails_closed(path: Path) -> None:
    with pytest.raises(StackNotPinned, match="and nothing is"):
        pins(path).require(environment="production", reference=None, name="prod-gpu", definition=A, commit=COMMIT)
