"""Triggers that refuse to change what a table holds."""

from __future__ import annotations


def refusals(table: str, same_row: str, what: str) -> dict[str, str]:
    """A trigger for every way to change a row of `table`: its name, and its SQL.

    `same_row` says which row an INSERT would replace, `what` is the part of the file that says no.
    """
    changes = {
        "update": f"BEFORE UPDATE ON {table}",
        "delete": f"BEFORE DELETE ON {table}",
        "replace": f"BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {same_row})",  # noqa: S608  our names
    }
    return {
        f"{table}_refuse_{name}": (
            f"CREATE TRIGGER {table}_refuse_{name} {when} BEGIN SELECT RAISE(ABORT, 'the {what} is append-only'); END"
        )
        for name, when in changes.items()
    }
