from __future__ import annotations

import ast
import gzip
import io
import json
import os
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyml_policy.opa import bundle_files
from flowyml_policy.opa.bundle_files import BundleFiles, BundleFilesInvalid, collect, read_manifest, stage, write
from tests.unit.opa.conftest import WriteFiles


def unpacked(archive: Path) -> dict[str, Any]:
    """Every file of an archive; those that are JSON as values."""
    with tarfile.open(archive) as packed:
        content = {}
        for member in packed.getmembers():
            file = packed.extractfile(member)
            assert file is not None
            text = file.read().decode()
            content[member.name] = json.loads(text) if member.name.endswith(("json", ".manifest")) else text
        return content


def test_stage_takes_policy_and_data_and_leaves_the_rest_out(files: WriteFiles, tmp_path: Path) -> None:
    folder = files(
        {
            "rules/size/size.rego": "package project.rules.size\n",
            "rules/size/size_test.rego": "package project.rules.size\n",
            "rules/size/samples/allow.rego": "package project.rules.size\n",
            "rules/size/samples/data.json": "{}",
            "project/rule_data/data.json": '{"size": {"max": 3.50}}',
            "data.json": '{"project": {"levels": [1]}}',
            "input.schema.json": "{}",
            "README.md": "no",
            ".hidden.rego": "no",
            ".git/x.rego": "no",
        }
    )
    revision = stage(folder, tmp_path / "made" / "b.tar.gz", roots=["project"], version="1.2")
    assert revision.startswith("1.2+")
    assert unpacked(tmp_path / "made" / "b.tar.gz") == {
        ".manifest": {
            "revision": revision,
            "roots": ["project"],
            "rego_version": 1,
            "metadata": {"input_schema": bundle_files.INPUT_SCHEMA},
        },
        "data.json": {"project": {"levels": [1], "rule_data": {"size": {"max": 3.5}}}},
        "rules/size/size.rego": "package project.rules.size\n",
    }


def test_stage_with_only_some_subfolders_takes_nothing_else(files: WriteFiles, tmp_path: Path) -> None:
    folder = files({"flowyml/main.rego": "package a\n", "conventions/c.rego": "package c\n", "d.rego": "package d\n"})
    stage(folder, tmp_path / "b.tar.gz", roots=["flowyml"], version="1", only=["flowyml"])
    assert unpacked(tmp_path / "b.tar.gz").keys() == {".manifest", "flowyml/main.rego"}


def test_stage_the_same_content_gives_the_same_bytes(files: WriteFiles, tmp_path: Path) -> None:
    folder = files({"b.rego": "package b\n", "a/data.json": '{"y": 1, "x": 2}', "a.rego": "package a\n"})
    first = stage(folder, tmp_path / "1.tar.gz", roots=["a", "b"], version="1")
    for path in folder.rglob("*"):
        os.utime(path, (0, 0))
        path.chmod(0o700)
    second = stage(folder, tmp_path / "2.tar.gz", roots=["b", "a"], version="1")
    assert first == second
    assert (tmp_path / "1.tar.gz").read_bytes() == (tmp_path / "2.tar.gz").read_bytes()
    with tarfile.open(tmp_path / "1.tar.gz") as packed:
        facts = {(one.mtime, one.uid, one.gid, one.uname, one.mode, one.isreg()) for one in packed.getmembers()}
    assert facts == {(0, 0, 0, "", 0o644, True)}


NAMES = st.text("abcxyz_", min_size=1, max_size=6)
CONTENTS = st.dictionaries(NAMES.map("{}.rego".format), st.binary(max_size=40), max_size=5)


@given(CONTENTS, CONTENTS)
def test_write_gives_one_revision_for_one_content(
    tmp_path_factory: pytest.TempPathFactory, first: Mapping[str, bytes], second: Mapping[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("made")

    def made(content: Mapping[str, bytes], name: str) -> tuple[str, bytes]:
        ordered = BundleFiles(files=dict(sorted(content.items(), reverse=name == "b")))
        revision = write(ordered, folder / name, roots=["r"], version="1", manifest={})
        return revision, (folder / name).read_bytes()

    assert made(first, "a") == made(first, "b")
    assert (made(first, "a") == made(second, "b")) == (first == second)


@given(CONTENTS)
def test_write_keeps_every_file_as_it_was(tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes]) -> None:
    archive = tmp_path_factory.mktemp("made") / "b.tar.gz"
    write(BundleFiles(files=content), archive, roots=["r"], version="1", manifest={})
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(archive.read_bytes()))) as packed:
        found = {one.name: packed.extractfile(one) for one in packed.getmembers() if one.name != ".manifest"}
        assert {name: file.read() for name, file in found.items() if file is not None} == content


def test_write_keeps_the_revision_and_metadata_of_a_manifest(tmp_path: Path) -> None:
    stated = {"revision": "r7", "metadata": {"input_schema": 2, "sequence": 5}}
    assert write(BundleFiles(), tmp_path / "b", roots=["org"], version="1", manifest=stated) == "r7"
    assert unpacked(tmp_path / "b") == {".manifest": {**stated, "roots": ["org"], "rego_version": 1}}


def test_collect_of_several_folders_names_files_by_their_folder(tmp_path: Path) -> None:
    for name in ("one/rules", "two/rules", "other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "x.rego").write_text(f"package {name[:3]}\n")
    found = collect([tmp_path / "one/rules", tmp_path / "two/rules", tmp_path / "other"])
    assert found.files == {
        "rules-1/x.rego": b"package one\n",
        "rules-2/x.rego": b"package two\n",
        "other/x.rego": b"package oth\n",
    }
    assert found.origins["rules-2/x.rego"] == tmp_path / "two/rules/x.rego"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"data.json": "{"}, "is no JSON"),
        ({"data.json": '{"a": NaN}'}, "NaN is no JSON"),
        ({"data.json": '{"a": 1, "a": 2}'}, "a key twice"),
        ({"data.json": "[" * 100_000}, "is no JSON"),
        ({"data.json": "[1]"}, "must be a JSON object"),
        ({"data.json": '{"a": {"b": 1}}', "a/b/data.json": '{"c": 1}'}, r"data\.a\.b has a second value"),
        ({"data.json": '{"a": {"b": 1}}', "a/data.json": '{"b": 1}'}, r"data\.a\.b has a second value"),
        ({"data.json": '{"a": [1]}'}, r"data\.a is no mapping.*data\.json"),
        ({"data.json": '{"a": null}'}, r"data\.a is no mapping.*data\.json"),
        ({"data.json": '{"a": "x"}'}, r"data\.a is no mapping.*data\.json"),
        ({"a/data.json": "5"}, r"data\.a is no mapping.*a/data\.json"),
        ({"a/data.yaml": "b: {c: 1}\nb: {}\n"}, r"JSON only: .*a/data\.yaml; write it as data\.json"),
        ({"data.yml": "a: {}\n"}, r"JSON only: .*data\.yml; write it as data\.json"),
    ],
)
def test_collect_data_that_is_in_doubt_is_refused(files: WriteFiles, content: dict[str, str], reason: str) -> None:
    with pytest.raises(BundleFilesInvalid, match=reason):
        collect([files(content)])


def test_collect_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleFilesInvalid, match="no such folder"):
        collect([tmp_path / "none"])
    (tmp_path / "file").touch()
    with pytest.raises(BundleFilesInvalid, match="this is a file, not a folder"):
        collect([tmp_path / "file"])


@pytest.mark.usefixtures("_as_nobody")
def test_collect_a_folder_that_cannot_be_listed_fails_closed(open_folder: Path) -> None:
    (open_folder / "a.rego").write_text("package a\n", encoding="utf-8")
    (open_folder / "b").mkdir(mode=0)
    with pytest.raises(BundleFilesInvalid, match=r"cannot be listed: .*/b: Permission denied"):
        collect([open_folder])


@pytest.mark.parametrize("name", ["b.rego", "data.json"])
def test_collect_a_pipe_is_refused_at_once(files: WriteFiles, name: str) -> None:
    folder = files({"a.rego": "package a\n"})
    os.mkfifo(folder / name)
    with pytest.raises(BundleFilesInvalid, match=f"no regular file: .*/{name}"):
        collect([folder])


def test_collect_a_link_to_a_folder_is_refused(files: WriteFiles, tmp_path: Path) -> None:
    folder = files({"x.rego": "package x\n"})
    (folder / "link").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(BundleFilesInvalid, match="a link to a folder is not followed"):
        collect([folder])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "has no .manifest"),
        ("[]", "no JSON object"),
        ('{"wasm": []}', "states wasm"),
        ('{"rego_version": 0}', "rego_version 0"),
        ('{"roots": "org"}', "no list of names"),
        ('{"metadata": []}', "must be an object"),
        ('{"revision": 1}', "must be an object and revision a text"),
    ],
)
def test_read_manifest_that_is_not_understood_is_refused(files: WriteFiles, text: str | None, reason: str) -> None:
    with pytest.raises(BundleFilesInvalid, match=reason):
        read_manifest(files({} if text is None else {".manifest": text}))


def test_bundle_files_needs_nothing_but_the_standard_library() -> None:
    """The build loads the file by path, before anything of this project or its dependencies can be imported."""
    tree = ast.parse(Path(bundle_files.__file__).read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names
