"""`python_stdlib_functions`: documented functions of the interpreter's own library, with the package they are from."""

import ast
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from toolkit.data.records import Record
from toolkit.data.sources.python_stdlib import PythonStdlib
from toolkit.spec.labelled import PythonFunctions

_SHORTEST_BODY = 8


class Functions:
    """Rows with `prompt`, `body`, `code` and `package`."""

    name = "the functions of the Python standard library"

    def __init__(self, source: PythonFunctions) -> None:
        self._source = source
        self._library = PythonStdlib()

    def identity(self) -> dict[str, Any]:
        source = self._source
        return {
            "kind": source.kind,
            "packages": source.packages,
            "longest": source.longest,
            "library": self._library.identity(),
        }

    def train(self) -> Iterator[Record]:
        return iter(self._records)

    def validation(self) -> None:
        return None

    @cached_property
    def _records(self) -> list[Record]:
        found = []
        for document in self._library.documents():
            if document.origin.endswith(".py"):
                package = document.origin.split("/")[0].removesuffix(".py")
                found += list(_functions(document.text, document.origin, package, self._source.longest))
        counts = Counter(record.values["package"] for record in found)
        # By size and name, so that equal sizes give the same packages everywhere.
        largest = sorted(counts, key=lambda package: (-counts[package], package))[: self._source.packages]
        return [record for record in found if record.values["package"] in largest]


def _functions(text: str, origin: str, package: str, longest: int) -> Iterator[Record]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old sources hold invalid escapes
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    lines = text.splitlines(keepends=True)
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or ast.get_docstring(node) is None:
            continue
        docstring, *body = node.body
        if not body or docstring.end_lineno is None or node.end_lineno is None:
            continue
        if body[0].lineno <= docstring.end_lineno:
            continue  # on one line with its docstring
        # Cut from the margin of the function, so that a method reads like a function.
        whole = textwrap.dedent("".join(lines[node.lineno - 1 : node.end_lineno]))
        parts = whole.splitlines(keepends=True)
        split = docstring.end_lineno - node.lineno + 1
        prompt, rest = "".join(parts[:split]), "".join(parts[split:])
        if (
            len(whole) > longest
            or len(rest.strip()) < _SHORTEST_BODY
            or not prompt.startswith(("def", "async"))
        ):
            continue
        yield Record(
            {"prompt": prompt, "body": rest, "code": whole, "package": package}, f"{origin}:{node.lineno}"
        )
