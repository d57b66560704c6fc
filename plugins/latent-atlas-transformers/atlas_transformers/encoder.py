"""The base of the encoders of texts and of images: the source of the model, and the identity of its vectors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

import atlas
from atlas.authors import sha256_of, slug
from atlas_transformers import heads, loading
from atlas_transformers.checkpoint import Checkpoint, UnfitError
from atlas_transformers.source import HASH, Source, find, from_state

if TYPE_CHECKING:
    from atlas.authors import HeadModel
    from atlas_transformers.readers import Reader

T = TypeVar("T")
DTYPES = ("float32", "float16", "bfloat16")
# The output of these is no layer's.
WHOLE = ("pooler", "projection")


@dataclass
class Transformer(atlas.Encoder):
    """A model of `transformers`, read at one layer.

    A model on the Hub is known by its name and commit. One in a folder is known by the hash of its files; they are then
    part of the stored space, as the tensors beside the card, and the folder is not.
    """

    files: ClassVar[tuple[str, ...]] = ()

    model: str = atlas.option(help="Name on the Hub, such as google-bert/bert-base-uncased, or a folder")
    revision: str = atlas.option("", help="Branch, tag or commit on the Hub; for a folder, the sha256 of its files")
    layer: int = atlas.option(-1, help="Layer to read: 0 for the embeddings, 1 for the first..., -1 for the last")
    pooling: str = atlas.option("mean", help="How one vector is made of many")
    normalize: bool = atlas.option(False, help="Scale vectors to length 1")
    dtype: str = atlas.option("float32", help="Numbers to compute with; vectors are float32", choices=DTYPES)

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise self.fail("needs the name of a model or its folder, got ''")
        if self.pooling in WHOLE and self.layer != -1:
            raise self.fail(
                f"reads the last layer with pooling '{self.pooling}', got layer {self.layer} - leave it at -1"
            )

    def config(self) -> dict[str, Any]:
        """Return the options with the model pinned: by its commit, or by the name and the hash of its folder."""
        pinned = HASH.fullmatch(self.revision) and self.model == Path(self.model).name
        name, revision = (self.model, self.revision) if pinned else (self._source.name, self._source.revision)
        return {**super().config(), "model": name, "revision": revision}

    def identity(self) -> dict[str, Any]:
        """Return the model, the layer, the pooling and all options that are not at their defaults."""
        changed: dict[str, Any] = {"normalize": True} if self.normalize else {}
        changed |= {"dtype": self.dtype} if self.dtype != "float32" else {}
        return {**self._source.identity(), "layer": self._facts[1], "pooling": self.pooling, **changed}

    def space(self, id: str | None = None) -> atlas.Space:
        """Return the space, named after the model, and the layer unless it is the last."""
        layer = "" if self._facts[1] == -1 else f"-layer-{self._facts[1]}"
        default = f"{slug(self._source.name.rpartition('/')[2])[:80]}{layer}-{sha256_of(self.identity())[:8]}"
        return super().space(id or self.stored_id or slug(default))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the files of a local model, so that a stored space works anywhere; nothing for one on the Hub."""
        return self._telling(self._source.state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Take the files of a local model."""
        source = self._telling(lambda: from_state(Path(self.model).name, state, self.files))
        if source.revision != self.revision:
            raise self.fail(f"needs the files of model '{self.model}' at revision '{self.revision}', got others")
        self.forget()
        self._source = source
        return self

    @property
    def dim(self) -> int:
        """The number of features of the layer, as the pooling leaves them."""
        return self._facts[0]

    @functools.cached_property
    def _source(self) -> Source:
        """The model that is meant, pinned."""
        return self._telling(lambda: find(self.model, self.revision, self.files))

    @functools.cached_property
    def _checkpoint(self) -> Checkpoint:
        return self._telling(self._source.checkpoint)

    @functools.cached_property
    def _reader(self) -> Reader:
        """The model with its layer and pooling."""
        return self._telling(self._load)

    @functools.cached_property
    def _facts(self) -> tuple[int, int]:
        """The dimension of the vectors, and the layer, counted from the first unless it is the last."""
        reader, example = self._reader, self._examples[0]
        first, second = self._computing(lambda: (reader.read(example), reader.read(example)))
        if not torch.equal(first, second):
            raise self.fail("makes other vectors of the same item each time with this model - give another")
        layers = 0 if self.layer == -1 else self._computing(lambda: reader.layers(example))
        layer = self.layer % layers if layers else -1
        return first.shape[1], -1 if layer == layers - 1 else layer

    @functools.cached_property
    def _examples(self) -> list[dict[str, Tensor]]:
        """Batches of one item each, as the model reads them, always the same."""
        raise NotImplementedError

    def _load(self) -> Reader:
        raise NotImplementedError

    def _model(self, mapping: str) -> tuple[Any, Any]:
        """Return the model (or no more of it than is used), and the part of it for this encoder's items."""
        model, missing = loading.network(self._checkpoint, mapping, self.dtype)
        part = loading.tower(model, self.takes)
        used = model if self.pooling == "projection" else part
        loading.check_complete(model, used, missing, self.pooling == "pooler")
        return used, part

    def _head(self) -> tuple[HeadModel, Sequence[str]]:
        if not heads.has_head(self._checkpoint.architecture, self.takes):
            return super()._head()
        how = (self._checkpoint, self._reader, self._examples, self.takes, self.dtype)
        return self._computing(lambda: heads.head_of(*how), "scores")

    def _telling(self, function: Callable[[], T]) -> T:
        """Return a function's result; the reasons it gives become sentences that begin with this encoder."""
        try:
            return function()
        except UnfitError as reason:
            raise self.fail(str(reason)) from None

    def _computing(self, function: Callable[[], T], what: str = "vectors") -> T:
        """Return a function's result with the model, without gradients."""
        with torch.no_grad():
            return self._telling(lambda: loading.explained(what, function))
