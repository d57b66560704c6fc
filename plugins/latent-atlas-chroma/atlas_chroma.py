"""Vectors in a collection of Chroma."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import atlas
from atlas.authors import SHADOW, VECTORS, Batch

# Atlas' own keys in the metadata of an item, and its collection of notes.
MARK, NOTES = "latent_atlas_mark", "latent-atlas-notes"
# Chroma's spaces of an index by the names that Atlas has for them.
METRICS = {"cosine": "cosine", "ip": "dot", "l2": "l2"}


@dataclass
class Chroma(atlas.Store):
    """Vectors in a collection of Chroma in a folder: chroma:///FOLDER/COLLECTION.

    The shadow is a collection 'COLLECTION__shadow' with the same metadata and documents. A switch exchanges the names
    of both; one that was cut off is finished whenever the collection is used next.
    """

    name = "chroma"

    labels: str = atlas.option("", help="Key of the labels in the metadata; '': there are none")

    def __post_init__(self):
        self._opened: Any = None

    def close(self) -> None:
        """Let go of the client, which others in this program may go on using."""
        self._opened = None

    @property
    def _client(self) -> Any:
        if self._opened is None:
            file = self.address.file
            if file is None or not (file.parent / "chroma.sqlite3").is_file():
                raise self.fail("is no folder of Chroma - check the path")
            import chromadb

            self._opened = chromadb.PersistentClient(path=str(file.parent))
            self._finish()
        return self._opened

    def _name(self, place: str) -> str:
        name = self.address.path.rpartition("/")[2]
        return name if place == VECTORS else f"{name}__shadow"

    def _collection(self, place: str) -> Any:
        """Return the collection of a place, None if there is none."""
        return self._named(self._name(place))

    def _named(self, name: str) -> Any:
        from chromadb.errors import NotFoundError

        try:
            return self._client.get_collection(name, embedding_function=None)
        except NotFoundError:
            return None

    def _finish(self) -> None:
        """Finish a switch that was cut off: the old vectors have a third name then."""
        now, shadow, swap = self._name(VECTORS), self._name(SHADOW), f"{self._name(VECTORS)}__swap"
        left = self._named(swap)
        if left is not None:
            if self._named(now) is None:
                self._named(shadow).modify(name=now)
            left.modify(name=shadow)

    def dim(self, place: str) -> int:
        """Return the dimension of the vectors of a collection: of one of them, or as it was begun."""
        collection = self._collection(place)
        if collection is None:
            return 0
        found = collection.get(limit=1, include=["embeddings"])["embeddings"]
        return len(found[0]) if len(found) else self._noted(place).get("dim", 0)

    def count(self, place: str) -> int:
        """Return how many items there are."""
        return self._collection(place).count()

    def read(self, place: str, after: str, size: int) -> Batch:
        """Return items in the order in which they were added; the cursor is how many were before."""
        start = int(after or 0)
        found = self._collection(place).get(limit=size, offset=start, include=["embeddings", "metadatas", "documents"])
        return self._batch(found, str(start + len(found["ids"])))

    def fetch(self, place: str, ids: Sequence[str]) -> Batch:
        """Return items by their ids."""
        # None are all to Chroma.
        included = ["embeddings", "metadatas", "documents"]
        found = self._collection(place).get(ids=list(ids), include=included) if len(ids) else {"ids": []}
        return self._batch(found, "")

    def _batch(self, found: Mapping[str, Any], cursor: str) -> Batch:
        ids = found["ids"]
        if not ids:
            return Batch([], np.empty((0, 1), np.float32))
        about = [one or {} for one in found["metadatas"]]
        return Batch(
            ids,
            np.asarray(found["embeddings"], np.float32),
            cursor,
            [one.get(MARK, "") for one in about],
            [str(one.get(self.labels, "")) for one in about] if self.labels else (),
            list(zip(about, found["documents"], strict=True)),
        )

    def begin(self, dim: int) -> None:
        """Make a collection with the same index."""
        index = dict(self._collection(VECTORS).configuration_json.get("hnsw") or {})
        made = self._client.create_collection(
            self._name(SHADOW), configuration={"hnsw": index} if index else None, embedding_function=None
        )
        self._write(made, {"dim": dim, "notes": {}})

    def put(self, batch: Batch) -> None:
        """Write items, with the metadata and the document that were read."""
        shadow, most = self._collection(SHADOW), self._client.get_max_batch_size()
        other = batch.other or [({}, None)] * len(batch)
        about = [{**one, MARK: mark} for (one, _), mark in zip(other, batch.marks, strict=True)]
        texts = [text for _, text in other]
        for start in range(0, len(batch), most):
            part = slice(start, start + most)
            given = {"embeddings": batch.vectors[part], "metadatas": about[part]}
            # Where no item has one: a list of None is refused.
            if any(text is not None for text in texts[part]):
                given["documents"] = texts[part]
            shadow.upsert(ids=list(batch.ids[part]), **given)

    def metric_of(self, place: str) -> str:
        """Return the space of a collection's index, in Chroma's words 'hnsw:space'."""
        collection = self._collection(place)
        about = (collection.configuration_json or {}) if collection else {}
        index = about.get("hnsw") or about.get("spann") or {}
        return METRICS.get(index.get("space"), "")

    def _noted(self, place: str) -> dict[str, Any]:
        collection, notes = self._collection(place), self._named(NOTES)
        found = notes.get(ids=[str(collection.id)])["documents"] if notes and collection else []
        return json.loads(found[0]) if found else {}

    def _write(self, collection: Any, about: Mapping[str, Any]) -> None:
        notes = self._client.get_or_create_collection(NOTES, embedding_function=None)
        notes.upsert(ids=[str(collection.id)], embeddings=[[0.0]], documents=[json.dumps(about)])

    def notes(self, place: str) -> dict[str, str]:
        """Return the notes of the collection of notes, by the id that a collection keeps whatever its name."""
        return self._noted(place).get("notes", {})

    def note(self, place: str, notes: Mapping[str, str]) -> None:
        """Write to the collection of notes."""
        self._write(self._collection(place), {**self._noted(place), "notes": dict(notes)})

    def switch(self) -> None:
        """Exchange the names of the collections, by way of a third one."""
        self._collection(VECTORS).modify(name=f"{self._name(VECTORS)}__swap")
        self._finish()

    def drop(self) -> None:
        """Delete the shadow and its notes."""
        shadow, notes = self._collection(SHADOW), self._named(NOTES)
        if shadow is not None:
            if notes is not None:
                notes.delete(ids=[str(shadow.id)])
            self._client.delete_collection(self._name(SHADOW))


@atlas.hookimpl
def register_stores():
    """Return the stores of this plugin."""
    return [Chroma]
