"""What a checkpoint consists of: a manifest with the size and hash of each file, and its parents."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from toolkit.store.atomic import JSON_LIMIT, parse_json, sync, to_json, write_new
from toolkit.store.errors import BadFile, CorruptCheckpoint

FORMAT = 1
MANIFEST = "MANIFEST.json"
SEAL = "MANIFEST.sha256"
"""The id, as `sha256sum -c MANIFEST.sha256` reads it: a manifest alone could not show its own damage."""
FOLDER = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Parent:
    """A checkpoint that this one comes from, and how: `previous` of the same run, `init` of another …"""

    id: str
    role: str


@dataclass(frozen=True)
class Entry:
    """A file of a checkpoint: its size in bytes and its sha256 in hex."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as its manifest tells it. That the files agree is for `verify` to say."""

    id: str
    """sha256 of the manifest, in hex. As that names the parents' ids, it commits to the whole ancestry."""
    step: int
    path: Path
    files: Mapping[str, Entry]
    info: Mapping[str, Any]
    parents: tuple[Parent, ...]

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics at the time of the checkpoint, by name."""
        return {name: float(value) for name, value in self.info.get("metrics", {}).items()}

    @property
    def size(self) -> int:
        """Bytes of its files together."""
        return sum(entry.size for entry in self.files.values())


def seal(
    folder: Path,
    step: int,
    info: Mapping[str, Any],
    parents: Sequence[Parent],
    known: Mapping[str, Entry] | None = None,
) -> str:
    """Hash and sync what lies in `folder`, write the manifest, sync the folder; return the id.

    `known` are files that those who wrote them have hashed and synced. Raises CorruptCheckpoint where one of
    them isn't there in full.
    """
    files = {}
    waiting = dict(known or {})
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        entry = waiting.pop(name, None) or hash_file(path, durable=True)
        if entry.size != path.stat().st_size:
            raise CorruptCheckpoint(folder, f"{name} is not as long here as where it was written")
        files[name] = {"size": entry.size, "sha256": entry.sha256}
    for name in waiting:
        raise CorruptCheckpoint(folder, f"{name} was written by another rank and is not to be seen here")
    manifest = to_json(
        {
            "format": FORMAT,
            "step": step,
            "files": files,
            "info": dict(info),
            "parents": [{"id": parent.id, "role": parent.role} for parent in parents],
        }
    )
    identity = hashlib.sha256(manifest).hexdigest()
    write_new(folder / SEAL, _sealed(identity))
    write_new(folder / MANIFEST, manifest)
    for path in [*(path for path in folder.rglob("*") if path.is_dir()), folder]:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            sync(descriptor)
        finally:
            os.close(descriptor)
    return identity


def read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`, by its manifest alone. Raises CorruptCheckpoint."""
    try:
        data = (folder / MANIFEST).read_bytes()
        seal_data = (folder / SEAL).read_bytes()
    except FileNotFoundError as error:
        raise CorruptCheckpoint(folder, f"{Path(str(error.filename)).name} is missing") from error
    except OSError as error:
        raise _unreadable(folder, error) from error
    if _sealed(hashlib.sha256(data).hexdigest()) != seal_data:
        raise CorruptCheckpoint(folder, f"{MANIFEST} does not match {SEAL}")
    checkpoint = parse_manifest(data, folder)
    name = FOLDER.fullmatch(folder.name)
    if name and int(name[1]) != checkpoint.step:
        raise CorruptCheckpoint(folder, f"{MANIFEST} is that of step {checkpoint.step}")
    return checkpoint


def parse_manifest(data: bytes, folder: Path) -> Checkpoint:
    """The checkpoint that a manifest's bytes describe. Raises CorruptCheckpoint."""
    if len(data) > JSON_LIMIT:
        raise CorruptCheckpoint(folder, f"{MANIFEST} is larger than {JSON_LIMIT} bytes")
    try:
        fields = parse_json(data, folder / MANIFEST)
        if fields["format"] != FORMAT:
            raise CorruptCheckpoint(folder, f"has format {fields['format']}; this tk reads format {FORMAT}")
        files = {
            name: Entry(int(file["size"]), str(file["sha256"])) for name, file in fields["files"].items()
        }
        parents = tuple(Parent(str(parent["id"]), str(parent["role"])) for parent in fields["parents"])
        checkpoint = Checkpoint(
            hashlib.sha256(data).hexdigest(),
            int(fields["step"]),
            folder,
            files,
            dict(fields["info"]),
            parents,
        )
        json.dumps(checkpoint.metrics)
    except (BadFile, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptCheckpoint(folder, f"{MANIFEST} is not a manifest ({error})") from error
    for name in files:
        if ".." in PurePosixPath(name).parts or name.startswith("/") or name in ("", MANIFEST, SEAL):
            raise CorruptCheckpoint(folder, f"{MANIFEST} names the file {name!r}, which leads elsewhere")
    return checkpoint


def verify_files(checkpoint: Checkpoint) -> None:
    """Read every file: none missing, none added, sizes and hashes as written. Raises CorruptCheckpoint."""
    folder = checkpoint.path
    try:
        if read_checkpoint(folder).id != checkpoint.id:
            raise CorruptCheckpoint(folder, "was replaced by another checkpoint")
        present = {path.relative_to(folder).as_posix() for path in _files(folder)} - {MANIFEST, SEAL}
        for name in sorted(checkpoint.files.keys() - present):
            raise CorruptCheckpoint(folder, f"{name} is missing")
        for name in sorted(present - checkpoint.files.keys()):
            raise CorruptCheckpoint(folder, f"{name} does not belong to it")
        for name, entry in checkpoint.files.items():
            size = (folder / name).lstat().st_size
            if size != entry.size:
                raise CorruptCheckpoint(folder, f"{name} has {size} bytes where {entry.size} were written")
            if hash_file(folder / name).sha256 != entry.sha256:
                raise CorruptCheckpoint(folder, f"{name} is damaged: its sha256 is not that of the manifest")
    except OSError as error:
        raise _unreadable(folder, error) from error


def _sealed(identity: str) -> bytes:
    return f"{identity}  {MANIFEST}\n".encode()


def _files(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    for path in paths:
        if path.is_symlink() or not path.is_file():
            raise CorruptCheckpoint(folder, f"{path.relative_to(folder)} is not a plain file")
    return paths


def hash_file(path: Path, *, durable: bool = False) -> Entry:
    """Size and sha256 of a file; with `durable` it is on the device on return."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if durable:
            sync(file.fileno())
        return Entry(file.tell(), digest)


def _unreadable(folder: Path, error: OSError) -> Exception:
    """Only what the disk says of the data itself is damage; a lost network or a missing right is not."""
    if error.errno in (errno.EIO, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP):
        return CorruptCheckpoint(folder, f"cannot be read: {error}")
    return error
