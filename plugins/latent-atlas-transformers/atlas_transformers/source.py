"""Which model is meant: a repository on the Hub at one commit, or a local one by the hash of its files."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas import AtlasError
from atlas.authors import frozen, sha256_of
from atlas_transformers.checkpoint import SHARDS, WEIGHTS, Checkpoint, UnfitError, contents, files_of, is_weights

if TYPE_CHECKING:
    from torch import Tensor

COMMIT = re.compile(r"[0-9a-f]{40}")
HASH = re.compile(r"[0-9a-f]{64}")
# A stored space keeps the files of a local model as tensors of their bytes, under these names.
FILE = "file:"
_REPO = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?", re.ASCII)


@dataclass(frozen=True)
class Source:
    """A model, pinned.

    Attributes:
        name: of a repository on the Hub, or of a local folder.
        revision: the commit of a repository, 40 hexadecimal digits, or the sha256 of a local model's files, 64.
        known: names of the files that are read, besides those of the weights.
        place: the local folder; None for a repository, and for a model kept in a stored space.
        kept: the files that a stored space keeps, as bytes, by name.
    """

    name: str
    revision: str
    known: tuple[str, ...]
    place: Path | None = None
    kept: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        """Whether it is known by the hash of its files."""
        return bool(HASH.fullmatch(self.revision))

    def identity(self) -> dict[str, str]:
        """Return the model's identity: of a local one the hash alone, wherever it lies and whatever it is called."""
        return {"revision": self.revision} if self.local else {"model": self.name, "revision": self.revision}

    def checkpoint(self) -> Checkpoint:
        """Return the contents of the files; those of a repository are downloaded, if they have not been."""
        if self.kept:
            raw = {name: data.numpy().tobytes() for name, data in self.kept.items()}
            small = {name: contents(Path(name), data) for name, data in raw.items() if not is_weights(name)}
            return Checkpoint(small, _tensors({Path(name): data for name, data in raw.items() if is_weights(name)}))
        files = files_of(self.place or _downloaded(self), self.known)
        small = {name: contents(path, _bytes(path)) for name, path in files.items() if not is_weights(name)}
        return Checkpoint(small, _tensors({path: b"" for name, path in files.items() if is_weights(name)}))

    def state(self) -> dict[str, Tensor]:
        """Return the files of a local model as tensors, to be stored; nothing for a repository, which has them."""
        if not self.place:
            return {FILE + name: data for name, data in self.kept.items()}
        if hash_of_folder(self.place, self.known) != self.revision:
            raise UnfitError(f"finds that the files in '{self.place}' have changed since they were first read")
        return {FILE + name: _tensor(path) for name, path in files_of(self.place, self.known).items()}


def find(model: str, revision: str, known: tuple[str, ...]) -> Source:
    """Return the model that a name and a revision mean.

    Args:
        model: name of a repository on the Hub, or a folder.
        revision: a branch, tag or commit of a repository; of a folder, the sha256 of its files, which is checked.
        known: names of the files to read, besides those of the weights.

    Raises:
        UnfitError: no such folder, or something else is in it.
        AtlasError: no such repository or revision, or the Hub cannot be asked.
    """
    place = Path(model).expanduser()
    if not HASH.fullmatch(revision) and (COMMIT.fullmatch(revision) or not place.is_dir()):
        return Source(model, _resolved(model, revision), known)
    if not place.is_dir():
        raise UnfitError(f"needs the files of the local model '{model}' - load the stored space that keeps them")
    if revision and not HASH.fullmatch(revision):
        raise UnfitError(f"finds that '{model}' is a folder, which has no revision '{revision}' - leave it out")
    found = hash_of_folder(place, known)
    if revision and found != revision:
        raise UnfitError(f"needs another model than that in '{model}': sha256 {revision[:12]}..., not {found[:12]}...")
    return Source(place.resolve().name, found, known, place.resolve())


def from_state(name: str, state: Mapping[str, Tensor], known: tuple[str, ...]) -> Source:
    """Return the local model that a stored space keeps.

    Args:
        name: of the model.
        state: its files, as `Source.state` returned them.
        known: names that its files may have, besides those of the weights.

    Raises:
        UnfitError: something else than such files.
    """
    kept = {key.removeprefix(FILE): data for key, data in state.items()}
    for key, data in state.items():
        file = key.removeprefix(FILE)
        if not key.startswith(FILE) or not (file in known or is_weights(file)):
            raise UnfitError(f"was given a tensor '{key[:60]}', which is not the file of a model")
        if data.dtype != torch.uint8 or data.ndim != 1:
            raise UnfitError(f"was given a tensor '{key}' of {data.dtype}, which is not the bytes of a file")
    hashes = {file: hashlib.sha256(data.contiguous().numpy().data).hexdigest() for file, data in kept.items()}
    return Source(name, sha256_of(hashes), known, kept=kept)


def hash_of_folder(folder: Path, known: tuple[str, ...]) -> str:
    """Return the sha256 of the names and contents of all files in a folder that are read."""
    return sha256_of({name: _hash_of(*_stamp(path)) for name, path in files_of(folder, known).items()})


def _stamp(path: Path) -> tuple[Path, int, int, int]:
    """Return a path, and values that change whenever its file does."""
    stat = path.stat()
    return path, stat.st_ino, stat.st_size, stat.st_mtime_ns


@functools.cache
def _hash_of(path: Path, *stamp: int) -> str:
    if not is_weights(path.name):
        return hashlib.sha256(contents(path, _bytes(path))).hexdigest()
    with _readable(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes(path: Path) -> bytes:
    with _readable(path):
        return path.read_bytes()


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnfitError(f"cannot read '{path}': {error.strerror}") from None


def _tensor(path: Path) -> Tensor:
    """Return a file as it is kept, as a tensor of its bytes."""
    if is_weights(path.name):
        return torch.from_numpy(np.fromfile(path, dtype=np.uint8))
    return torch.frombuffer(bytearray(contents(path, _bytes(path))), dtype=torch.uint8)


def _tensors(files: Mapping[Path, bytes]) -> dict[str, Tensor]:
    """Return the weights in files, given with their contents, or without to be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load, load_file

    result: dict[str, Tensor] = {}
    for path, data in files.items():
        try:
            result |= load(data) if data else load_file(path)
        except (SafetensorError, OSError) as error:
            raise UnfitError(f"cannot read '{path}': {str(error).partition(chr(10))[0]}") from None
    # Copied out of the file, which could change; and lying in memory as they always do, or last bits would differ.
    return frozen(dict(sorted(result.items())))


def _resolved(model: str, revision: str) -> str:
    """Return the commit of a revision of a repository; one that was resolved once is known offline, too."""
    from huggingface_hub import resolve_revision
    from huggingface_hub.errors import RevisionResolutionError

    from atlas.authors import patiently

    if not _REPO.fullmatch(model):
        raise UnfitError(f"finds no folder '{model}', and it is not the name of a model on the Hub, as owner/name is")
    ref = f"{model}@{revision}" if revision else model
    try:
        return patiently(lambda: resolve_revision(model, revision=revision or None), ref).resolved
    except RevisionResolutionError:
        raise UnfitError(
            f"finds no folder '{model}', and '{ref}' has not been downloaded and cannot be now - "
            "go online (and unset HF_HUB_OFFLINE), or give a folder"
        ) from None
    except AtlasError as error:
        raise UnfitError(f"finds no folder '{model}', and on the Hub, {error}") from None


def _downloaded(source: Source) -> Path:
    from huggingface_hub import snapshot_download

    from atlas.authors import patiently

    wanted = [*source.known, WEIGHTS, SHARDS]
    call = functools.partial(snapshot_download, source.name, revision=source.revision, allow_patterns=wanted)
    return Path(patiently(call, f"{source.name}@{source.revision}"))
