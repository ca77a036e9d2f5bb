"""`${NAME}` in `policy.opa.config`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flowyml_policy.settings.settings import Settings

Load = Callable[..., Settings]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a${A}b${B}", "axb${A}"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A $ {A}", "$A $ {A}"),
        ("", ""),
    ],
)
def test_variables_are_replaced_once(load: Load, written: str, read: str) -> None:
    settings = load(f"policy: {{opa: {{config: {{'${{A}}': [{{k: '{written}'}}, 1, null, true]}}}}}}", A="x", B="${A}")
    assert settings.policy.opa.config == {"${A}": [{"k": read}, 1, None, True]}


def test_variables_elsewhere_are_plain_text(load: Load) -> None:
    assert load("policy: {rules: ['${UNSET}']}").policy.rules == ("${UNSET}",)


def test_what_a_variable_holds_is_not_shown(load: Load) -> None:
    settings = load("policy: {opa: {config: {a: '${SESAME}'}}}", SESAME="opensesame")
    assert "opensesame" not in repr(settings)
