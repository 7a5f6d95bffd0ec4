"""`hub`: data sets of the Hugging Face hub, or local folders, through the `datasets` library."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolkit.data.errors import DataError
from toolkit.data.sources.document import Document
from toolkit.data.sources.files import Files
from toolkit.data.sources.reach import why_unreachable
from toolkit.data.sources.rows import as_text, missing_key
from toolkit.spec.data import FilesSource, HubSource

_OFFLINE = (
    "To work offline, download it once (`hf download --repo-type dataset {path} --local-dir FOLDER`) "
    "and set path to that folder"
)


class Hub:
    """Rows of one split. A data set on the hub is read once: what was prepared is what later runs use."""

    def __init__(self, source: HubSource, cache: Path | None = None) -> None:
        self._source = source
        self._cache = cache
        self._reason: str | None = None

    @property
    def name(self) -> str:
        return self._source.path

    @property
    def size(self) -> None:
        return None

    def identity(self) -> dict[str, Any]:
        identity = self._source.model_dump(mode="json", exclude={"weight", "streaming"})
        if Path(self._source.path).is_dir():
            del identity["path"]
            files = Files(FilesSource(kind="files", path=self._source.path), self._cache)
            identity["files"] = files.identity()["files"]
        return identity

    def shares(self) -> tuple[()]:
        return ()

    def documents(self, skip: int = 0) -> Iterator[Document]:
        source, limit = self._source, self._source.max_documents
        rows = self._load()
        if skip:
            rows = rows.skip(skip)
        if limit is not None:
            rows = rows.take(max(limit - skip, 0))
        number = skip
        try:
            for row in rows:
                number += 1
                origin = f"{source.path}:{number}"
                if source.text_key not in row:
                    raise DataError(origin, missing_key(source.text_key, row))
                yield Document(as_text(row[source.text_key], source.text_key, origin), origin)
        except (OSError, EOFError) as error:
            raise self._unreachable(error) from error

    def rows(self) -> Iterator[dict[str, Any]]:
        """Whole rows: classes by their names, images and recordings as they are stored."""
        import datasets

        rows = self._load()
        classes = {}
        for name, feature in (rows.features or {}).items():
            if isinstance(feature, datasets.ClassLabel):
                classes[name] = feature.names
            elif isinstance(feature, datasets.Image | datasets.Audio):
                rows = rows.cast_column(name, type(feature)(decode=False))
        try:
            for row in rows:
                named = {
                    k: classes[k][v] for k, v in row.items() if k in classes and v is not None and v >= 0
                }
                yield {**row, **named}
        except (OSError, EOFError) as error:
            raise self._unreachable(error) from error

    def _load(self) -> Any:
        source = self._source
        is_local = Path(source.path).is_dir()
        self._reason = None if is_local else why_unreachable()
        if not is_local and source.path.startswith((".", "/", "~")):
            raise DataError(source.path, f"no such folder (relative paths start at {Path.cwd()})")
        import datasets

        try:
            return datasets.load_dataset(
                source.path,
                name=source.name,
                split=source.split,
                revision=source.revision,
                streaming=source.streaming,
            )
        except (ValueError, datasets.exceptions.DatasetsError) as error:
            raise DataError(
                source.path, f"the datasets library can't open it: {first_line(error)}"
            ) from error
        except (OSError, RuntimeError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> DataError:
        return DataError(
            self._source.path,
            f"can't be reached on the hub: {self._reason or first_line(error)}. "
            + _OFFLINE.format(path=self._source.path),
        )


def first_line(error: Exception) -> str:
    """The first line of an error's message, without its full stop."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
