"""OPA that starts early, beside the imports: a guess that is taken once, or ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from flowyml_policy.errors.opa import PolicyInvalid
from flowyml_policy.opa import library, shipped
from flowyml_policy.opa.embedded import EmbeddedEvaluator


@pytest.fixture(autouse=True)
def _nothing_left_over() -> Iterator[None]:
    shipped.discard()
    yield
    shipped.discard()


def test_start_early_is_taken_by_the_evaluator_of_the_shipped_policy() -> None:
    shipped.start_early()

    with EmbeddedEvaluator() as evaluator:
        assert evaluator.query("flowyml/catalogue/rules", {})

    assert shipped.take() is None


def test_start_early_is_not_taken_where_more_than_the_shipped_policy_judges() -> None:
    shipped.start_early()

    config = {"bundles": {"flowyml": {"resource": "shipped"}}}
    with EmbeddedEvaluator(config=config) as evaluator:
        assert evaluator.query("flowyml/catalogue/rules", {})

    assert shipped.take() is not None


def test_start_early_is_not_taken_where_the_configuration_is_empty() -> None:
    """Written down and empty is no shipped policy: it names no bundles."""
    shipped.start_early()

    with pytest.raises(PolicyInvalid, match="names no bundles"):
        EmbeddedEvaluator(config={})

    assert shipped.take() is not None


def test_take_gives_an_open_evaluator_once() -> None:
    shipped.start_early()
    started = shipped.take()

    assert started is not None
    assert library.load().status(started["handle"], 10**9)["bundles"].keys() == {"flowyml"}
    assert shipped.take() is None
    library.load().stop(started["handle"], 10**9)


def test_discard_stops_what_was_started() -> None:
    shipped.start_early()
    shipped.discard()

    assert shipped.take() is None


def test_start_early_without_a_library_leaves_the_reason_to_whoever_needs_it() -> None:
    program = (
        "from pathlib import Path\n"
        "from flowyml_policy.opa import library, shipped\n"
        "library.load.__defaults__ = (Path('/no/such/library.so'),)\n"
        "shipped.start_early()\n"
        "from flowyml_policy.errors.opa import OpaUnavailable\n"
        "from flowyml_policy.opa.embedded import EmbeddedEvaluator\n"
        "try:\n"
        "    EmbeddedEvaluator()\n"
        "except OpaUnavailable as error:\n"
        "    print(error.message)\n"
    )

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert ran.stdout == "the OPA library is missing: /no/such/library.so\n"
