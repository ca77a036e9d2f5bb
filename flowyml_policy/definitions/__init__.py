"""Stack definitions: from bytes to a typed StackDefinition whose every value knows its line.

Rules of this room:
- Schema A (`flowyml/v1`) is what the model speaks; FlowyML's own `flowyml.io/v1` is converted, and nothing dropped.
- Reading is strict: an unknown key, a value of another type, a second meaning is a problem, never a guess.
- A document that is no stack is a problem too (`definition.kind`); nothing that was named is passed over.
- All problems of a document are reported, in file order, each with what, where and how to write it.
- Names that are unsafe are no matter of form: the rule `naming` judges them.
- Everything raised is a leaf of `errors`; pydantic's and PyYAML's exceptions are chained as causes.
"""

from typing import TYPE_CHECKING

from flowyml_policy.definitions.files import find_files, local_source, read_file
from flowyml_policy.definitions.model import Compute, Metadata, Runtime, Secrets, Spec, Storage, Tracking
from flowyml_policy.definitions.stack import StackDefinition, read_definitions
from flowyml_policy.on_demand import on_demand

if TYPE_CHECKING:
    from flowyml_policy.definitions.builtin import LOCAL_STACK
    from flowyml_policy.definitions.json_schema import schema_b_json_schema, stack_json_schema
    from flowyml_policy.definitions.text import definition_yaml

__all__ = [
    "LOCAL_STACK",
    "Compute",
    "Metadata",
    "Runtime",
    "Secrets",
    "Spec",
    "StackDefinition",
    "Storage",
    "Tracking",
    "definition_yaml",
    "find_files",
    "local_source",
    "read_definitions",
    "read_file",
    "schema_b_json_schema",
    "stack_json_schema",
]

__getattr__ = on_demand(
    __name__,
    {
        "LOCAL_STACK": "builtin",
        "definition_yaml": "text",
        "schema_b_json_schema": "json_schema",
        "stack_json_schema": "json_schema",
    },
)
