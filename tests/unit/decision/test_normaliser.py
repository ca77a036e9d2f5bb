"""What OPA is given: masked, but never so that different values become equal or another image is judged."""

from __future__ import annotations

import string
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flowyml_policy import PolicyEngine, StackDefinition
from flowyml_policy.decision.normaliser import Normaliser
from flowyml_policy.errors.settings import SettingsInvalid
from flowyml_policy.records.policy_input import Actor, ImageFacts, ImageProblem
from flowyml_policy.records.provenance import Provenance
from flowyml_policy.records.result import Result
from flowyml_policy.settings.loading import load_settings

if TYPE_CHECKING:
    from tests.unit.conftest import WriteStack

RANDOM = "Qw83kdPzL0aM" + "n5TuRe72XcVb9sT"
ACCESS_KEY = "AKIA" + string.ascii_uppercase[:16]
IMAGE_PATH = ("spec", "runtime", "docker_image")


def _demand(project: Path, old: str, new: str) -> None:
    settings = project / "flowyml.yaml"
    text = settings.read_text()
    assert old in text
    settings.write_text(text.replace(old, new))


def _judged(path: str) -> Result:
    with PolicyEngine.from_project() as engine:
        (result,) = engine.validate([path])
    return result


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("[approved, team]", f'["approval={RANDOM}"]', "4:21"),
        ("[approved, team]", '[team, "approval=masked:high_entropy"]', "4:27"),
        ("staging-*", f'"{RANDOM}"', "3:32"),
        ("policies:\n", f'policies:\n  rule_data: {{labels: {{required: ["{ACCESS_KEY}"]}}}}\n', "3:35"),
        ("policies:\n", "policies:\n  rule_data: {labels: {'masked:jwt': []}}\n", "3:24"),
    ],
)
def test_engine_demand_that_the_mask_would_change_fails_closed(project: Path, old: str, new: str, place: str) -> None:
    _demand(project, old, new)

    with pytest.raises(SettingsInvalid) as caught:
        PolicyEngine.from_project()

    assert caught.value.message == f"a demand of the project looks like a secret: flowyml.yaml:{place}"
    assert caught.value.advice == "a demand stands in the open: ask for a value that is no secret, nor the mask of one"
    assert RANDOM not in str(caught.value)


@pytest.mark.parametrize("detector", ["high_entropy", "jwt"])
def test_check_label_that_reads_like_a_mask_meets_no_demand(
    write_stack: WriteStack, project: Path, detector: str
) -> None:
    """A demand that holds `masked:` is refused, so what an author writes there can only fail to meet one."""
    path = write_stack("prod-gpu-x")
    file = project / path
    file.write_text(file.read_text().replace('approved: "true"', f'approved: "masked:{detector}"'))
    _demand(project, "[approved, team]", "[approved=true]")

    assert [finding.code for finding in _judged(path).denials] == ["labels.value"]


@pytest.mark.parametrize(
    ("image", "ref", "detector"),
    [
        (ACCESS_KEY, "masked:aws_access_key", "aws_access_key"),
        ("user:hunter2hunter2@docker.io/x/y", "user:masked:url_password@docker.io/x/y", "url_password"),
        (f"docker.io/x/y:{RANDOM}", "docker.io/x/y:masked:high_entropy", "high_entropy"),
    ],
)
def test_check_image_that_holds_a_secret_is_no_other_image(
    write_stack: WriteStack, project: Path, image: str, ref: str, detector: str
) -> None:
    _demand(project, "[myregistry.azurecr.io]", "[docker.io]")

    result = _judged(write_stack("prod-gpu-x", image=image))

    assert result.images == (
        ImageFacts(
            ref=ref,
            registry=None,
            repository=None,
            paths=(IMAGE_PATH,),
            via="off",
            error=ImageProblem(code="reference_invalid", message=f"it holds what looks like a secret ({detector})"),
        ),
    )
    assert [finding.code for finding in result.denials] == ["images_registry.reference"]


def test_check_secret_beside_the_image_leaves_the_image_as_it_is(write_stack: WriteStack, project: Path) -> None:
    path = write_stack("prod-gpu-x")
    file = project / path
    file.write_text(file.read_text().replace("team: ml-platform", f"team: {RANDOM}"))

    (image,) = _judged(path).images

    assert (image.registry, image.repository, image.error) == ("myregistry.azurecr.io", "flowyml", None)


def test_check_environment_label_that_holds_a_secret_is_masked(write_stack: WriteStack, project: Path) -> None:
    path = write_stack("prod-gpu-x")
    file = project / path
    file.write_text(file.read_text().replace("team: ml-platform", f"environment: {RANDOM}"))

    assert _judged(path).environments == ("masked:high_entropy",)


@pytest.mark.parametrize(
    ("provenance", "expected"),
    [
        (Provenance(kind="git", uri="file://@", path="stacks/prod.yaml"), ("production",)),
        (Provenance(kind="git", uri="file://@", path="stacks/other.yaml"), ()),
        (Provenance(kind="local", uri="@/stacks/prod.yaml"), ("production",)),
    ],
)
def test_file_of_a_key_belongs_when_read_from_its_repository(
    tmp_path: Path, provenance: Provenance, expected: tuple[str, ...]
) -> None:
    (tmp_path / "flowyml.yaml").write_text(
        "environments: {production: {stack: prod}}\nstacks: {prod: {source: local, path: stacks/prod.yaml}}\n"
    )
    settings = load_settings(project=tmp_path, environ={"HOME": str(tmp_path)})
    named = {"apiVersion": "flowyml/v1", "kind": "StackDefinition", "metadata": {"name": "gpu"}, "spec": {}}
    found = provenance.model_copy(update={"uri": provenance.uri.replace("@", str(tmp_path))})
    definition = StackDefinition.from_dict(named).located(found)
    normaliser = Normaliser(settings, Actor(name="ada"))
    assert normaliser.environments(definition, None) == expected
