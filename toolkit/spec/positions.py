"""Where each key and value of a TOML text stands."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tree_sitter import Node, Point

Path = tuple[str | int, ...]

_DEEPEST = 64


class Place(NamedTuple):
    """Line and column, counted in characters from 1."""

    line: int
    column: int


class Located(NamedTuple):
    """Where a key stands and where its value begins. For a table both are its header's name."""

    key: Place
    value: Place


class Statement(NamedTuple):
    """A `key = value` line of a document or table, or a table's header."""

    path: Path
    key: Place
    last_line: int


@dataclass
class Positions:
    """The places of a text that may hold syntax errors. A key given twice counts where it stands last."""

    places: dict[Path, Located] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)


def find_positions(text: str) -> Positions:
    """Parse `text` and note the place of every key, table and list item."""
    import tree_sitter_toml
    from tree_sitter import Language, Parser

    parser = Parser(Language(tree_sitter_toml.language()))
    return _Walk(text.encode()).document(parser.parse(text.encode()).root_node)


class _Walk:
    def __init__(self, text: bytes) -> None:
        self.lines = text.split(b"\n")
        self.found = Positions()
        self.items: dict[Path, int] = {}

    def document(self, root: "Node") -> Positions:
        for child in root.named_children:
            if child.type == "pair":
                self._pair(child, (), 0)
            elif child.type in ("table", "table_array_element"):
                self._table(child)
        return self.found

    def _place(self, point: "Point") -> Place:
        before = self.lines[point.row][: point.column]
        return Place(point.row + 1, len(before.decode(errors="replace")) + 1)

    def _table(self, node: "Node") -> None:
        header = next((child for child in node.named_children if child.type.endswith("_key")), None)
        if header is None:
            return
        path: Path = ()
        names = list(_names(header))
        for depth, name in enumerate(names):
            path += (name,)
            if node.type == "table_array_element" and depth == len(names) - 1:
                self.items[path] = self.items.get(path, -1) + 1
            place = self._place(header.start_point)
            self.found.places.setdefault(path, Located(place, place))
            if path in self.items:
                path += (self.items[path],)
                self.found.places.setdefault(path, Located(place, place))
        self.found.places[path] = Located(place, place)
        self.found.statements.append(Statement(path, place, header.end_point.row + 1))
        for child in node.named_children:
            if child.type == "pair":
                self._pair(child, path, 0)

    def _pair(self, node: "Node", parent: Path, depth: int) -> None:
        parts = [child for child in node.named_children if child.type != "comment"]
        if not parts or not parts[0].type.endswith("_key"):
            return
        key = self._place(parts[0].start_point)
        value = self._place(parts[-1].start_point) if len(parts) > 1 else key
        path = parent
        for name in _names(parts[0]):
            path += (name,)
            self.found.places.setdefault(path, Located(key, key))
        self.found.places[path] = Located(key, value)
        if depth == 0:
            self.found.statements.append(Statement(path, key, node.end_point.row + 1))
        if len(parts) > 1:
            self._value(parts[-1], path, depth + 1)

    def _value(self, node: "Node", path: Path, depth: int) -> None:
        if depth > _DEEPEST:
            return
        if node.type == "inline_table":
            for child in node.named_children:
                if child.type == "pair":
                    self._pair(child, path, depth)
        elif node.type == "array":
            items = [child for child in node.named_children if child.type != "comment"]
            for index, child in enumerate(items):
                place = self._place(child.start_point)
                self.found.places[(*path, index)] = Located(place, place)
                self._value(child, (*path, index), depth + 1)


def _names(key: "Node") -> Iterator[str]:
    if key.type == "dotted_key":
        for child in key.named_children:
            yield from _names(child)
    else:
        text = (key.text or b"").decode(errors="replace")
        yield _unquoted(text) if key.type == "quoted_key" else text


def _unquoted(text: str) -> str:
    try:
        return next(iter(tomllib.loads(f"{text} = 0")))
    except tomllib.TOMLDecodeError:
        return text
