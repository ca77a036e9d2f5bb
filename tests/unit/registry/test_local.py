"""The project's own registry: immutable versions, what a name means, and everything that can be wrong with its file."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from flowyml_policy.audit.store import AuditStore
from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.definitions.text import difference
from flowyml_policy.documents.canonical import canonical_digest
from flowyml_policy.errors.references import VersionMalformed
from flowyml_policy.errors.registry import (
    RegistryCorrupt,
    RegistryTooNew,
    RegistryUnreadable,
    RegistryUnwritable,
    StackUnknown,
    StackUnregistrable,
    VersionRetired,
    VersionTaken,
    VersionUnknown,
)
from flowyml_policy.mask.value import mask_value_report
from flowyml_policy.records.events import NewEvent, StackApplied
from flowyml_policy.records.policy_input import Source
from flowyml_policy.records.protocols import StackRegistry
from flowyml_policy.records.registry import (
    AlreadyThere,
    LastDecision,
    NewStack,
    Registered,
    RegisteredStack,
    Retirement,
)
from flowyml_policy.registry.local import LocalRegistry
from flowyml_policy.registry.registrable import new_stack
from flowyml_policy.registry.schema import MIGRATIONS, REGISTRY
from flowyml_policy.registry.versions import matches
from flowyml_policy.storage.database import Transaction
from flowyml_policy.storage.migrations import Migration
from flowyml_policy.storage.opening import open_for_writing

Make = Callable[..., NewStack]
PutAll = Callable[..., None]
LATER = "2026-12-01T00:00:00Z"


def registered(stack: NewStack) -> RegisteredStack:
    return RegisteredStack.model_validate(dict(stack))


def with_secret(stack: NewStack, **labels: str) -> NewStack:
    """`stack` as a caller could build it who never asked whether it may be registered."""
    document = {**stack.document, "metadata": {**stack.document["metadata"], "labels": labels}}
    return stack.model_copy(
        update={"document": document, "labels": labels, "digest": canonical_digest(document)},
    )


def named(listed: object) -> list[tuple[str, str]]:
    assert isinstance(listed, tuple)
    return [(one.name, one.version) for one in listed]


# what is put


def test_local_registry_is_a_stack_registry(registry: LocalRegistry, path: Path) -> None:
    as_protocol: StackRegistry = registry
    assert as_protocol.uri == str(path)


def test_put_new_version_is_registered_and_given_back(registry: LocalRegistry, stack: Make) -> None:
    new = stack("1.0.0", team="ml")
    assert registry.put(new) == Registered(stack=registered(new))
    assert registry.get("prod-gpu", "1.0.0") == registered(new)
    assert StackDefinition.from_dict(registry.get("prod-gpu").document).digest == new.digest


def test_put_same_content_again_is_already_there_with_what_was_said_first(registry: LocalRegistry, stack: Make) -> None:
    first = stack()
    registry.put(first)
    again = first.model_copy(update={"applied_by": "bob", "applied_at": LATER, "decision_id": "d-2"})
    assert registry.put(again) == AlreadyThere(stack=registered(first))


def test_put_other_content_under_a_version_is_refused_with_the_difference(registry: LocalRegistry, stack: Make) -> None:
    registry.put(stack(nodes=4))
    with pytest.raises(VersionTaken) as caught:
        registry.put(stack(nodes=8))
    assert caught.value.diff == (
        "--- prod-gpu@1.0.0 (registered by ada at 2026-11-23T10:00:00Z)\n"
        "+++ prod-gpu@1.0.0 (stacks/prod-gpu.yaml)\n"
        "@@ -7,4 +7,4 @@\n"
        " spec:\n"
        "   compute:\n"
        "     backend: local\n"
        "-    max_nodes: 4\n"
        "+    max_nodes: 8\n"
    )
    assert (caught.value.exit_code, caught.value.registered) == (1, registered(stack(nodes=4)))
    assert registry.get("prod-gpu") == registered(stack(nodes=4))


def test_put_definition_that_holds_secrets_is_refused_and_shows_none(registry: LocalRegistry, stack: Make) -> None:
    token = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"
    for new in (with_secret(stack(), api_key="hunter22hunter22", note=token), with_secret(stack(), **{token: "x"})):
        with pytest.raises(StackUnregistrable, match=r"metadata\.labels") as caught:
            registry.put(new)
        error = caught.value
        shown = f"{error} {error.message} {error.advice}"
        assert "hunter22" not in shown
        assert token not in shown
        assert error.exit_code == 1
        assert "spec.secrets" in error.advice
        with pytest.raises(StackUnknown):
            registry.get("prod-gpu")
    with pytest.raises(StackUnregistrable) as caught:
        registry.put(with_secret(stack(), api_key="hunter22hunter22", note=token))
    _, suspected = mask_value_report(with_secret(stack(), api_key="hunter22hunter22", note=token).document)
    found = [f"metadata.labels.{one.path[-1]} ({one.detector})" for one in suspected]
    assert len(found) == 2
    assert caught.value.message == f"stack 'prod-gpu' holds what looks like a secret: {', '.join(found)}"


def test_new_stack_that_holds_a_secret_is_refused(stack: Make) -> None:
    with pytest.raises(StackUnregistrable, match=r"metadata\.labels\.api_key"):
        stack(api_key="hunter22hunter22")


def test_difference_in_a_secret_that_an_older_release_registered_does_not_show_it(stack: Make) -> None:
    old, new = (with_secret(stack(), api_key=secret).document for secret in ("hunter22hunter22", "tr0ub4dor&3xkcd"))
    shown = difference(old, new, old_name="old", new_name="new")
    assert "hunter22" not in shown
    assert "tr0ub4dor" not in shown
    assert "(they differ in secrets, which are not shown, or in kinds of values)" in shown


def test_put_another_build_of_a_version_is_refused(registry: LocalRegistry, stack: Make) -> None:
    registry.put(stack("1.0.0+linux"))
    with pytest.raises(VersionTaken, match=re.escape("prod-gpu@1.0.0+linux is registered")):
        registry.put(stack("1.0.0+mac"))
    assert registry.get("prod-gpu", "1.0.0").version == "1.0.0+linux"
    with pytest.raises(VersionUnknown):
        registry.get("prod-gpu", "1.0.0+mac")


@pytest.mark.parametrize("name", ["local", "a b", "-x", "x\n", "é", "a/b", "a@b"])
def test_put_name_that_no_reference_can_mean_is_refused(name: str, stack: Make, path: Path) -> None:
    with pytest.raises(StackUnregistrable):
        stack("1.0.0", name)
    assert not path.exists()


@pytest.mark.parametrize("version", [None, "2.1", "latest", "", "v1.0.0"])
def test_new_stack_without_a_semantic_version_is_refused(version: str | None) -> None:
    metadata = {"name": "prod"} | ({} if version is None else {"version": version})
    value = {"apiVersion": "flowyml/v1", "kind": "StackDefinition", "metadata": metadata, "spec": {}}
    with pytest.raises(StackUnregistrable, match=re.escape("metadata.version")):
        new_stack(StackDefinition.from_dict(value), applied_by="ada", applied_at=LATER)


@pytest.mark.parametrize(
    "change", [{"digest": "sha256:" + "0" * 64}, {"name": "other"}, {"version": "2.0.0"}, {"labels": {"a": "b"}}]
)
def test_put_registration_that_is_not_its_document_fails_closed(
    registry: LocalRegistry, stack: Make, change: dict[str, object]
) -> None:
    with pytest.raises(StackUnregistrable, match="is not the definition"):
        registry.put(stack().model_copy(update=change))


def test_new_stack_secret_in_its_address_is_masked() -> None:
    metadata = {"name": "prod", "version": "1.0.0"}
    value = {"apiVersion": "flowyml/v1", "kind": "StackDefinition", "metadata": metadata, "spec": {}}
    source = Source(kind="git", uri="https://ada:hunter22hunter22@git.host/x")
    new = new_stack(StackDefinition.from_dict(value, source=source), applied_by="ada", applied_at=LATER)
    assert "hunter22" not in new.source.uri


# what a name means


def test_get_bare_name_is_the_highest_release(registry: LocalRegistry, put_all: PutAll) -> None:
    put_all("1.10.0", "1.9.0", "2.0.0-rc.1", "0.9.0")
    wanted = [None, "^1.9", "~1.9.0", "2.0.0-rc.1", "^2.0.0-rc.0", "^0.9"]
    expected = ["1.10.0", "1.10.0", "1.9.0", "2.0.0-rc.1", "2.0.0-rc.1", "0.9.0"]
    assert [registry.get("prod-gpu", one).version for one in wanted] == expected


def test_get_only_pre_releases_says_how_to_name_one(registry: LocalRegistry, put_all: PutAll) -> None:
    put_all("2.0.0-rc.1", "2.0.0-rc.2")
    with pytest.raises(VersionUnknown) as caught:
        registry.get("prod-gpu")
    assert caught.value.versions == ("2.0.0-rc.2", "2.0.0-rc.1")
    assert caught.value.advice == "name the pre-release that is meant: prod-gpu@2.0.0-rc.2"


def test_get_unknown_version_names_those_there_are(registry: LocalRegistry, put_all: PutAll) -> None:
    put_all("1.9.0", "1.10.0")
    with pytest.raises(VersionUnknown, match=re.escape("registered are 1.10.0, 1.9.0")):
        registry.get("prod-gpu", "^3")
    with pytest.raises(VersionUnknown, match=re.escape("has no version 1.9.1")):
        registry.get("prod-gpu", "1.9.1")


def test_get_unknown_name_shows_names_that_are_spelled_alike(registry: LocalRegistry, put_all: PutAll) -> None:
    put_all("1.0.0")
    with pytest.raises(StackUnknown) as caught:
        registry.get("prod-gpo")
    assert (caught.value.near, caught.value.advice) == (("prod-gpu",), "did you mean prod-gpu?")


@pytest.mark.parametrize("wanted", ["", "latest", ">=1", "2.1", "^"])
def test_get_malformed_version_is_an_error(registry: LocalRegistry, put_all: PutAll, wanted: str) -> None:
    put_all("2.1.0")
    with pytest.raises(VersionMalformed):
        registry.get("prod-gpu", wanted)


@pytest.mark.parametrize("name", ["\udcff", "x" * 100_000, "' OR 1=1 --", "\0", ""])
def test_get_odd_name_is_an_error_of_the_registry(registry: LocalRegistry, put_all: PutAll, name: str) -> None:
    put_all("1.0.0")
    with pytest.raises((StackUnknown, RegistryUnreadable)):
        registry.get(name)


# retiring


def test_retired_version_is_not_chosen_and_keeps_its_history(registry: LocalRegistry, put_all: PutAll) -> None:
    put_all("1.0.0", "1.1.0")
    retired = registry.retire("prod-gpu", "1.1.0", by="bob", at=LATER, reason="leaks")
    assert retired.retired == Retirement(at=LATER, by="bob", reason="leaks")
    assert [registry.get("prod-gpu", wanted).version for wanted in (None, "^1")] == ["1.0.0", "1.0.0"]
    with pytest.raises(VersionRetired) as caught:
        registry.get("prod-gpu", "1.1.0")
    assert str(caught.value) == (
        f"prod-gpu@1.1.0 was retired by bob at {LATER} (leaks): {registry.path}; use prod-gpu@1.0.0"
    )
    assert registry.get("prod-gpu", "1.1.0", retired=True) == retired
    assert [(one.version, one.retired_at) for one in registry.versions("prod-gpu")] == [
        ("1.1.0", LATER),
        ("1.0.0", None),
    ]
    assert named(registry.list()) == [("prod-gpu", "1.0.0")]


def test_retired_version_applied_again_is_refused(registry: LocalRegistry, stack: Make) -> None:
    registry.put(stack())
    registry.retire("prod-gpu", "1.0.0", by="bob", at=LATER)
    with pytest.raises(VersionRetired, match="register it under a new"):
        registry.put(stack())
    with pytest.raises(VersionTaken):
        registry.put(stack(nodes=9))
    with pytest.raises(VersionUnknown, match="every version of it was retired"):
        registry.get("prod-gpu")
    assert registry.list() == ()


def test_retire_twice_stays_as_it_was_said_first(registry: LocalRegistry, put_all: PutAll) -> None:
    put_all("1.0.0")
    first = registry.retire("prod-gpu", "1.0.0", by="bob", at=LATER, reason="a")
    assert registry.retire("prod-gpu", "1.0.0", by="eve", at="2027-01-01T00:00:00Z", reason="b") == first


def test_retire_what_is_not_there_is_an_error(registry: LocalRegistry, put_all: PutAll) -> None:
    put_all("1.0.0")
    for name, version, error in (
        ("prod-gpu", "2.0.0", VersionUnknown),
        ("staging", "1.0.0", StackUnknown),
        ("prod-gpu", "^1", VersionMalformed),
    ):
        with pytest.raises(error):
            registry.retire(name, version, by="bob", at=LATER)


# listing


def test_list_shows_what_each_bare_name_means(registry: LocalRegistry, put_all: PutAll, stack: Make) -> None:
    put_all("1.9.0", "1.10.0", "2.0.0-rc.1")
    put_all("0.1.0-a", "0.1.0-b", name="new")
    registry.put(stack("1.0.0", "staging", team="ml", approved="true"))
    assert named(registry.list()) == [("new", "0.1.0-b"), ("prod-gpu", "1.10.0"), ("staging", "1.0.0")]
    assert named(registry.list(name="prod-*", all_versions=True)) == [
        ("prod-gpu", "2.0.0-rc.1"),
        ("prod-gpu", "1.10.0"),
        ("prod-gpu", "1.9.0"),
    ]
    assert named(registry.list(labels={"team": "ml"})) == [("staging", "1.0.0")]
    assert named(registry.list(labels={"team": "ml", "approved": "false"})) == []
    assert named(registry.list(name="prod")) == []
    (one,) = registry.list(name="staging")
    document = stack("1.0.0", "staging", team="ml", approved="true").model_dump()
    del document["document"]
    assert one.model_dump() == document | {"retired": None, "last_decision": None}


def test_list_says_what_was_last_decided(path: Path, stack: Make) -> None:
    new = stack()
    decision = LastDecision(outcome="deny", at=LATER, decision_id="d-9")

    class Decided:
        def last_decisions(self, digests: object) -> dict[str, LastDecision]:
            assert digests == [new.digest]
            return {new.digest: decision}

    registry = LocalRegistry(path, decisions=Decided())
    registry.put(new)
    assert [one.last_decision for one in registry.list()] == [decision]
    audited = LocalRegistry(path, decisions=AuditStore(path))
    assert [one.last_decision for one in audited.list()] == [None]


def test_reading_creates_no_file(registry: LocalRegistry, path: Path) -> None:
    assert registry.list() == ()
    for ask in (lambda: registry.get("prod"), lambda: registry.versions("prod")):
        with pytest.raises(StackUnknown):
            ask()
    assert not path.parent.exists()


# the file


def test_put_and_audit_event_are_one_transaction(registry: LocalRegistry, path: Path, stack: Make) -> None:
    audit = AuditStore(path)

    def announce(transaction: Transaction) -> None:
        event = NewEvent(type=StackApplied.TYPE, at=LATER, actor="ada", stack_name="prod-gpu")
        audit.append_events([event], within=transaction)

    registry.put(stack(), along_with=announce)
    assert isinstance(registry.put(stack(), along_with=announce), AlreadyThere)
    assert [type(event) for event in audit.get_events()] == [StackApplied]

    def fail(transaction: Transaction) -> None:
        announce(transaction)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registry.put(stack("2.0.0"), along_with=fail)
    with pytest.raises(KeyboardInterrupt):
        registry.retire("prod-gpu", "1.0.0", by="bob", at=LATER, along_with=fail)
    assert [type(event) for event in audit.get_events()] == [StackApplied]
    assert named(registry.list(all_versions=True)) == [("prod-gpu", "1.0.0")]
    assert audit.verify().ok


def test_put_audit_without_a_registry_gets_its_tables(registry: LocalRegistry, path: Path, stack: Make) -> None:
    audit = AuditStore(path)
    audit.append_events([NewEvent(type="StackLocked", at=LATER, actor="ada")])
    assert registry.list() == ()
    with closing(sqlite3.connect(path)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE name = 'stacks'")]
    assert tables == []
    registry.put(stack())
    assert (named(registry.list()), audit.verify().ok, len(audit.get_events())) == ([("prod-gpu", "1.0.0")], True, 1)


def test_registry_of_a_newer_version_fails_closed(registry: LocalRegistry, path: Path, stack: Make) -> None:
    registry.put(stack())
    registry.close()
    open_for_writing(path, (*MIGRATIONS, Migration("later", ())), tables=REGISTRY).close()
    for call in (registry.list, lambda: registry.get("prod-gpu"), lambda: registry.put(stack("2.0.0"))):
        with pytest.raises(RegistryTooNew, match="wrote this registry file"):
            call()
    assert AuditStore(path).last_decisions([]) == {}


@pytest.mark.parametrize(
    "change",
    [
        "document = replace(document, '4', '5')",
        "document = 'x'",
        "digest = 'sha256:' || substr(digest, 8, 63) || 'x'",
        'labels = \'{"approved": "true"}\'',
        "source = '{}'",
        "document = x'ff'",
        "version = '1.0.0+x'",
        "applied_by = x'ff'",
    ],
)
def test_get_edited_row_fails_closed(registry: LocalRegistry, path: Path, stack: Make, change: str) -> None:
    registry.put(stack())
    registry.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(f"UPDATE stacks SET {change}")
        connection.execute("DROP TRIGGER stacks_refuse_update")
        connection.execute(f"UPDATE stacks SET {change}")
    with pytest.raises(RegistryCorrupt):
        registry.get("prod-gpu")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM stacks",
        "INSERT OR REPLACE INTO stack_retirements SELECT * FROM stack_retirements",
        "INSERT OR REPLACE INTO stacks SELECT * FROM stacks",
        "UPDATE stack_retirements SET at = ''",
        "DELETE FROM stack_retirements",
    ],
)
def test_rows_cannot_be_changed(registry: LocalRegistry, path: Path, put_all: PutAll, statement: str) -> None:
    put_all("1.0.0")
    registry.retire("prod-gpu", "1.0.0", by="bob", at=LATER)
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)


def test_registry_in_no_file_fails_closed(tmp_path: Path, stack: Make) -> None:
    (tmp_path / "junk.db").write_bytes(b"not a database at all, but long enough to be read as one" * 9)
    for path, error in ((tmp_path, RegistryUnwritable), (tmp_path / "junk.db", RegistryCorrupt)):
        with pytest.raises(error):
            LocalRegistry(path).put(stack())
    with pytest.raises(RegistryUnwritable):
        LocalRegistry(":memory:").put(stack())


def test_put_locked_by_another_process_fails_closed(path: Path, stack: Make) -> None:
    LocalRegistry(path).put(stack())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RegistryUnwritable, match="locked by another process"):
            LocalRegistry(path, timeout=0.2).put(stack("2.0.0"))
        assert named(LocalRegistry(path).list()) == [("prod-gpu", "1.0.0")]


# names


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("prod-gpu", "prod-*", True),
        ("prod-gpu", "p?od*u", True),
        ("prod-gpu", "prod", False),
        ("a[1]", "a[1]", True),
        ("a1", "a[1]", False),
        ("a\nb", "a?b", True),
        ("a" * 128, "*a" * 100 + "b", False),
    ],
)
def test_pattern_of_a_listing_takes_time_in_proportion(name: str, pattern: str, expected: bool) -> None:
    assert matches(name, pattern) is expected
