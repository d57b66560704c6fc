"""Vectors in a collection of Qdrant."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np

import atlas
from atlas.authors import VECTORS, Batch

# Atlas' own keys in the payload of a point, and in the metadata of a collection.
MARK, NOTES = "latent_atlas_mark", "latent_atlas"
# Qdrant's distances by the names that Atlas has for them.
METRICS = {"Cosine": "cosine", "Dot": "dot", "Euclid": "l2", "Manhattan": "l1"}
# How many points are sent at a time.
POINTS = 256
# The client of a folder, which only one at a time may read, and how many stores use it.
_folders: dict[str, list[Any]] = {}


@dataclass
class Qdrant(atlas.Store):
    """Vectors in a collection of Qdrant: qdrant://HOST:6333/COLLECTION, or qdrant:///FOLDER/COLLECTION in local mode.

    The shadow is a collection 'COLLECTION__shadow' with the same payload. An alias is switched: the one that the URL
    names, or 'COLLECTION__live' where it names a collection.
    """

    name = "qdrant"

    vector: str = atlas.option("", help="Name of the vector; '': the one that has no name")
    labels: str = atlas.option("", help="Key of the labels in the payload; '': there are none")
    https: bool = atlas.option(False, help="Talk to the server by https")

    def __post_init__(self):
        self._open: Any = None

    @property
    def _client(self) -> Any:
        if self._open is None:
            from qdrant_client import QdrantClient

            at = self.address
            if at.file is None:
                key = at.password or os.environ.get("QDRANT_API_KEY")
                about = {"https": self.https, "api_key": key, "timeout": 60, "check_compatibility": False}
                self._open = QdrantClient(host=at.host, port=at.port or 6333, **about)
            else:
                if not (at.file.parent / "meta.json").is_file():
                    raise self.fail("is no folder of Qdrant's local mode - check the path")
                shared = _folders.setdefault(str(at.file.parent.resolve()), [None, 0])
                shared[0] = shared[0] or QdrantClient(path=str(at.file.parent))
                shared[1] += 1
                self._open = shared[0]
        return self._open

    def close(self) -> None:
        """Close the client, unless another store in the same folder uses it."""
        opened, self._open = self._open, None
        shared = _folders.get(str(self.address.file.parent.resolve())) if self.address.file else None
        if opened is not None and shared is not None:
            shared[1] -= 1
            if shared[1]:
                return
            del _folders[str(self.address.file.parent.resolve())]  # type: ignore[union-attr]
        if opened is not None:
            opened.close()

    def _names(self) -> tuple[str, str, str]:
        """Return the collections of the vectors and of the shadow, and the alias that is switched."""
        name = self.address.path.rpartition("/")[2]
        aliases = {one.alias_name: one.collection_name for one in self._client.get_aliases().aliases}
        alias = name if name in aliases else f"{name}__live"
        now = aliases.get(alias, name)
        other = now.removesuffix("__shadow") if now.endswith("__shadow") else f"{now}__shadow"
        return now, other, alias

    def _collection(self, place: str) -> str:
        now, other, _ = self._names()
        return now if place == VECTORS else other

    def _about(self, place: str) -> Any:
        """Return Qdrant's description of the collection of a place, None if there is none."""
        name = self._collection(place)
        return self._client.get_collection(name) if self._client.collection_exists(name) else None

    def _params(self, place: str) -> Any:
        """Return size and distance of the vectors of a place, None if there is no such place."""
        about = self._about(place)
        if about is None:
            return None
        vectors = about.config.params.vectors
        named = vectors if isinstance(vectors, Mapping) else {"": vectors}
        if self.vector not in named:
            known = ", ".join(f"'{name}'" for name in named)
            raise self.fail(f"has no vector '{self.vector}', only {known} - name it in the URL, as in ?vector=NAME")
        return named[self.vector]

    def dim(self, place: str) -> int:
        """Return the size of the vectors of a collection."""
        params = self._params(place)
        return params.size if params else 0

    def count(self, place: str) -> int:
        """Return how many points have the vector."""
        from qdrant_client import models

        chosen = None
        if self.vector:
            chosen = models.Filter(must=[models.HasVectorCondition(has_vector=self.vector)])
        return self._client.count(self._collection(place), count_filter=chosen, exact=True).count

    def read(self, place: str, after: str, size: int) -> Batch:
        """Return points in the order of their ids."""
        last = _id(after) if after else None
        name = self._collection(place)
        # The first is the one that was read last, unless it is gone.
        points, _ = self._client.scroll(name, limit=size + 1, offset=last, with_vectors=True)
        points = [one for one in points if str(one.id) != after]
        return self._batch(points[:size], place)

    def fetch(self, place: str, ids: Sequence[str]) -> Batch:
        """Return points by their ids."""
        known = [one for one in map(_id, ids) if one is not None]
        return self._batch(self._client.retrieve(self._collection(place), known, with_vectors=True), place)

    def _batch(self, points: Sequence[Any], place: str) -> Batch:
        rows = [self._split(one.vector) for one in points]
        dim = self.dim(place)
        vectors = np.array([[np.nan] * dim if row is None else row for row, _ in rows], np.float32).reshape(-1, dim)
        ids = [str(one.id) for one in points]
        payloads = [one.payload or {} for one in points]
        return Batch(
            ids,
            self.kept(vectors),
            ids[-1] if ids else "",
            [payload.get(MARK, "") for payload in payloads],
            [str(payload.get(self.labels, "")) for payload in payloads] if self.labels else (),
            [(payload, others) for payload, (_, others) in zip(payloads, rows, strict=True)],
        )

    def _split(self, vector: Any) -> tuple[Any, dict[str, Any]]:
        """Return the vector of a point, None if it has none, and its other vectors by name."""
        if not isinstance(vector, Mapping):
            return (vector, {}) if not self.vector else (None, {})
        return vector.get(self.vector), {name: one for name, one in vector.items() if name != self.vector}

    def begin(self, dim: int) -> None:
        """Make a collection that differs in the size of one vector, with the same indexes of payload."""
        about, before = self._about(VECTORS), self._params(VECTORS)
        params, made = about.config.params, before.model_copy(update={"size": dim})
        vectors = {**params.vectors, self.vector: made} if isinstance(params.vectors, Mapping) else made
        name = self._names()[1]
        self._client.create_collection(name, vectors, sparse_vectors_config=params.sparse_vectors)
        for key, schema in about.payload_schema.items():
            self._client.create_payload_index(name, key, schema.params or schema.data_type)

    def put(self, batch: Batch) -> None:
        """Write points, with the payload that was read."""
        from qdrant_client import models

        other = batch.other or [({}, {})] * len(batch)
        points = []
        for one, vector, mark, (payload, others) in zip(
            batch.ids, self.kept(batch.vectors).tolist(), batch.marks, other, strict=True
        ):
            named = {**others, self.vector: vector} if self.vector or others else vector
            points.append(models.PointStruct(id=_id(one), vector=named, payload={**payload, MARK: mark}))
        for start in range(0, len(points), POINTS):
            self._client.upsert(self._names()[1], points[start : start + POINTS], wait=True)

    def kept(self, vectors: np.ndarray) -> np.ndarray:
        """Return vectors at length 1 where the collection measures cosines; local mode does so until it is closed."""
        if self._params(VECTORS).distance != "Cosine":
            return vectors
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(lengths > 0, lengths, 1)

    def metric_of(self, place: str) -> str:
        """Return the distance of a collection."""
        params = self._params(place)
        return METRICS.get(str(getattr(params.distance, "value", params.distance)), "") if params else ""

    def notes(self, place: str) -> dict[str, str]:
        """Return the metadata of a collection."""
        about = self._about(place)
        text = ((about and about.config.metadata) or {}).get(NOTES)
        return json.loads(text) if text else {}

    def note(self, place: str, notes: Mapping[str, str]) -> None:
        """Write to the metadata of a collection."""
        self._client.update_collection(self._collection(place), metadata={NOTES: json.dumps(dict(notes))})

    def switch(self) -> None:
        """Let the alias mean the other collection."""
        from qdrant_client import models

        _, other, alias = self._names()
        changes: list[Any] = []
        if alias in {one.alias_name for one in self._client.get_aliases().aliases}:
            changes.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
        created = models.CreateAlias(collection_name=other, alias_name=alias)
        changes.append(models.CreateAliasOperation(create_alias=created))
        self._client.update_collection_aliases(changes)

    def drop(self) -> None:
        """Delete the other collection."""
        _, other, _ = self._names()
        # A collection that is deleted by half is then one that was just begun.
        if self._client.collection_exists(other):
            self._client.update_collection(other, metadata={NOTES: "{}"})
            self._client.delete_collection(other)


def _id(text: str) -> int | str | None:
    """Return the id of a point, a number or a UUID; None for a text that is neither."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return str(UUID(text))
    except ValueError:
        return None


@atlas.hookimpl
def register_stores():
    """Return the stores of this plugin."""
    return [Qdrant]
