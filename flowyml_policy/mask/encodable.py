"""Text that UTF-8 cannot hold, such as a variable or a file name of odd bytes, with those bytes written out."""

from __future__ import annotations

from flowyml_policy.records.record import Json


def encodable(text: str) -> str:
    """`text` with the hex of every lone surrogate written out; the very same one where there is none."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def encodable_value(value: Json) -> Json:
    """`value` with every text in it, and every key, made encodable. Only as deep as a record is."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {encodable_value(key): encodable_value(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(encodable_value(item) for item in value)
    return value
