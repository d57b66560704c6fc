"""A table of vectors and a tokenizer: means over texts."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from atlas import AtlasError
from atlas.authors import in_a_line

TABLE, WEIGHTS, MAPPING, TOKENIZER = "vectors", "weights", "mapping", "tokenizer"


@dataclass
class Table:
    """A table and its tokenizer, which make vectors of texts.

    Attributes:
        vectors: one row for each token, float32, any weight multiplied in.
        tokenizer: of the library tokenizers.
        max_tokens: read of a text; None for all.
        unknown: the token that is left out; None for none.
        most: characters that are read of a text; None for all.
    """

    vectors: Tensor
    tokenizer: Any
    max_tokens: int | None
    unknown: int | None = None
    most: int | None = None

    @classmethod
    def of(cls, state: Mapping[str, Tensor], max_tokens: int | None, drop_unknown: bool) -> Table:
        """Make one of tensors as they are stored.

        Raises:
            AtlasError: tensors of other names or shapes, a tokenizer that cannot be read, or one of another table.
        """
        tokenizer = _tokenizer(state.get(TOKENIZER))
        vectors = _vectors(state)
        size = tokenizer.get_vocab_size()
        if size > len(vectors):
            raise AtlasError(f"has a tokenizer of {size:,} tokens and a table of {len(vectors):,} - they are of others")
        if not drop_unknown:
            return cls(vectors, tokenizer, max_tokens)
        # As model2vec does, which cuts off characters before it looks for tokens.
        length = int(statistics.median(map(len, tokenizer.get_vocab())))
        return cls(vectors, tokenizer, max_tokens, _unknown(tokenizer), max_tokens and max_tokens * length)

    def mean(self, texts: Sequence[str], device: str) -> Tensor:
        """Return the mean over the tokens of each text (n, d), float32; zeros where there is none."""
        cut = [text[: self.most] for text in texts]
        ids = [
            [token for token in found.ids if token != self.unknown]
            for found in self.tokenizer.encode_batch(cut, add_special_tokens=False)
        ]
        if self.max_tokens is not None and self.unknown is None:
            ids = [some[: self.max_tokens] for some in ids]
        starts = torch.tensor([0, *map(len, ids[:-1])]).cumsum(0)
        flat = torch.tensor([token for some in ids for token in some], dtype=torch.int64)
        table = self.vectors.to(device)
        return torch.nn.functional.embedding_bag(flat.to(device), table, starts.to(device), mode="mean").cpu()


def _tokenizer(stored: Tensor | None) -> Any:
    from tokenizers import Tokenizer

    if stored is None or stored.dtype != torch.uint8 or stored.ndim != 1:
        raise AtlasError("was given no file of a tokenizer")
    try:
        made = Tokenizer.from_buffer(stored.numpy().tobytes())
    # The library raises nothing more special.
    except Exception as error:
        raise AtlasError(f"cannot read its tokenizer: {in_a_line(error, 200)}") from None
    made.no_padding()
    made.no_truncation()
    return made


def _vectors(state: Mapping[str, Tensor]) -> Tensor:
    """Return one row for each token, from the table, the rows that tokens share, and their weights."""
    if strange := set(state) - {TABLE, WEIGHTS, MAPPING, TOKENIZER}:
        raise AtlasError(f"was given a tensor '{in_a_line(min(strange), 80)}', which is none of a table")
    table = state.get(TABLE)
    if table is None or table.ndim != 2 or not table.numel():
        raise AtlasError(f"needs a table of vectors (tokens, d), got {None if table is None else tuple(table.shape)}")
    vectors = table.to(torch.float32)
    if (rows := state.get(MAPPING)) is not None:
        if rows.ndim != 1 or rows.is_floating_point() or not (0 <= int(rows.min()) <= int(rows.max()) < len(vectors)):
            raise AtlasError("was given a mapping that names rows the table does not have")
        vectors = vectors[rows.long()]
    if (weights := state.get(WEIGHTS)) is not None:
        if weights.shape != (len(vectors),):
            raise AtlasError(f"was given weights of shape {tuple(weights.shape)} for {len(vectors):,} tokens")
        vectors = vectors * weights.to(torch.float32)[:, None]
    return vectors


def _unknown(tokenizer: Any) -> int | None:
    """Return the token that stands for unknown ones."""
    if hasattr(tokenizer.model, "unk_token"):
        token = tokenizer.model.unk_token
        return None if token is None else tokenizer.token_to_id(token)
    return json.loads(tokenizer.to_str())["model"].get("unk_id")
