"""From a file and overrides to a validated spec, or to everything that is wrong with them."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any

from toolkit.spec.check import Finding, check
from toolkit.spec.errors import Problem, SpecErrors
from toolkit.spec.fields import kind_of, type_at
from toolkit.spec.places import beside
from toolkit.spec.positions import Path, Positions, find_positions
from toolkit.spec.section import Section
from toolkit.spec.spec import Spec
from toolkit.spec.text import Text, read_text


@dataclass(frozen=True)
class LoadedSpec:
    """A valid spec and the file it came from."""

    spec: Spec
    text: bytes
    """The user's file, byte for byte, without what it extends and without overrides."""
    path: FilePath
    extends: tuple[FilePath, ...] = ()
    """The files it extends, nearest first."""
    overrides: tuple[str, ...] = ()


def load_spec(path: str | FilePath, overrides: Sequence[str] = ()) -> LoadedSpec:
    """Read a spec: `extends` first, then the file, then `KEY=VALUE` overrides in their order, then validate.

    An override's VALUE is TOML, or else plain text: `train.duration="2 epochs"` and
    `train.duration=2 epochs` mean the same. Raises SpecErrors with every mistake found.
    """
    layers, problems = _read_layers(FilePath(path))
    values: dict[str, Any] = {}
    for layer in reversed(layers):
        values = _merged(values, _with_parents_beside(layer.values, FilePath(layer.file).parent))
    applied = [_Override.parse(text) for text in overrides]
    for override in sorted(applied, key=lambda override: override.path[-1:] != ("kind",)):
        if message := override.apply(values):
            problems.append(override.problem(message))
    read_whole = not any(layer.problems for layer in layers)
    spec, findings = check(values, whole=read_whole)
    if problems or spec is None:
        places = _Places(layers, [override for override in applied if override.path])
        problems += [places.problem(finding) for finding in findings]
        raise SpecErrors(sorted(problems, key=places.order))
    return LoadedSpec(
        spec,
        layers[0].raw,
        FilePath(path),
        tuple(FilePath(layer.file) for layer in layers[1:]),
        tuple(overrides),
    )


def _read_layers(path: FilePath) -> tuple[list[Text], list[Problem]]:
    """The file and what it extends, nearest first."""
    layers = [read_text(path, str(path))]
    seen = [path.resolve()]
    problems = [*layers[0].problems]
    while (base := layers[-1].values.pop("extends", None)) is not None:
        layer = layers[-1]

        def problem(message: str, layer: Text = layer) -> Problem:
            located = find_positions(layer.text).places[("extends",)]
            return Problem(layer.file, *located.value, "extends", message)

        if not isinstance(base, str):
            problems.append(problem("must be the path of a spec in quotes."))
            break
        path = path.parent / base
        if path.resolve() in seen:
            problems.append(problem(f"{path} extends this file in turn. A spec can't extend itself."))
            break
        seen.append(path.resolve())
        text = read_text(path, str(path))
        if text.problems and not text.raw:
            problems.append(problem(f"{path}: {text.problems[0].message}"))
        else:
            problems += text.problems
        layers.append(text)
    return layers, problems


def _with_parents_beside(values: dict[str, Any], folder: FilePath) -> dict[str, Any]:
    """A file's values, the specs it calls parents found in its own folder before the working folder."""
    settled = dict(values)
    if isinstance(parent := values.get("parent"), str):
        settled["parent"] = beside(folder, parent)
    targets = values.get("finetune")
    if isinstance(targets, dict):
        settled["finetune"] = {
            name: _with_parents_beside(target, folder) if isinstance(target, dict) else target
            for name, target in targets.items()
        }
    return settled


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Tables are merged key by key; lists are replaced, and so is a table whose `kind` changes."""
    if "kind" in base and "kind" in over and base["kind"] != over["kind"]:
        base = {}
    merged = dict(base)
    for key, value in over.items():
        below = base.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return merged


@dataclass(frozen=True)
class _Override:
    text: str
    path: Path
    value: Any

    @classmethod
    def parse(cls, text: str) -> "_Override":
        key, equals, value = text.partition("=")
        steps = [step.strip() for step in key.split(".")]
        if not equals or not all(steps):
            return cls(text, (), None)
        return cls(
            text, tuple(int(step) if step.isdecimal() else step for step in steps), _toml_or_text(value)
        )

    def problem(self, message: str, key: str = "") -> Problem:
        return Problem(f'override "{self.text}"', 0, 0, key, message)

    def apply(self, values: dict[str, Any]) -> str | None:
        """Set the value in `values`; what is wrong, if it can't be set."""
        if not self.path:
            return "not an override. Write KEY=VALUE, like train.duration=500 steps."
        table: Any = values
        for depth, step in enumerate(self.path):
            last = depth == len(self.path) - 1
            if isinstance(table, dict):
                name = str(step)
                if last:
                    if name == "kind" and table.get("kind", self.value) != self.value:
                        table.clear()
                    table[name] = self.value
                elif name not in table:
                    table[name] = _default_below(self.path[: depth + 1])
                table = table[name]
            elif not isinstance(table, list):
                return f"{_dotted(self.path[:depth])} is not a table."
            elif not isinstance(step, int) or step >= len(table):
                return f"{_dotted(self.path[:depth])} is a list of {len(table)}; its items count from 0."
            elif last:
                table[step] = self.value
            else:
                table = table[step]
        return None


def _toml_or_text(value: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):
        return value.strip()
    return parsed["value"] if parsed.keys() == {"value"} else value


def _default_below(path: Path) -> Any:
    """What an override goes into where the file has no such table or list: what the default is."""
    field = type_at(Spec, path)[1].field
    default = field.default if field else None
    if isinstance(default, tuple):
        return [item.model_dump(mode="json") for item in default if isinstance(item, Section)]
    kind = kind_of(type(default)) if isinstance(default, Section) else ""
    return {"kind": kind} if kind else {}


@dataclass
class _Places:
    """Finds the line and column, or the override, that a mistake stands in."""

    layers: list[Text]
    overrides: list[_Override]

    @cached_property
    def positions(self) -> list[Positions]:
        return [find_positions(layer.text) for layer in self.layers]

    def problem(self, finding: Finding) -> Problem:
        key = _dotted(finding.path)
        for depth in range(len(finding.path), 0, -1):
            path = finding.path[:depth]
            for override in reversed(self.overrides):
                if path[: len(override.path)] == override.path:
                    return override.problem(finding.message, key)
            for layer, positions in zip(self.layers, self.positions, strict=True):
                if located := positions.places.get(path):
                    place = located.key if finding.at == "key" else located.value
                    return Problem(layer.file, *place, key, finding.message)
            for override in reversed(self.overrides):
                if override.path[:depth] == path:
                    return override.problem(finding.message, key)
        return Problem(self.layers[0].file, 1, 1, key, finding.message)

    def order(self, problem: Problem) -> tuple[int, int, int]:
        files = [layer.file for layer in self.layers]
        index = files.index(problem.file) if problem.file in files else len(files)
        return index, problem.line, problem.column


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))
