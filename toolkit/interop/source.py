"""What an import is made of, known before any weight is read: where it lies, what it describes, its tokenizer.

It needs no torch: `tk plan` reads a parent's folder by it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from toolkit.data.errors import DataError
from toolkit.data.tokenizer import CONFIG, FILE, TextTokenizer
from toolkit.data.tokenizer import LARGEST_FILE as LARGEST_TOKENIZER
from toolkit.interop.config import Described, read_config
from toolkit.interop.errors import InteropError
from toolkit.interop.families import FAMILIES
from toolkit.interop.folder import (
    ADAPTER_CONFIG,
    MODEL_CONFIG,
    PROCESSOR,
    Advance,
    begin_of_text,
    chat_template,
    end_of_text,
    files_of,
    hash_files,
    read_beside,
    read_object,
    tensor_names,
    weight_files,
)
from toolkit.interop.hub import download
from toolkit.plan.origin import Origin
from toolkit.plan.parents import HUGGING_FACE
from toolkit.spec.model import BERTArchitecture, GPTArchitecture, ViTArchitecture

_CODE = "auto_map"


class Source(NamedTuple):
    """Where a model lies: a whole one, or an adapter and its base."""

    reference: str
    folder: Path
    """Of the whole model."""
    adapter: Path | None = None
    base: str | None = None
    """What the adapter calls its base."""
    revision: str | None = None

    @property
    def config(self) -> Path:
        return self.folder / MODEL_CONFIG

    def files(self) -> dict[str, Path]:
        """The files that are read, by a name of their own."""
        found = {name: self.folder / name for name in files_of(self.folder)}
        if self.adapter is not None:
            found = {f"base/{name}": path for name, path in found.items()}
            found |= {name: self.adapter / name for name in files_of(self.adapter)}
        return found


def find_source(text: str, revision: str | None) -> Source:
    """The folder that a reference names, here or on the hub. Raises InteropError."""
    folder = Path(text).expanduser()
    if folder.is_dir():
        reference, commit = f"{HUGGING_FACE}{folder.resolve()}", None
    else:
        folder = download(text, revision)
        reference, commit = f"{HUGGING_FACE}{text}", folder.name
    if not (folder / ADAPTER_CONFIG).is_file() or (folder / MODEL_CONFIG).is_file():
        return Source(reference, folder, revision=commit)
    name = base_of(folder)
    base = next((path for path in (Path(name).expanduser(), folder / name) if path.is_dir()), None)
    if base is None:
        try:
            base = download(name)
        except InteropError as error:
            raise InteropError(
                f"{folder / ADAPTER_CONFIG}: its base can't be had. {error} Or write the base's folder as "
                "base_model_name_or_path there."
            ) from error
    if (base / ADAPTER_CONFIG).is_file() and not (base / MODEL_CONFIG).is_file():
        raise InteropError(f"{folder}: its base {name} is an adapter too. Merge that first, with peft.")
    return Source(reference, base, folder, name, commit)


def base_of(adapter: Path) -> str:
    """The model that an adapter's folder names as its base. Raises InteropError."""
    config = read_object(adapter / ADAPTER_CONFIG)
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise InteropError(
            f"{adapter / ADAPTER_CONFIG}: has no base_model_name_or_path. Write the base's folder or name there."
        )
    return base


def describe(source: Source) -> Described:
    """Family and architecture, by the folder's JSON alone. Raises InteropError."""
    return read_config(read_object(source.config), str(source.config), read_beside(source.folder))


def read_origin(source: Source, described: Described, advance: Advance = lambda n: None) -> Origin:
    """The files that an import reads, each hashed, and what it does not read. Raises InteropError."""
    files = source.files()
    hashes = {name: hash_files(path.parent, [path.name], advance)[path.name] for name, path in files.items()}
    return Origin(
        reference=source.reference,
        family=described.family,
        revision=source.revision,
        adapter_of=source.base,
        files=hashes,
        notes=tuple(_notes(source, described, files)),
    )


def _notes(source: Source, described: Described, files: dict[str, Path]) -> Iterator[str]:
    family = described.family
    if any(_CODE in read_object(files[name]) for name in files if name.endswith((MODEL_CONFIG, CONFIG))):
        yield (
            f"{source.reference} asks for code of its own (auto_map), which is never run: it is read as a {family}."
        )
    known = FAMILIES[family]
    for name in described.classes:
        if name not in (known.body, known.words):
            yield f"{source.reference} is a {name}: its body is taken, and what that class has on it is left behind."
    if isinstance(described.architecture, ViTArchitecture):
        arch = described.architecture
        has = (
            "is" if PROCESSOR in files else f"can't be known, as there is no {PROCESSOR}, and is taken to be"
        )
        yield (
            f"its pixels' mean {has} {_listed(arch.pixel_mean)}, and their deviation {_listed(arch.pixel_std)}. An "
            f"image of another size than {arch.height} by {arch.width} is cut to its middle and resized (bicubic)."
        )


def _listed(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def has_words(source: Source, described: Described) -> bool:
    """Whether the folder has a language-model head, by the headers of its weights. Raises InteropError."""
    names = tensor_names(source.folder, weight_files(source.folder))
    return FAMILIES[described.family].has_words(names)


def read_tokenizer(source: Source, described: Described) -> TextTokenizer | None:
    """The tokenizer; None for a model that reads no text. Raises InteropError where it doesn't fit the model, and
    DataError for one that can't be read."""
    arch = described.architecture
    if isinstance(arch, ViTArchitecture):
        return None
    # An adapter's folder may hold a tokenizer of its own, with more tokens or another template.
    folders = [folder for folder in (source.adapter, source.folder) if folder and (folder / FILE).is_file()]
    if not folders:
        raise InteropError(
            f"{source.folder}: has no {FILE}. Write it with transformers: AutoTokenizer.from_pretrained(FOLDER)"
            ".save_pretrained(FOLDER)."
        )
    file, config = folders[0] / FILE, read_object(source.config)
    if file.stat().st_size > LARGEST_TOKENIZER:
        raise DataError(file, f"larger than {LARGEST_TOKENIZER >> 20} MB: not a tokenizer.json")
    try:
        if isinstance(arch, GPTArchitecture):
            roles = end_of_text(file.parent, config), begin_of_text(file.parent, config)
            tokenizer = TextTokenizer(file.read_bytes(), *roles)
        else:
            segments = isinstance(arch, BERTArchitecture) and arch.n_segments > 1
            tokenizer = TextTokenizer.of_encoder(file.read_bytes(), segments=segments)
    except ValueError as error:
        raise DataError(file, str(error)) from error
    tokenizer.chat_template = chat_template(file.parent)
    if tokenizer.vocab_size > arch.vocab_size:
        raise InteropError(
            f"{file}: has {tokenizer.vocab_size:,} tokens, and {source.reference} has vectors for "
            f"{arch.vocab_size:,}."
        )
    return tokenizer
