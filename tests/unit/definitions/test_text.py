"""A definition written back as YAML is the same definition, in one order."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from flowyml_policy.definitions.stack import StackDefinition
from flowyml_policy.definitions.text import definition_yaml
from flowyml_policy.documents.characters import hidden_in_value, unseen_in_key

STACK = """\
spec:
  runtime: {docker_image: "registry.io/a:1", python_version: "3.10"}
  compute: {max_nodes: 4, backend: local}
kind: StackDefinition
metadata:
  labels: {team: ml, approved: "true", "on": "0o7"}
  version: "2.1"
  name: prod
apiVersion: flowyml/v1
"""

plain = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp", "Zs", "Cn", "Co"]), min_size=1
).filter(lambda text: not hidden_in_value(text))
labels = st.dictionaries(plain.filter(lambda key: not unseen_in_key(key)), plain, max_size=5)


def test_definition_yaml_stands_in_the_order_of_the_schema() -> None:
    assert definition_yaml(StackDefinition.from_yaml(STACK).set_values()) == (
        "apiVersion: flowyml/v1\n"
        "kind: StackDefinition\n"
        "metadata:\n"
        "  name: prod\n"
        '  version: "2.1"\n'
        "  labels:\n"
        '    approved: "true"\n'
        '    "on": "0o7"\n'
        "    team: ml\n"
        "spec:\n"
        "  compute:\n"
        "    backend: local\n"
        "    max_nodes: 4\n"
        "  runtime:\n"
        '    python_version: "3.10"\n'
        "    docker_image: registry.io/a:1\n"
    )


@example(name="~", version="1e3", labels={"on": "0o7", "<<": "=", "a" * 1200: "x" * 5000, "? a": ": b", "é": "'"})
@given(name=plain, version=st.sampled_from(["1.0", "2.1.0", "on", "1e3"]), labels=labels)
def test_definition_yaml_is_read_back_as_an_equal_definition(name: str, version: str, labels: dict[str, str]) -> None:
    metadata = {"name": name[:128], "version": version, "labels": labels}
    value = {"apiVersion": "flowyml/v1", "kind": "StackDefinition", "metadata": metadata, "spec": {}}
    definition = StackDefinition.from_dict(value)
    again = StackDefinition.from_yaml(definition_yaml(definition.set_values()))
    assert (again, again.digest) == (definition, definition.digest)
