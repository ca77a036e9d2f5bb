"""Reads a file's documents from PyYAML's parser events, building values and positions in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
)

from flowyml_policy.documents.characters import Unreadable, decode, hidden_in_value, named, unseen_in_key
from flowyml_policy.documents.document import Document, Mark, Place
from flowyml_policy.documents.scalars import NumberRefused, resolve
from flowyml_policy.documents.surrogates import column_as_written, join_pairs, text_as_written
from flowyml_policy.errors.documents import YamlInvalid, YamlTooLarge
from flowyml_policy.mask.names import names_a_secret
from flowyml_policy.mask.quoted import clipped, shown
from flowyml_policy.records.record import Json, Location

_TEXT_PER_NODE: Final = 64
_MERGE_KEY: Final = "<<"
_SHOWN: Final = 80
_LFS_POINTER: Final = "version https://git-lfs.github.com/spec/"


class Limits(NamedTuple):
    """How much of a file is read: bytes, documents, and the depth and nodes of each document.

    Every value and key is a node, and so is each further 64 characters of one. An alias counts for all the
    nodes and all the depth of what it stands for.
    """

    size: int = 1 << 20
    depth: int = 64
    nodes: int = 100_000
    documents: int = 10_000


def load_documents(data: bytes, file: str, *, limits: Limits | None = None) -> list[Document]:
    """The documents of a file's bytes, in order; none for a file that holds only blanks and comments.

    `file` is how errors and locations call it. Raises YamlInvalid, and nothing else.
    """
    limits = limits or Limits()
    file = file.encode(errors="backslashreplace").decode()
    if len(data) > limits.size:
        raise YamlTooLarge(
            f"the file is larger than {limits.size:,} bytes",
            location=Location(file=file, line=1, column=1),
            fix="split it into several files",
        )
    text = decode(data)
    if isinstance(text, str) and text.startswith(_LFS_POINTER):
        raise YamlInvalid(
            "the file is a Git LFS pointer, and what it points to is not here",
            location=Location(file=file, line=1, column=1),
            fix="run `git lfs pull`, or keep the file out of LFS: a git source reads the repository as it is",
        )
    if isinstance(text, Unreadable):
        where = Location(file=file, line=text.line + 1, column=text.column + 1)
        raise YamlInvalid(text.problem, location=where, fix=text.fix)
    return _Builder(text, file, limits).documents()


class _PureParser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """PyYAML's own parser, where libyaml is missing; about ten times slower."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


try:
    from yaml._yaml import CParser as _Parser
except ImportError:
    _Parser = _PureParser  # type: ignore[misc,assignment]  # both turn text into the same events

PARSER: Any = _Parser
"""What turns text into events."""

_TOO_DEEP_TO_SCAN: Final = "maximum nesting depth"
"""What libyaml says, from 0.2.6 on, of brackets that it only looks ahead at. PyYAML's own parser comes to the place."""


class _Open:
    """A collection whose end has not come yet. `key` is the key that waits for its value."""

    __slots__ = ("anchor", "container", "height", "key", "key_mark", "mark", "nodes_before", "places")

    def __init__(self, container: Any, places: Any, mark: Mark, anchor: str | None, nodes_before: int) -> None:
        self.container = container
        self.places = places
        self.mark = mark
        self.anchor = anchor
        self.nodes_before = nodes_before
        self.height = 1
        self.key: str | None = None
        self.key_mark: Mark | None = None


class _Anchored(NamedTuple):
    """What an alias stands for, with its cost."""

    value: Json
    place: Place
    nodes: int
    height: int


class _Builder:
    """Turns the events of one text into documents, refusing whatever is not plain, bounded, unambiguous data."""

    def __init__(self, text: str, file: str, limits: Limits, parser: Any = None) -> None:
        self.parser = parser or PARSER
        self.written = text
        self.text, self.pairs = join_pairs(text)
        self.file = file
        self.limits = limits
        self.nodes = 0
        self.anchors: dict[str, _Anchored | None] = {}  # None: still open, so an alias would contain itself
        self.open: list[_Open] = []

    def documents(self) -> list[Document]:
        found: list[Document] = []
        for event in self._events():
            kind = type(event)
            if kind is ScalarEvent:
                self._scalar(event)
            elif isinstance(event, CollectionStartEvent):
                self._start(event)
            elif isinstance(event, CollectionEndEvent):
                self._end()
            elif kind is AliasEvent:
                self._alias(event)
            elif kind is DocumentStartEvent:
                if len(found) == self.limits.documents:
                    self._refuse_size(f"the file holds more than {len(found):,} documents", event.start_mark)
                self._begin_document(event)
            elif kind is DocumentEndEvent:
                root = self.open.pop()
                found.append(
                    Document(root.container[0], root.places[0], file=self.file, text=self.text, pairs=self.pairs)
                )
        while len(found) > 1 and found[-1].is_empty:  # generated files end so
            found.pop()
        return found

    def _events(self) -> Iterator[Any]:
        """The parser's events; whatever it raises for odd input becomes a YamlInvalid."""
        try:
            parser = self.parser(self.text)
        except Exception as error:  # noqa: BLE001  PyYAML promises no common base for what bad input raises
            self._refuse_syntax(error)
        while True:
            try:
                event = parser.get_event()
            except Exception as error:  # noqa: BLE001  as above
                self._refuse_syntax(error)
            if event is None:
                return
            yield event

    def _begin_document(self, event: Any) -> None:
        if event.tags:
            self._refuse("the document has a %TAG directive", event.start_mark, "take the directive out")
        if event.version and tuple(event.version) != (1, 2):
            self._refuse("the document asks for an old YAML", event.start_mark, "take the %YAML directive out")
        self.anchors = {}
        self.nodes = 0
        self.open = [_Open([], [], event.start_mark, None, 0)]

    def _scalar(self, event: Any) -> None:
        """A key or a value of text, number, boolean or null."""
        if event.tag is not None:
            self._refuse_tag(event)
        mark, text = event.start_mark, event.value
        if self.pairs and event.style != '"':
            text = text_as_written(self.pairs, text, mark.index, event.end_mark.index)
        self.nodes += 1 + len(text) // _TEXT_PER_NODE
        if self.nodes > self.limits.nodes:
            self._refuse_nodes(mark)
        value: Json = text
        if not event.style:
            try:
                value = resolve(text)
            except NumberRefused as error:
                problem = "the number is none that JSON can carry" if self._under_secret() else str(error)
                self._refuse(problem, mark, "put it in quotes if it is meant as text", error)
        elif event.style == '"' and not text.isprintable():
            self._check_escapes(text, mark)
        top = self.open[-1]
        if type(top.container) is dict and top.key is None:
            self._key(top, value, event)
        else:
            self._put(top, value, mark)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchored(value, mark, 1 + len(text) // _TEXT_PER_NODE, 0)

    def _key(self, top: _Open, key: Json, event: Any) -> None:
        mark = event.start_mark
        if type(key) is not str:
            self._refuse_key(key, event.value, mark)
        if key == _MERGE_KEY and not event.style:
            self._refuse("merge keys (`<<`) are not read", mark, "write the merged keys out")
        if key in top.container:
            first = top.places[key][0].line + 1
            self._refuse(
                f"the key {shown(key, _SHOWN)} stands twice, first in line {first}", mark, "keep one of the two"
            )
        if not (key.isascii() and key.isprintable()) and (unseen := unseen_in_key(key)):
            self._refuse(
                f"the key {shown(key, _SHOWN)} holds {named(unseen)}, which does not show", mark, "type the key again"
            )
        top.key = key
        top.key_mark = mark

    def _put(self, top: _Open, value: Json, place: Place) -> None:
        if top.key is None:
            top.container.append(value)
            top.places.append(place)
        else:
            top.container[top.key] = value
            top.places[top.key] = (top.key_mark, place)
            top.key = None

    def _start(self, event: Any) -> None:
        mark = event.start_mark
        if event.tag is not None:
            self._refuse_tag(event)
        top = self.open[-1]
        if type(top.container) is dict and top.key is None:
            self._refuse_complex_key(mark)
        if len(self.open) > self.limits.depth:
            self._refuse_depth(mark)
        self.nodes += 1
        if self.nodes > self.limits.nodes:
            self._refuse_nodes(mark)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        is_mapping = type(event) is MappingStartEvent
        container: Any = {} if is_mapping else []
        places: Any = {} if is_mapping else []
        self.open.append(_Open(container, places, mark, event.anchor, self.nodes - 1))

    def _end(self) -> None:
        done = self.open.pop()
        place = (done.mark, done.places)
        top = self.open[-1]
        top.height = max(top.height, done.height + 1)
        if done.anchor is not None:
            nodes = self.nodes - done.nodes_before
            self.anchors[done.anchor] = _Anchored(done.container, place, nodes, done.height)
        self._put(top, done.container, place)

    def _alias(self, event: Any) -> None:
        mark, name = event.start_mark, clipped(event.anchor, _SHOWN)
        top = self.open[-1]
        if type(top.container) is dict and top.key is None:
            self._refuse(f"the alias *{name} stands as a key", mark, "write the key out")
        if event.anchor not in self.anchors:
            name = "" if self._under_secret() else name
            self._refuse(f"the alias *{name} has no anchor", mark, "put the value in quotes if it begins with *")
        target = self.anchors[event.anchor]
        if target is None:
            self._refuse(f"the alias *{name} stands inside what it refers to", mark, "write the value out")
        self.nodes += target.nodes
        if self.nodes > self.limits.nodes:
            self._refuse_nodes(mark)
        if len(self.open) - 1 + target.height > self.limits.depth:
            self._refuse_depth(mark)
        top.height = max(top.height, target.height + 1)
        self._put(top, target.value, target.place if not isinstance(target.place, tuple) else (mark, target.place[1]))

    def _under_secret(self) -> bool:
        """Whether what is read now is the value of a key that is named like a secret."""
        return names_a_secret([one.key for one in self.open])

    def _check_escapes(self, text: str, mark: Mark) -> None:
        if hidden := hidden_in_value(text):
            self._refuse(f"the text holds {named(hidden)}", mark, "take the escape out")

    def _refuse_tag(self, event: Any) -> NoReturn:
        fix = "take the tag out; put a value in quotes to make it text"
        shown_tag = "what begins with `!`" if self._under_secret() else _shown_tag(event.tag)
        self._refuse(f"tags are not read, and {shown_tag} is one", event.start_mark, fix)

    def _refuse_key(self, key: Json, written: str, mark: Mark) -> NoReturn:
        if not written:
            self._refuse("a key is missing before the colon", mark, "write the key")
        self._refuse(f"the key {clipped(written, _SHOWN)} is {_KINDS[type(key)]}, not text", mark, "put it in quotes")

    def _refuse_complex_key(self, mark: Mark) -> NoReturn:
        from flowyml_policy.documents.mistakes import placeholder_at

        if placeholder_at(self.text, mark.index):
            problem, fix = (
                "a template's placeholder stands where a value should",
                "put it in quotes, or render the file",
            )
            self._refuse(problem, mark, fix)
        self._refuse("a key is a list or a mapping", mark, "write a key of text, in quotes if it begins with [ or {")

    def _refuse_nodes(self, mark: Mark) -> NoReturn:
        self._refuse_size(f"the document holds more than {self.limits.nodes:,} values, aliases written out", mark)

    def _refuse_depth(self, mark: Mark) -> NoReturn:
        self._refuse_size(f"the document is more than {self.limits.depth} levels deep", mark)

    def _refuse_size(self, problem: str, mark: Mark) -> NoReturn:
        raise YamlTooLarge(problem, location=self._located(mark), fix="split it, or make it smaller")

    def _refuse_syntax(self, error: Exception) -> NoReturn:
        if _TOO_DEEP_TO_SCAN in str(error) and self.parser is not _PureParser:
            _Builder(self.written, self.file, self.limits, _PureParser).documents()
        from flowyml_policy.documents.mistakes import explain_syntax

        mistake = explain_syntax(error, self.text)
        column = column_as_written(self.pairs, mistake.line, mistake.column)
        where = Location(file=self.file, line=mistake.line + 1, column=column + 1)
        raise YamlInvalid(mistake.problem, location=where, fix=mistake.fix) from error

    def _refuse(self, problem: str, mark: Mark, fix: str, cause: Exception | None = None) -> NoReturn:
        raise YamlInvalid(problem, location=self._located(mark), fix=fix) from cause

    def _located(self, mark: Mark) -> Location:
        column = column_as_written(self.pairs, mark.line, mark.column)
        return Location(file=self.file, line=mark.line + 1, column=column + 1)


_KINDS: Final[Mapping[type, str]] = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def _shown_tag(tag: str) -> str:
    return clipped(tag.replace("tag:yaml.org,2002:", "!!"), _SHOWN)
