"""Items from files: folders of images, texts, tables and arrays.

An item is called by its path within the folder, by its id in the table, or by the number of its row or line,
from 0, as the rows of an array are: vectors that somebody else made of the same file then have the same ids.
"""

from __future__ import annotations

import collections
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.cards.names import slug
from atlas.errors import AtlasError, NotFoundError, warn
from atlas.items.batches import ArrayItems, ImageItems, Items, TextItems, as_items
from atlas.items.tables import Table, find_column, lines_of, read_csv, read_jsonl, read_parquet
from atlas.storage.files import as_path, refuse_device
from atlas.storage.header import TensorFile, size_of
from atlas.storage.item_ids import unpack_ids
from atlas.storage.rows import Rows
from atlas.storage.tensors import open_npy

__all__ = ["Items", "as_items", "read_items"]

JPEGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k")
IMAGES = (
    *JPEGS,
    ".apng",
    ".avif",
    ".bmp",
    ".gif",
    ".pbm",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".qoi",
    ".tif",
    ".tiff",
    ".webp",
)
KNOWN = f"known endings: {', '.join(sorted(IMAGES))}"
TABLES = {".csv": read_csv, ".jsonl": read_jsonl, ".parquet": read_parquet, ".tsv": read_csv}
# The endings of files that may be encoded one by one, as a set.
SETS = frozenset((*TABLES, ".txt", ".npy", ".safetensors"))
# A folder with more files that are no images is hardly one of images.
MOST_OTHERS = 100_000
SPLITS = ("dev", "test", "train", "training", "val", "valid", "validation")


def read_items(
    path: str | Path, *, text_column: str | None = None, label_column: str | None = None, id_column: str | None = None
) -> Items:
    """Return the items of a file or folder.

    Args:
        path: a folder of images, in which folders (if all images are in some) name the classes; an image; a .txt file
            with one item per line, blank lines left out; a .jsonl, .csv, .tsv or .parquet table; or a .npy or
            .safetensors file of arrays (n, ...). A folder that links lead to several times is read once; quotes in a
            .tsv are its syntax only if they pair in every line.
        text_column: the column (or tensor) that holds the items; None: the one with a common name, such as text.
        label_column: the column that holds classes; None: the one with a common name, such as label; '': none.
        id_column: the column that holds ids; None: the one with a common name, such as id; '': none.

    Raises:
        NotFoundError: nothing is there.
        AtlasError: it cannot be read, holds no items, has no such column, or ids are given more than once.
    """
    path = as_path(path)
    if not path.exists():
        raise NotFoundError(f"There is no file or folder '{path}'")
    refuse_device(path)
    ending = path.suffix.lower()
    with named(path):
        if ending in TABLES and path.is_file():
            return table_items(TABLES[ending](path), name_of(path), text_column, label_column, id_column)
        if ending == ".safetensors" and path.is_file() and not label_column and not id_column:
            return _safetensors(path, text_column)
        if text_column or label_column or id_column:
            raise AtlasError(
                f"There are no columns here, but '{text_column or label_column or id_column}' was asked for"
            )
        if path.is_dir():
            return _image_folder(path)
        if ending == ".txt":
            lines = lines_of(path)
            return TextItems([line for _, line in lines], name=name_of(path), ids=[str(i) for i, _ in lines])
        if ending == ".npy":
            return ArrayItems(open_npy(path), name=name_of(path))
        if ending in IMAGES:
            return ImageItems([path], ids=[path.name], name=name_of(path))
        known = ", ".join(sorted((*TABLES, ".txt", ".npy", ".safetensors", *IMAGES)))
        raise AtlasError(f"Unknown ending '{ending}' - known: {known}, or a folder of images")


@contextlib.contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Put the path before a message that does not have it."""
    try:
        yield
    except AtlasError as error:
        text = str(error)
        if str(path) in text:
            raise
        raise type(error)(f"{path}: {text[0].lower()}{text[1:]}") from None


def name_of(path: Path) -> str:
    """Return the name of a data set: that of its file or folder, for a split after that of the folder around it."""
    name = path.stem if path.is_file() else path.name or path.resolve().name
    return slug(f"{path.parent.name}-{name}" if name.lower() in SPLITS else name)


def table_items(
    table: Table,
    name: str = "",
    text_column: str | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
) -> Items:
    """Return the items of a table: texts, or arrays where it has but one column of these."""
    items = table.items(text_column)
    about = {"name": name, "ids": table.ids(id_column), "labels": table.labels(label_column)}
    return TextItems(items, **about) if isinstance(items, list) else ArrayItems(items, **about)


def _image_folder(root: Path) -> Items:
    files, others = images_in(root)
    if others:
        left_out = "1 file is left out:" if len(others) == 1 else f"{len(others)} files are left out, the first is"
        warn(f"{root}: {left_out} '{others[0]}' - {KNOWN}", 3)
    folders = [name.partition("/")[0] for name in files]
    labels = folders if all("/" in name for name in files) else None
    if labels and {label.lower() for label in labels} <= set(SPLITS):
        raise AtlasError(f"The folder holds splits ({', '.join(sorted(set(labels)))}), not classes - read one of them")
    return ImageItems([root / name for name in files], name=name_of(root), ids=files, labels=labels)


def images_in(root: Path) -> tuple[list[str], list[str]]:
    """Return the paths, within a folder, of the images in it and in its folders, and of all other files.

    Raises:
        AtlasError: there are no images, or very many other files.
    """
    images: list[str] = []
    links: list[str] = []
    others: list[str] = []
    try:
        for name, is_link, is_file in _files_in(root):
            found = (links if is_link else images) if is_file and name.lower().endswith(IMAGES) else others
            found.append(name)
            if len(others) > max(MOST_OTHERS, len(images) + len(links)):
                raise AtlasError(f"There are over {MOST_OTHERS} files that are no images - give the images' own folder")
        own = {_inode(root / name) for name in images} if links else set()
        images += [name for name in links if _inode(root / name) not in own]
    except OSError as error:
        raise AtlasError(f"'{error.filename}' cannot be read: {error.strerror}") from None
    for name in images:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise AtlasError(f"The file name {name!r} is not UTF-8 - rename it") from None
    if not images:
        raise AtlasError(f"There are no images in the folder - {KNOWN}")
    return sorted(images), sorted(others)


def _files_in(root: Path) -> Iterator[tuple[str, bool, bool]]:
    """Yield the entries of a folder and its subfolders: the path, if it is a link, and if it (or its end) is a file.

    Hidden things are left out, and folders read once, by their own path rather than that of a link.
    """
    seen: set[tuple[int, int]] = set()
    folders, linked = [""], collections.deque[str]()
    while folders or linked:
        folder = folders.pop() if folders else linked.popleft()
        inode = _inode(root / folder)
        if inode in seen:
            continue
        seen.add(inode)
        for entry in sorted(os.scandir(root / folder), key=lambda entry: entry.name):
            name = f"{folder}/{entry.name}".removeprefix("/")
            # The folder itself knows the type of an entry that is no link, which saves asking for each file.
            end: Any = root / name if entry.is_symlink() else entry
            if entry.name.startswith("."):
                continue
            if end.is_dir():
                (linked if entry.is_symlink() else folders).append(name)
            else:
                yield name, entry.is_symlink(), end.is_file()


def _inode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _safetensors(path: Path, name: str | None) -> Items:
    file = TensorFile(path)
    infos = file.infos
    arrays = [key for key, info in infos.items() if len(info.shape) > 1]
    found = find_column(arrays, name, "", "text") if name else arrays[0] if len(arrays) == 1 else None
    if found is None:
        raise AtlasError(
            f"There must be one tensor of arrays, there are {', '.join(arrays) or 'none'} - "
            "say which with --text-column (text_column=)"
        )

    def read(key: str) -> Tensor:
        info = infos[key]
        return Rows.map(path, file.starts[key], info).tensor if size_of(info) else torch.empty(info.shape)

    n = infos[found].shape[0]
    kept: dict[str, Tensor] = {key: read(key) for key in ("ids", "ids.ends", "ids.text") if key in infos}
    labels = None
    if "labels" in infos and infos["labels"].shape == (n,):
        if infos["labels"].dtype[0] not in "IU":
            raise AtlasError(f"'labels' must be whole numbers, is {infos['labels'].dtype}")
        labels = ["" if i == -1 else str(i) for i in read("labels").tolist()]
    return ArrayItems(read(found), name=name_of(path), ids=unpack_ids(kept, n, "The file"), labels=labels)
