"""`--format json`: one document, version 1, a line for each result, the summary last.

The document is complete, and valid JSON, only when every stack was judged: a run that breaks off leaves it
open, so that no reader can take a part of the results for all of them.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from flowyml_policy.records.result import Result, Summary


class JsonOutput:
    """Writes results to `stream`, in UTF-8 whatever the locale, as they come."""

    def __init__(self, stream: TextIO) -> None:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="strict", newline="\n")
        self._write = stream.write
        self._separator = '{"version":1,"results":[\n'

    def begin(self) -> None:
        """Nothing yet: a run that fails before its first result prints no JSON at all."""

    def add(self, result: Result) -> None:
        self._write(self._separator + result.model_dump_json())
        self._separator = ",\n"

    def end(self, summary: Summary | None) -> None:
        if summary is None:
            return
        opening = "" if self._separator == ",\n" else self._separator
        self._write(f'{opening}\n],"summary":{summary.model_dump_json()}}}\n')
