"""What an argument, an object or nothing at all means, and where what is not found would have come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from flowyml_policy import StackResolver
from flowyml_policy.decision.candidates import read_argument, read_one
from flowyml_policy.errors.definitions import DefinitionInvalid
from flowyml_policy.errors.root import FlowymlPolicyError, UsageError
from flowyml_policy.records.policy_input import Source
from flowyml_policy.references.stack import exact_version

pytestmark = pytest.mark.usefixtures("project")

VALID: Final = b"apiVersion: flowyml/v1\nkind: StackDefinition\nmetadata: {name: piped}\nspec: {}\n"


class Printed:
    """An object that prints itself as FlowyML's own definitions do, and is none that is valid here."""

    def to_stack(self) -> None:
        """Never asked."""

    def model_dump(self, **_: Any) -> dict[str, Any]:
        return {"metadata": {"name": "printed"}, "spec": {"unheard": 1}}


@pytest.mark.parametrize(
    "word", ["prod", "prod@^2.1", "registry://prod", "file://./prod", "git+file:///x#stacks/a.yaml"]
)
def test_read_argument_reference_stays_as_written(word: str) -> None:
    assert read_argument(word) == word


def test_read_argument_bare_word_that_exists_is_a_path(project: Path) -> None:
    assert read_argument("prod") == "prod"
    (project / "prod").mkdir()
    assert read_argument("prod") == Path("prod")
    assert read_argument("prod@2.0.0") == "prod@2.0.0"


@pytest.mark.parametrize("word", ["prod.yaml", "prod.YML", "stacks/prod", "./prod"])
def test_read_argument_path_that_does_not_exist_is_a_usage_error(word: str) -> None:
    with pytest.raises(UsageError, match=f"there is no such file or folder: {word}"):
        read_argument(word)


def test_read_argument_address_of_ssh_in_its_short_form_is_told_in_full() -> None:
    with pytest.raises(UsageError) as caught:
        read_argument("git@git.example:org/repo.git")
    assert str(caught.value) == (
        "there is no such file or folder: git@git.example:org/repo.git; "
        "to read a repository, write git+ssh://git@git.example/org/repo.git"
    )


def test_read_argument_dash_is_the_definition_in_standard_input() -> None:
    piped = read_argument("-", stdin=VALID)
    assert not isinstance(piped, str | Path)
    assert (piped.metadata.name, piped.source.kind, piped.source.uri) == ("piped", "stdin", "-")


@pytest.mark.parametrize(
    ("stdin", "error"), [(b"", DefinitionInvalid), (b"a: b", DefinitionInvalid), (VALID + b"---\na: b", UsageError)]
)
def test_read_argument_dash_without_one_definition_raises(stdin: bytes, error: type[FlowymlPolicyError]) -> None:
    with pytest.raises(error):
        read_argument("-", stdin=stdin)


@pytest.mark.parametrize(
    ("named", "kind"),
    [
        ("prod.yaml", "local"),
        ("stacks/prod.yaml", "local"),
        ("file://./prod.yaml", "local"),
        ("prod", "registry"),
        ("registry://prod", "registry"),
        ("kept", "local"),
    ],
)
def test_read_one_unresolved_says_where_it_would_have_come_from(
    project: Path, monkeypatch: pytest.MonkeyPatch, named: str, kind: Any
) -> None:
    (project / "flowyml.yaml").write_text("stacks: {kept: {source: local, path: none.yaml}}\n")
    monkeypatch.setenv("FLOWYML_STACK", named)
    candidate = read_one(None, open_resolver=StackResolver, project=project)
    assert isinstance(candidate.content, FlowymlPolicyError)
    assert candidate.source == Source(kind=kind, uri=named)


def test_read_one_object_that_is_no_valid_definition_is_called_an_object() -> None:
    candidate = read_one(Printed(), open_resolver=StackResolver, project=Path())
    assert isinstance(candidate.content, DefinitionInvalid)
    assert candidate.source == Source(kind="object", uri=f"object:{__name__}.Printed")


@pytest.mark.parametrize(
    ("reference", "advised"),
    [
        ("prod-gpu-large", "prod-gpu-large"),
        ("prod-gpu-large@^2", "prod-gpu-large"),
        ("registry://prod-gpu-large", "prod-gpu-large"),
        ("https://example.org/prod.yaml", "NAME"),
    ],
)
def test_exact_version_of_what_names_none_advises_one_of_the_same_stack(reference: str, advised: str) -> None:
    with pytest.raises(UsageError) as caught:
        exact_version(reference)
    assert caught.value.message == f"{reference!r} names no one version of a stack"
    said = f"write {advised}@VERSION; `flowyml-policy stack list --all-versions` shows what is registered"
    assert caught.value.advice == said
    assert exact_version("prod-gpu-large@2.1.0") == ("prod-gpu-large", "2.1.0")
