"""Settings: flowyml.yaml and the platform's file, read strictly into one frozen value.

Rules:
- A file that exists is used whole or refused whole; every problem names file, line, column and what to write.
- Unknown keys, ill-typed values and empty values are problems; nothing is coerced, nothing quietly left out.
- The platform owns what it sets. A project that sets the same key is refused.
- What a later version will do is read and checked today; `require_supported` stops a command that would need it.
- No `from __future__ import annotations` where sections are: pydantic would compile every annotation at each start.
- Secrets are named by environment variable; only `policy.opa.config` takes their values in, and is never shown.
"""
