"""Which model is meant: a repository on the Hub at one commit, or a local one by the hash of its files."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from atlas import AtlasError
from atlas.authors import explained, packaged, sha256_of

COMMIT = re.compile(r"[0-9a-f]{40}")
HASH = re.compile(r"[0-9a-f]{64}")
# A stored space keeps the files of a local model as tensors of their bytes, under these names.
FILE = "file:"
# Files that no vector depends on: neither downloaded nor hashed. Code and pickles are among them, never loaded.
_PICKLES = "*.bin *.pt *.pth *.ckpt *.pkl *.pickle *.joblib *.npy *.npz *.py"
_OTHERS = "*.h5 *.msgpack *.ot *.onnx *.onnx_data *.gguf *.tflite *.mlmodel onnx/* openvino/* coreml/* checkpoint-*/*"
_BESIDE = "*.pdf *.ipynb *.png *.jpg *.jpeg *.gif *.svg *.webp *.csv *.tsv *.parquet LICENSE* .* */.*"
IGNORED = f"{_PICKLES} {_OTHERS} {_BESIDE}".split()
DESCRIPTIONS = ["*.md"]


@dataclass(frozen=True)
class Source:
    """A model, pinned.

    Attributes:
        name: owner/name on the Hub, package:NAME/PATH, or the name of a local folder.
        revision: the commit of a repository, 40 hexadecimal digits, or the sha256 of a local model's files, 64.
        place: the local folder; None for a repository, and for a model kept in a stored space.
        files: the files that a stored space keeps, as bytes, by name.
    """

    name: str
    revision: str
    place: Path | None = None
    files: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        """Whether it is known by the hash of its files."""
        return bool(HASH.fullmatch(self.revision))

    def identity(self) -> dict[str, str]:
        """Return the model's identity: of a local one the hash alone, wherever it lies and whatever it is called."""
        return {"revision": self.revision} if self.local else {"model": self.name, "revision": self.revision}

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """Yield a folder that holds the model; files that are not in the Hub's cache yet are downloaded into it."""
        if self.place:
            yield self.place
        elif self.files:
            # Tensors loaded from them may still be mapped when they are removed.
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
                write_files(self.files, Path(temporary))
                yield Path(temporary)
        else:
            yield self._downloaded()

    def _downloaded(self) -> Path:
        from huggingface_hub import snapshot_download

        from atlas.authors import Ref, patiently

        how = {"cache_dir": _cache(), "ignore_patterns": IGNORED, "library_name": "latent-atlas"}
        call = functools.partial(snapshot_download, self.name, revision=self.revision, **how)
        return Path(patiently(call, Ref(self.name, self.revision)))

    def state(self) -> dict[str, Tensor]:
        """Return the files of a local model as tensors, to be stored; nothing where the Hub or a package has them."""
        if not self.local or self.name.startswith("package:"):
            return {}
        if not self.place:
            return {FILE + name: data for name, data in self.files.items()}
        if hash_of_folder(self.place) != self.revision:
            raise AtlasError(f"finds that the files in '{self.place}' have changed since they were first read")
        with explained(self.place, "read"):
            return {FILE + name: _bytes(path) for name, path in files_of(self.place).items()}


def find(model: str, revision: str = "") -> Source:
    """Return the model that a name and a revision mean.

    Args:
        model: owner/name on the Hub (or the name alone of one of sentence-transformers' own), a folder, or one in an
            installed package, package:NAME/PATH.
        revision: a branch, tag or commit of a repository; of a folder, the sha256 of its files, which is checked.

    Raises:
        AtlasError: no such folder, repository or revision, or the Hub cannot be asked.
    """
    inside = packaged(model)
    place = inside or Path(model).expanduser()
    if not HASH.fullmatch(revision) and (COMMIT.fullmatch(revision) or not place.is_dir()):
        return _repository(model, revision)
    if not place.is_dir():
        raise AtlasError(f"needs the files of the local model '{model}' - load the stored space that keeps them")
    found = hash_of_folder(place)
    if revision and not HASH.fullmatch(revision):
        raise AtlasError(f"'{model}' is a folder, and has no revision '{revision}' - leave it out")
    if revision and found != revision:
        raise AtlasError(f"needs another model than that in '{model}': sha256 {revision[:12]}..., not {found[:12]}...")
    return Source(model if inside else place.resolve().name, found, place.resolve())


def from_state(name: str, state: Mapping[str, Tensor]) -> Source:
    """Return the local model that a stored space keeps.

    Args:
        name: of the model.
        state: its files, as `Source.state` returned them.

    Raises:
        AtlasError: something else than files, or files that could not lie in one folder.
    """
    files = {key.removeprefix(FILE): data for key, data in state.items()}
    for key, data in state.items():
        path = PurePosixPath(key.removeprefix(FILE))
        inside = not path.is_absolute() and not {"..", ""} & set(path.parts) and not re.search(r"[\\:\0]", str(path))
        if not (key.startswith(FILE) and str(path) == key.removeprefix(FILE) and path.parts and inside):
            raise AtlasError(f"was given a tensor '{key}', which is not the file of a model")
        if data.dtype != torch.uint8 or data.ndim != 1:
            raise AtlasError(f"was given a tensor '{key}' of {data.dtype}, which is not the bytes of a file")
    hashes = {name: hashlib.sha256(data.contiguous().numpy().data).hexdigest() for name, data in files.items()}
    return Source(name, sha256_of(hashes), files=files)


def write_files(files: Mapping[str, Tensor], folder: Path) -> None:
    """Write the files of a model into a folder."""
    with explained(folder):
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            data.contiguous().numpy().tofile(folder / name)


def _bytes(path: Path) -> Tensor:
    return torch.from_numpy(np.fromfile(path, dtype=np.uint8))


def _repository(model: str, revision: str) -> Source:
    from huggingface_hub import resolve_revision
    from huggingface_hub.errors import RevisionResolutionError

    from atlas.authors import Ref, patiently

    # As the library itself completes a name.
    name = model if "/" in model else f"sentence-transformers/{model}"
    try:
        ref = Ref(name, revision or "main")
    except AtlasError as error:
        raise AtlasError(f"finds no folder '{model}', and on the Hub, {error}") from None
    try:
        found = patiently(lambda: resolve_revision(name, revision=revision or None, cache_dir=_cache()), ref)
    except RevisionResolutionError:
        raise AtlasError(
            f"finds no folder '{model}', and '{ref}' has not been downloaded and cannot be now - "
            "go online (and unset HF_HUB_OFFLINE), or give a folder"
        ) from None
    return Source(name, found.resolved)


def _cache() -> str | None:
    """Return the library's folder for downloads; None: in the Hub's own cache, which HF_HOME moves."""
    return os.environ.get("SENTENCE_TRANSFORMERS_HOME") or None


def files_of(folder: Path) -> dict[str, Path]:
    """Return the files in a folder that vectors may depend on, by name.

    Raises:
        AtlasError: they are not those of a model.
    """
    from huggingface_hub.utils import filter_repo_objects

    if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
        raise AtlasError(f"finds no model in '{folder}' - it has neither a modules.json nor a config.json")
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: found[name] for name in filter_repo_objects(found, ignore_patterns=[*IGNORED, *DESCRIPTIONS])}


def hash_of_folder(folder: Path) -> str:
    """Return the sha256 of the names and contents of all files in a folder that vectors may depend on."""
    return sha256_of({name: _hash_of_file(*_stamp(path)) for name, path in files_of(folder).items()})


def _stamp(path: Path) -> tuple[Path, int, int, int]:
    """Return a path, and values that change whenever its file does."""
    stat = path.stat()
    return path.resolve(), stat.st_ino, stat.st_size, stat.st_mtime_ns


@functools.cache
def _hash_of_file(path: Path, *stamp: int) -> str:
    with explained(path, "read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
