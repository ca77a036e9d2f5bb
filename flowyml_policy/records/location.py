"""Where in a file something stands."""

from flowyml_policy.records.record import Record


class Location(Record):
    """A place in a file as its author sees it: `line` and `column` count from 1.

    `file` is the path as it was given (`-` for standard input), with forward slashes.
    """

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"
