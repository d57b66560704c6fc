"""The space of vectors, written down where they lie: in a file, beside it, or in a store; `docs/space-contract.md`."""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

from atlas.artefacts.sources.shards import matrix_of
from atlas.artefacts.sources.stores import check_metric, is_store, opened, space_of
from atlas.artefacts.sources.vector_files import text_beside, write_beside
from atlas.cards.folder import BARE, read_card
from atlas.cards.space import SPACE_KEY, Space
from atlas.components.store import VECTORS
from atlas.errors import AtlasError, NotFoundError, SpaceMismatchError, warn
from atlas.hub.pulling import locate
from atlas.items import tables
from atlas.items.files import named
from atlas.storage.files import as_path, explained, whole_file
from atlas.storage.header import TensorFile

SpaceLike = Space | str | Path


def stamp_space(where: str | Path, space: SpaceLike, *, metric: str = "") -> Space:
    """Write down where vectors lie which space they are of, and return it; vectors and all else stay as they are.

    Args:
        where: URL of a store, or a file: a .parquet or .safetensors file carries it itself, any other a file beside it.
        space: a space; or where one is written down: a stored space or vectors, a file or a store with a stamp, or a
            .json file that holds the record itself.
        metric: by which vectors of the space are compared: cosine, dot, l2 or l1; '': as the space says.

    Raises:
        SpaceMismatchError: a store is searched by another metric.
        AtlasError: nothing is there, vectors of another dimension are, or it carries its space on a card.
    """
    known = space_at(space)
    known = replace(known, metric=metric or known.metric)
    if is_store(where):
        with opened(where) as store, store.hold():
            dim = space_of(store).dim
            if dim != known.dim:
                raise store.fail(f"has vectors of {dim} dimensions, and '{known.id}' has {known.dim}")
            check_metric(store, known)
            store.stamp(known, VECTORS)
        return known
    path = as_path(where)
    if path.is_dir():
        raise AtlasError(f"'{path}' is a folder - stamp a file; the folder of an artefact has its space on its card")
    if not path.is_file():
        raise NotFoundError(f"There is no file '{path}'")
    with named(path), explained(path):
        dim = matrix_of(path).dim if path.suffix in BARE else known.dim
        if dim != known.dim:
            raise AtlasError(f"Has vectors of {dim} dimensions, and '{known.id}' has {known.dim}")
        write = {".parquet": _stamp_parquet, ".safetensors": _stamp_safetensors}.get(path.suffix, write_beside)
        write(path, known)
    return known


def check_space(where: SpaceLike, space: SpaceLike) -> Space:
    """Return the space of vectors, or raise unless it is the one that is expected, by its fingerprint and its metric.

    A metric that is unknown on either side, or of a store, is not compared; a warning says so.

    Args:
        where: where it is written down, as for `stamp_space`.
        space: which is expected.

    Raises:
        SpaceMismatchError: it is another one, or a store is searched by another metric; the message gives the
            differences.
        AtlasError: none is written down there.
    """
    found, expected = space_at(where), space_at(space)
    if not expected.same(found):
        told = f"Expected vectors of '{expected.id}', got those of '{found.id}'"
        raise SpaceMismatchError(f"{told}: {expected.difference(found)} - map them, or encode anew")
    if found.metric and expected.metric and found.metric != expected.metric:
        told = f"Expected vectors of '{expected.id}' to be compared by {expected.metric}, got {found.metric}"
        raise SpaceMismatchError(f"{told} - find out which is right, and stamp them again")
    metrics = [found.metric, expected.metric]
    if not isinstance(where, Space) and is_store(where):
        with opened(where) as store:
            metrics.append(check_metric(store, replace(expected, metric=expected.metric or found.metric)))
    if "" in metrics and any(metrics):
        told = f"The metric of '{found.id}' was not compared: one side names {max(metrics)}, the other none"
        warn(told, 2)
    return found


def space_at(where: SpaceLike) -> Space:
    """Return the space that is written down somewhere, or raise `AtlasError` if none is."""
    if isinstance(where, Space):
        return where
    if is_store(where):
        with opened(where) as store:
            found = store.stamped()
            if found is None:
                raise store.fail("has no stamp that says which space its vectors are of - atlas space stamp writes one")
            return found
    path = as_path(where)
    if path.is_file() or path.suffix in (".parquet", ".safetensors"):
        return _space_of_file(path)
    card: Any = read_card(locate(where, ["space", "vectors"], tensors=False))
    if card.kind not in ("space", "vectors"):
        raise AtlasError(f"'{where}' is of kind {card.kind} - expected space or vectors")
    return card.space


def _space_of_file(path: Path) -> Space:
    if not path.is_file():
        raise NotFoundError(f"There is no file '{path}'")
    if path.suffix == ".parquet":
        table = tables.read_parquet(path)
        text = table.space(table.vector_columns(None)[0])
    elif path.suffix == ".safetensors":
        text = TensorFile(path).metadata(SPACE_KEY)
    else:
        text = text_beside(path)
    if not text:
        missing = "has no stamp that says which space its vectors are of"
        advice = "atlas space stamp writes one, of a stored space or of a .json file that describes it"
        raise AtlasError(f"'{path}' {missing} - {advice}")
    with named(path):
        return Space.from_json(text)


def _stamp_parquet(path: Path, space: Space) -> None:
    """Write the file anew, with the space in the metadata of its column of vectors, group by group."""
    _, parquet = tables.arrow()
    [column] = tables.read_parquet(path).vector_columns(None)
    with parquet.ParquetFile(path) as file:
        schema, number = file.schema_arrow, file.schema_arrow.get_field_index(column)
        field = schema.field(number)
        metadata = {**(field.metadata or {}), SPACE_KEY: space.to_json()}
        schema = schema.set(number, field.with_metadata(metadata))
        codec = file.metadata.row_group(0).column(0).compression if file.num_row_groups else "SNAPPY"
        with whole_file(path) as temporary, parquet.ParquetWriter(temporary, schema, compression=codec) as writer:
            for group in range(file.num_row_groups):
                writer.write_table(file.read_row_group(group).cast(schema))


def _stamp_safetensors(path: Path, space: Space) -> None:
    """Write the file anew with another header, the tensors as they are."""
    # A header that cannot be right is refused.
    assert TensorFile(path).infos is not None
    with path.open("rb") as old:
        (length,) = struct.unpack("<Q", old.read(8))
        header = json.loads(old.read(length))
        header["__metadata__"] = {**(header.get("__metadata__") or {}), SPACE_KEY: space.to_json()}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with whole_file(path) as temporary, temporary.open("wb") as new:
            new.write(struct.pack("<Q", len(text)) + text)
            shutil.copyfileobj(old, new, 2**20)
