"""Validation that finds every mistake: each one found is mended in a copy, so that checks go on behind it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from toolkit.spec.errors import nearest
from toolkit.spec.explain import missing_key, not_one_of, other_name, unknown_key, wrong_value
from toolkit.spec.fields import Type, kind_of, known_keys, stand_in, type_at
from toolkit.spec.positions import Path
from toolkit.spec.section import GATHER, Section
from toolkit.spec.spec import PRETRAINING, Spec

_ROUNDS = 12


class Finding(NamedTuple):
    """A mistake at a key path, before it has a line and column."""

    path: Path
    at: Literal["key", "value"]
    message: str


def check(values: dict[str, Any], *, whole: bool = True) -> tuple[Spec | None, list[Finding]]:
    """Validate plain TOML values against the spec: the spec, or everything that is wrong.

    `whole=False` is for what could be read of a broken file: nothing counts as missing.
    """
    search = _Search(_copy(values), whole)
    spec = search.run()
    return (None, search.findings) if search.mended or search.findings else (spec, [])


@dataclass
class _Search:
    values: dict[str, Any]
    whole: bool
    findings: list[Finding] = field(default_factory=list)
    mended: set[Path] = field(default_factory=set)
    renamed: dict[Path, Path] = field(default_factory=dict)

    def run(self) -> Spec | None:
        self._pretraining()
        for _ in range(_ROUNDS):
            try:
                spec = Spec.model_validate(_frozen(self.values), strict=True, context=GATHER)
            except ValidationError as error:
                errors = error.errors(include_url=False)
            else:
                self.findings.extend(self._conflicts(spec, ()))
                return spec
            known = frozenset(self.mended)
            for detail in sorted(errors, key=lambda detail: detail["type"] != "extra_forbidden"):
                self._mend(detail, known)
        return None

    def _pretraining(self) -> None:
        """The tables that are required unless a parent is named: Pydantic can't know."""
        if "parent" in self.values:
            return
        for name in PRETRAINING:
            if name not in self.values and not self._misspelt(name):
                found = type_at(Spec, (name,))[1]
                self._missing((name,), missing_key(name, found), frozenset())
                self._set((name,), stand_in(found))

    def _misspelt(self, name: str) -> bool:
        """Whether an unknown key will be taken for this one."""
        unknown = self.values.keys() - set(known_keys(Spec))
        return any(nearest(key, known_keys(Spec)) == name for key in unknown)

    def _mend(self, detail: ErrorDetails, known: frozenset[Path]) -> None:
        """Note the mistake, unless a mend of an earlier round (`known`) brought it up, and mend it."""
        path, found = type_at(Spec, detail["loc"])
        match detail["type"]:
            case "extra_forbidden":
                self._unknown_key(path, type_at(Spec, detail["loc"][:-1])[1].sections[0])
            case "union_tag_invalid":
                self._unknown_kind(path, detail["input"]["kind"], tuple(map(kind_of, found.sections)))
            case "literal_error" if path[-1] == "kind":
                self._unknown_kind(path[:-1], detail["input"], found.choices)
            case "union_tag_not_found" if near := _misspelt_kind(detail["input"]):
                self._add((*path, near), "key", "unknown key. Did you mean kind?")
                table = self._at(path)
                table["kind"] = table.pop(near)
                self.renamed[(*path, "kind")] = (*self._origin(path), near)
            case "union_tag_not_found":
                self._missing((*path, "kind"), missing_key("kind", found), known)
                self._set(path, _with_kind(found, detail["input"]))
            case "missing" if isinstance(path[-1], str):
                if self._at(path) is None:
                    self._missing(path, missing_key(path[-1], found), known)
                    self._set(path, stand_in(found))
            case "too_short" if len(detail["input"]) >= detail["ctx"]["min_length"]:
                pass  # Pydantic counts the items that are right; the wrong ones have errors of their own
            case kind:
                if kind == "missing":
                    path, found = type_at(Spec, detail["loc"][:-1])
                if not _within(path, known):
                    self._add(path, "value", wrong_value(found, detail))
                self._drop(path)

    def _missing(self, key: Path, message: str, known: frozenset[Path]) -> None:
        if self.whole and not _within(key, known) and not _within(key, self.mended):
            self._add(key, "value", message)
        self.mended.add(key)

    def _unknown_key(self, path: Path, section: type[Section]) -> None:
        name, parent = str(path[-1]), path[:-1]
        near = nearest(name, known_keys(section)) or other_name(name, section)
        self._add(path, "key", unknown_key(path, near, section))
        table = self._at(parent)
        value = table.pop(name)
        if near not in section.model_fields:
            return
        if isinstance(value, dict) and isinstance(table.get(near), dict):
            for inner in value.keys() - table[near].keys():
                table[near][inner] = value[inner]
                self.renamed[(*parent, near, inner)] = (*self._origin(path), inner)
        elif near not in table and isinstance(value, dict | list):
            table[near] = value
            self.renamed[(*parent, near)] = self._origin(path)
        elif near not in table:
            self._missing_is_excused((*parent, near), section)

    def _missing_is_excused(self, path: Path, section: type[Section]) -> None:
        self.mended.add(path)
        _, found = type_at(section, path[-1:])
        if found.field and found.field.is_required():
            self._set(path, stand_in(found))

    def _unknown_kind(self, table: Path, kind: object, kinds: tuple[str, ...]) -> None:
        self._add((*table, "kind"), "value", not_one_of(kind, kinds))
        near = nearest(kind, kinds) if isinstance(kind, str) else None
        if near or len(kinds) == 1:
            self._set((*table, "kind"), near or kinds[0])
        else:
            self._drop(table)

    def _drop(self, path: Path) -> None:
        """Take a value out; the next round fills in a stand-in where it is required."""
        while isinstance(path[-1], int):
            path = path[:-1]
        self.mended.add(path)
        if (table := self._at(path[:-1])) is not None:
            table.pop(path[-1], None)

    def _conflicts(self, section: Section, path: Path) -> Iterator[Finding]:
        for keys, message in section.conflicts():
            paths = [(*path, *key.split(".")) for key in keys]
            if not any(_within(other, self.mended) for other in paths):
                yield Finding(self._origin(paths[0]), "value", message)
        for name in type(section).model_fields:
            value = getattr(section, name)
            if isinstance(value, Section):
                yield from self._conflicts(value, (*path, name))
            elif isinstance(value, tuple | Mapping):
                items = value.items() if isinstance(value, Mapping) else enumerate(value)
                for key, item in items:
                    if isinstance(item, Section):
                        yield from self._conflicts(item, (*path, name, key))

    def _add(self, path: Path, at: Literal["key", "value"], message: str) -> None:
        finding = Finding(self._origin(path), at, message)
        if finding not in self.findings:
            self.findings.append(finding)

    def _origin(self, path: Path) -> Path:
        """The path as the user wrote it, where a table was renamed to its nearest known name."""
        for depth in range(len(path), 0, -1):
            if path[:depth] in self.renamed:
                return self.renamed[path[:depth]] + path[depth:]
        return path

    def _at(self, path: Path) -> Any:
        """The value at a path, or None where an earlier mend took it out."""
        value: Any = self.values
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError):
                return None
        return value

    def _set(self, path: Path, value: Any) -> None:
        if (table := self._at(path[:-1])) is not None:
            table[path[-1]] = value


def _within(path: Path, parents: frozenset[Path] | set[Path]) -> bool:
    return any(path[:depth] in parents for depth in range(1, len(path) + 1))


def _with_kind(found: Type, table: dict[str, Any]) -> dict[str, Any]:
    """The table with the kind its keys speak for, or a stand-in where they speak for none."""
    for section in found.sections:
        if table.keys() <= section.model_fields.keys():
            return {"kind": kind_of(section), **table}
    stand: dict[str, Any] = stand_in(found)
    return stand


def _misspelt_kind(table: object) -> str | None:
    """The key of a table without a kind that was probably meant for it."""
    keys = table if isinstance(table, dict) else {}
    return next((key for key in keys if nearest(key, ("kind",)) and "kind" not in keys), None)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value


def _frozen(value: Any) -> Any:
    """Lists as tuples, as strict validation wants them."""
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
