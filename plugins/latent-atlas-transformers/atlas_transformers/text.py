"""Texts to vectors, with the text models of `transformers`."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import atlas
from atlas.authors import check_finite
from atlas_transformers import checkpoint, loading
from atlas_transformers.encoder import Transformer
from atlas_transformers.readers import TextReader

POOLINGS = ("mean", "cls", "last", "max", "pooler", "projection")
# So many batches of texts are sorted by length together, so that texts of one batch are about equally long.
TOGETHER = 16
# Tokens in one batch, padding included: more would not compute faster, only need more memory.
TOKENS = {"cpu": 2**10}
MORE_TOKENS = 2**16
# A tokenizer's length limit where it knows none.
_NO_LIMIT = 10**6
# Texts of different lengths, on which a model is tried.
_EXAMPLES = ("The quick brown fox jumps over a lazy dog, twice: 3 + 4 = 7.", "Why?")


@dataclass
class TransformersText(Transformer):
    """Any layer of a text model of transformers, from the Hub or a folder; its classifier, if it has one, is a head."""

    name = "transformers-text"
    takes = "text"
    files = checkpoint.TEXT

    pooling: str = atlas.option(
        "mean",
        help="The vector of a text: mean or max over its tokens, its first (cls) or last token, the output of the "
        "model's own pooler, or its projection where a model such as CLIP has one space for texts and images",
        choices=POOLINGS,
    )
    max_length: int | None = atlas.option(None, help="Tokens of a text that are read; none: as many as the model can")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length is not None and self.max_length < 3:
            raise self.fail(f"needs a max_length of at least 3 tokens, got {self.max_length}")

    def identity(self) -> dict[str, Any]:
        """Return the model, the layer, the pooling and all options that are not at their defaults."""
        cut = {"max_length": self._limit} if self._limit != self._most else {}
        return {**super().identity(), **cut}

    def module(self) -> nn.Module:
        """Raise `AtlasError`, since text is no tensor."""
        raise self.fail("is no network from tensors to vectors, since it reads text - export the alignment alone")

    @functools.cached_property
    def _tokenizer(self) -> Any:
        return self._telling(lambda: loading.tokenizer(self._checkpoint))

    @functools.cached_property
    def _most(self) -> int | None:
        """How many tokens of a text the model can read; None if there is no limit."""
        limits = [*_positions(self._reader.part), self._tokenizer.model_max_length]
        return min((n for n in limits if 0 < n < _NO_LIMIT), default=None)

    @property
    def _limit(self) -> int | None:
        """How many tokens of a text are read; None if there is no limit."""
        if self.max_length and self._most and self.max_length > self._most:
            raise self.fail(f"reads at most {self._most} tokens with this model, got max_length {self.max_length}")
        return self.max_length or self._most

    def _load(self) -> TextReader:
        model, part = self._model(self._mapping())
        reader = TextReader(model, part, self.layer, self.pooling, self.normalize).eval()
        # SigLIP has learned from texts that were all padded to one length, whether or not its tokenizer says so.
        fixed = self._checkpoint.config["model_type"].startswith("siglip")
        reader.masked = "attention_mask" in self._tokenizer.model_input_names and not fixed
        return reader

    def _mapping(self) -> str:
        from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES as ENCODERS

        # Of T5 and its like, a checkpoint may hold the encoder alone.
        half = ENCODERS.get(self._checkpoint.config["model_type"], "").endswith("EncoderModel")
        return "MODEL_FOR_TEXT_ENCODING_MAPPING" if half else "MODEL_MAPPING"

    @functools.cached_property
    def _examples(self) -> list[dict[str, Tensor]]:
        tokens = self._tokens(_EXAMPLES)
        return [self._features(tokens, [i], "cpu") for i in range(len(_EXAMPLES))]

    @functools.cached_property
    def _mixed(self) -> bool:
        """Whether texts of different lengths can share a batch, since padding does not change their vectors."""
        both = self._features(self._tokens(_EXAMPLES), range(len(_EXAMPLES)), "cpu")
        together = self._computing(lambda: self._reader.cpu().read(both))
        single = self._computing(lambda: torch.cat([self._reader.read(one) for one in self._examples]))
        tolerance = 1e-3 if self.dtype == "float32" else 0.1
        return bool((together - single).abs().max() <= tolerance * single.abs().max())

    def _batches(self, items: Any, batch_size: int, device: str) -> Iterator[Tensor]:
        for start in range(0, len(items), TOGETHER * batch_size):
            texts = items[start : start + TOGETHER * batch_size]
            X = self._computing(functools.partial(self._sorted, texts, batch_size, device))
            end = start + len(texts)
            check_finite(X, f"The output of {self.label()}", start, more=end < len(items))
            yield from X.split(batch_size)

    def _sorted(self, texts: Sequence[str], batch_size: int, device: str) -> Tensor:
        """Return the vectors (n, dim) of texts, in their order, computed in the order of their lengths."""
        mixed, X = self._mixed, torch.empty(len(texts), self.dim)
        reader, tokens = self._reader.to(device), self._tokens(texts)
        lengths = [len(ids) for ids in tokens["input_ids"]]
        for rows in batches(lengths, batch_size, TOKENS.get(device, MORE_TOKENS), mixed):
            X[rows] = reader(self._features(tokens, rows, device)).cpu()
        return X

    def _tokens(self, texts: Sequence[str]) -> dict[str, list[list[int]]]:
        """Return the numbers of the tokens of texts, with their types if the model tells them apart."""
        limit = self._limit
        how = {"truncation": limit is not None, "max_length": limit, "padding": False, "verbose": False}
        made = dict(self._tokenizer(list(texts), return_attention_mask=False, **how))
        for i, ids in enumerate(made["input_ids"]):
            if not ids:
                # An empty text, where a tokenizer adds nothing to texts.
                made["input_ids"][i] = [self._nothing()]
        return made

    def _nothing(self) -> int:
        known = (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id, self._tokenizer.pad_token_id)
        found = [number for number in known if number is not None]
        if not found:
            raise self.fail("cannot read an empty text with this model - leave it out")
        return found[0]

    def _features(self, tokens: dict[str, list[list[int]]], rows: Sequence[int], device: str) -> dict[str, Tensor]:
        """Return some of the texts as tensors (b, tokens), padded on the right, with the mask of real tokens."""
        lengths = torch.tensor([len(tokens["input_ids"][i]) for i in rows])
        # A model that reads no mask has learned from texts that were padded to one length, and counts on it.
        longest = self._limit if not self._reader.masked and self._limit else int(lengths.max())
        result = {"attention_mask": (torch.arange(longest) < lengths[:, None]).long()}
        for name, values in tokens.items():
            pad = (self._tokenizer.pad_token_id or 0) if name == "input_ids" else 0
            result[name] = torch.tensor([values[i] + [pad] * (longest - len(values[i])) for i in rows])
        return {name: tensor.to(device) for name, tensor in result.items()}


def batches(lengths: Sequence[int], most: int, tokens: int, mixed: bool) -> Iterator[list[int]]:
    """Yield the rows of batches, the longest texts first.

    Args:
        lengths: tokens in each text.
        most: texts in a batch.
        tokens: in a batch, padding included.
        mixed: whether the texts of a batch may differ in length.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        longest = lengths[order[start]]
        end = min(start + most, start + max(1, tokens // longest), len(order))
        if not mixed:
            end = next((i for i in range(start, end) if lengths[order[i]] != longest), end)
        yield order[start:end]
        start = end


def _positions(part: Any) -> list[int]:
    """Return how many tokens a model has positions for, as its settings and its tables say; empty if it does not."""
    said = getattr(part.config, "max_position_embeddings", None)
    tables = [
        # RoBERTa and its like count positions from the one after that of padding.
        table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        for name, table in part.named_modules()
        if name.rpartition(".")[2] in ("position_embeddings", "position_embedding", "embed_positions", "wpe")
        and isinstance(table, nn.Embedding)
    ]
    return [*tables, said] if isinstance(said, int) else tables
