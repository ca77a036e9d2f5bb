"""OPA: the evaluators, and the bundles that they load.

Rules:
- `evaluator` is the seam: whatever goes wrong below it leaves as an OpaError, and no answer leaves unchecked.
- `library` is the only importer of ctypes; `bundle_files` needs nothing but the standard library, not even
  this package, because the build runs it.
- What cannot be decided is an error, never an allow.

`from flowyml_policy.opa import Opa` is OPA for any Rego (`client`). Import all else from its module: this file imports
nothing before it is asked, so that no command pays for the library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowyml_policy.opa.client import Opa

__all__ = ["Opa"]


def __getattr__(name: str) -> object:
    if name == "Opa":
        from flowyml_policy.opa.client import Opa

        return Opa
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
