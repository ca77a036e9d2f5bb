"""What a bundle says of itself, and what differs between two."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from flowyml_policy.bundles import archive
from flowyml_policy.bundles.archive import read_archive, write_archive
from flowyml_policy.bundles.build import Built, build_bundle
from flowyml_policy.bundles.difference import Change, compare_bundles
from flowyml_policy.bundles.inspection import inspect_bundle
from flowyml_policy.bundles.keys import KeyPair, read_private_key
from flowyml_policy.bundles.recipe import read_recipe
from flowyml_policy.bundles.signing import sign_bundle
from flowyml_policy.errors.bundles import BundleUnreadable
from flowyml_policy.opa.command import run_child


def test_inspection_says_what_the_bundle_says(company: Path, keys: dict[str, KeyPair]) -> None:
    built = build_bundle(read_recipe(company), sequence=3, expires="2027-01-31T00:00:00Z")
    signed = sign_bundle(built.file, read_private_key(keys["new"].private))
    found = inspect_bundle(built.file)
    assert (found.revision, found.digest, found.roots) == (built.revision, signed.digest, ("org",))
    assert (found.sequence, found.expires, found.input_schema) == (3, "2027-01-31T00:00:00Z", 1)
    assert found.metadata == {"owner": "ml-platform@example.com", "title": "Policy of the example company"}
    assert found.rules == ("org.rules.cost_centre",)
    assert found.levels == {"cost_centre.format": "soft", "version.missing": "soft"}
    assert found.data["org.rule_data.labels.required"] == ["team", "approved"]
    assert found.data["org.environments.production.builtin"] == "deny"
    assert found.signature == ("new", "ES256")


def test_bundles_with_the_same_in_them_do_not_differ(built: Built, tmp_path: Path) -> None:
    found = compare_bundles(built.file, Path(shutil.copy(built.file, tmp_path)))
    assert (found.exit_code, found.added, found.levels, found.data, found.manifest) == (0, (), (), (), ())


def test_difference_names_rules_levels_data_and_manifest(built: Built, company: Path) -> None:
    folder = company.parent / "company"
    rule = folder / "rules" / "cost_centre" / "cost_centre.rego"
    rule.write_text(rule.read_text().replace("no cost centre", "none"))
    test = rule.with_name("cost_centre_test.rego")
    test.write_text(test.read_text().replace("no cost centre", "none"))
    (folder / "rules" / "lib.rego").write_text("package org.lib.names\n\nx := 1\n")
    (folder / "levels.yaml").write_text("version.missing: advisory\n")
    (folder / "rule_data" / "labels.yaml").write_text("required: [team]\n")
    (folder / "rule_data" / "naming.yaml").unlink()
    found = compare_bundles(built.file, build_bundle(read_recipe(company), sequence=2).file)
    assert found.exit_code == 1
    assert (found.added, found.removed, found.changed) == (("org.lib.names",), (), ("org.rules.cost_centre",))
    assert found.levels == (
        Change("cost_centre.format", "soft", "hard"),
        Change("version.missing", "soft", "advisory"),
    )
    assert found.data == (
        Change("org.rule_data.labels.required", ["team", "approved"], ["team"]),
        Change("org.rule_data.naming.allowed_stacks", ["prod-*", "staging-*", "dev-*"], None),
    )
    assert found.manifest == (Change("sequence", None, 2),)
    back = compare_bundles(found.new.file, built.file)
    assert (back.added, back.removed) == ((), ("org.lib.names",))


def test_bundle_that_opa_itself_wrote_is_read_too(tmp_path: Path) -> None:
    policy = tmp_path / "policy" / "a" / "a.rego"
    policy.parent.mkdir(parents=True)
    policy.write_text("package a\n\nx := 1\n")
    done = run_child(["build", "--bundle", "policy", "--revision", "r1"], folder=tmp_path)
    assert done.returncode == 0
    found = inspect_bundle(tmp_path / "bundle.tar.gz")
    assert (found.revision, found.roots, list(found.packages)) == ("r1", ("",), ["a"])
    assert (found.rules, found.signature, found.sequence, found.input_schema) == ((), None, None, None)


def packed(path: Path, *members: tuple[str, bytes, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive_:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.linkname = "/etc/passwd"
            member.size = len(content)
            archive_.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    "members",
    [
        [("../x.rego", tarfile.REGTYPE, b"package p")],
        [("x.rego", tarfile.SYMTYPE, b"")],
        [("x.rego", tarfile.FIFOTYPE, b"")],
        [("x.rego", tarfile.REGTYPE, b"package p"), ("/x.rego", tarfile.REGTYPE, b"package q")],
    ],
    ids=["outside", "link", "pipe", "twice"],
)
def test_archive_with_what_no_bundle_holds_is_refused(tmp_path: Path, members: list[tuple[str, bytes, bytes]]) -> None:
    with pytest.raises(BundleUnreadable, match="is no file of a bundle, or stands twice"):
        read_archive(packed(tmp_path / "b.tar.gz", *members))


def test_archive_that_grows_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_UNPACKED", 1000)
    path = packed(tmp_path / "b.tar.gz", ("data.json", tarfile.REGTYPE, b" " * 5000))
    with pytest.raises(BundleUnreadable, match="holds more than 1,000 bytes"):
        read_archive(path)
    monkeypatch.setattr(archive, "MOST_PACKED", 10)
    with pytest.raises(BundleUnreadable, match="larger than 10 bytes"):
        read_archive(path)


@pytest.mark.parametrize(
    "files",
    [
        {".manifest": b"[]"},
        {".manifest": b"{"},
        {".manifest": b'{"metadata": []}'},
        {"data.json": b"1"},
        {"x.rego": b"package"},
        {".signatures.json": b'{"signatures": []}'},
        {".signatures.json": b'{"signatures": ["a"]}'},
    ],
)
def test_bundle_that_is_damaged_is_an_error(tmp_path: Path, files: dict[str, bytes]) -> None:
    write_archive(tmp_path / "b.tar.gz", files)
    with pytest.raises(BundleUnreadable):
        inspect_bundle(tmp_path / "b.tar.gz")


def test_truncated_archive_is_an_error(built: Built, tmp_path: Path) -> None:
    path = Path(shutil.copy(built.file, tmp_path))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BundleUnreadable, match="no bundle, a gzipped tar archive"):
        read_archive(path)
