"""From a TOML file to plain values. Reading goes on behind a syntax error that keeps to its line."""

import re
import tomllib
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from toolkit.spec.errors import Problem, nearest
from toolkit.spec.positions import find_positions

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
_MAX_ERRORS = 50
_MAX_CUT_LINES = 200
_SHOWN = 60
_MAX_DOTS = 1000
"""In a line: tomllib needs memory that grows with the square of a dotted key's parts."""
_TOO_DEEP = f"tables and lists are nested deeper than {MAX_DEPTH}."

_WHERE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
_WORD_END = re.compile(r"[\s,\]}#]")


class Text(NamedTuple):
    """A file's bytes and what could be read of them: `text` has no broken lines, `values` is its content."""

    file: str
    raw: bytes
    text: str
    values: dict[str, Any]
    problems: list[Problem]


def read_text(path: FilePath, file: str) -> Text:
    """Read and parse a spec; `file` is its name in errors. What is wrong with it is in `problems`."""
    raw = b""
    try:
        raw = _read(path)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        return Text(file, raw, "", {}, [Problem(file, 0, 0, "", _unreadable(path, error))])
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        message = f"byte 0x{raw[error.start]:02x} is not UTF-8. Save the file as UTF-8."
        return Text(file, raw, "", {}, [Problem(file, *_end_of(before), "", message)])
    if len(raw) > MAX_BYTES:
        message = f"larger than {MAX_BYTES:,} bytes. Is it a spec?"
        return Text(file, b"", "", {}, [Problem(file, 0, 0, "", message)])
    return _parse(file, raw, text.replace("\r\n", "\n"))


def _read(path: FilePath) -> bytes:
    if path.exists() and not path.is_file():
        raise IsADirectoryError(f"{path} is not a file")
    with path.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def _unreadable(path: FilePath, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        folder = path.parent
        names = [other.name for other in folder.glob("*.toml")] if folder.is_dir() else []
        near = f"{path.name}.toml" if f"{path.name}.toml" in names else nearest(path.name, names)
        if near:
            return f"no such file. Did you mean {folder / near}?"
        return "no such file." if folder.is_dir() else f"no such file: there is no folder {folder}."
    if isinstance(error, IsADirectoryError):
        return "not a file. Name a spec, a file that ends in .toml."
    return f"can't be read: {error.strerror}."


def _parse(file: str, raw: bytes, text: str) -> Text:
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > _MAX_DOTS:
            return Text(file, raw, "", {}, [Problem(file, number, 1, "", _TOO_DEEP)])
    try:
        while True:
            try:
                values = tomllib.loads(text)
                break
            except tomllib.TOMLDecodeError as error:
                problem = _syntax_problem(file, text, str(error))
                problems.append(problem)
                text = _without_mistake(text, problem.line) if len(problems) < _MAX_ERRORS else ""
        refused = _TOO_DEEP if _deeper_than(values, MAX_DEPTH) else ""
    except RecursionError:
        refused = _TOO_DEEP
    except ValueError as error:  # a number with more digits than Python reads
        refused = f"{error}."
    if refused:
        problems.append(Problem(file, 1, 1, "", refused))
        return Text(file, raw, "", {}, problems)
    return Text(file, raw, text, values, problems)


def _deeper_than(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(_deeper_than(item, depth - 1) for item in items)


def _end_of(text: str) -> tuple[int, int]:
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _without_mistake(text: str, line: int) -> str:
    """Blank the line if the mistake keeps to it, else all from the broken statement to the next table."""
    lines = text.split("\n")
    before, broken = lines[: line - 1], lines[line - 1]
    brackets = sum(broken.count(c) for c in "[{") - sum(broken.count(c) for c in "]}")
    alone = (
        not broken.lstrip().startswith("[") and not brackets and '"""' not in broken and "'''" not in broken
    )
    if alone and _parses(before):
        return "\n".join([*before, "", *lines[line:]])
    for popped in range(min(_MAX_CUT_LINES, _MAX_CUT_LINES * 10_000 // len(text))):
        if _parses(before):
            first = line - 1 if popped else line
            after = next((i for i in range(first, len(lines)) if lines[i].startswith("[")), len(lines))
            return "\n".join([*before, *[""] * (after - len(before)), *lines[after:]])
        before.pop()
    return ""


def _parses(lines: list[str]) -> bool:
    try:
        tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError:
        return False
    return True


def _syntax_problem(file: str, text: str, error: str) -> Problem:
    match = _WHERE.fullmatch(error)
    said = match[1] if match else error
    line, column = (int(match[2]), int(match[3])) if match and match[2] else _end_of(text.rstrip("\n"))
    rest = text.split("\n")[line - 1][column - 1 :]
    rest = rest if len(rest) <= _SHOWN else rest[:_SHOWN] + "…"
    word = _WORD_END.split(rest, maxsplit=1)[0]
    key, place = _statement_at(text, line, column)
    if said.startswith(("Cannot overwrite", "Cannot declare", "Duplicate inline")):
        return Problem(file, *(place or (line, column)), key, "given twice. Keep one of them.")
    match said:
        case "Invalid value":
            message = _not_a_value(word)
        case "Expected newline or end of document after a statement":
            message = f"{rest.strip()!r} stands after the value. Put text in quotes."
        case "Illegal character '\\n'":
            message = "the text has no closing quote on its line."
        case "Invalid initial character for a key part" if not rest:
            message = "a table in braces must end on the line it begins on."
        case _:
            message = f"{said[0].lower()}{said[1:]}."
    return Problem(file, line, column, key, message)


def _not_a_value(word: str) -> str:
    if not word:
        return "the value is missing."
    if word.lower() in ("true", "false"):
        return f"{word} is not a TOML value. Write {word.lower()}."
    if word.lower() in ("none", "null", "nil"):
        return f"TOML has no {word}. Leave the key out."
    return f'{word} is not a TOML value. Put text in quotes: "{word}".'


def _statement_at(text: str, line: int, column: int) -> tuple[str, tuple[int, int] | None]:
    """Key and place of the statement that a mistake is in, read with a sound value in the mistake's stead."""
    lines = text.split("\n")
    head = "\n".join([*lines[: line - 1], lines[line - 1][: column - 1]])
    for ending in ("", "0", '"', "'", "]", lines[line - 1][column - 1 :]):
        statements = find_positions(head + ending).statements
        if statements and statements[-1].last_line == line:
            return ".".join(map(str, statements[-1].path)), statements[-1].key
    return "", None
