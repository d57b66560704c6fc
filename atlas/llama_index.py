"""An alignment behind an embedding of LlamaIndex: `AlignedEmbedding(new_model, "map", documents=old_model)`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.loading import load

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import PrivateAttr
except ImportError:
    raise ImportError("atlas.llama_index needs llama-index-core - pip install 'latent-atlas[llama-index]'") from None


class AlignedEmbedding(BaseEmbedding):
    """An embedding of an alignment's source, mapped, so that it searches an index of its target."""

    _embedding: BaseEmbedding = PrivateAttr()
    _alignment: Alignment = PrivateAttr()
    _documents: BaseEmbedding | None = PrivateAttr()

    def __init__(
        self,
        embedding: BaseEmbedding,
        alignment: Alignment | str | Path,
        documents: BaseEmbedding | None = None,
        **fields: Any,
    ) -> None:
        """Take an embedding and a map.

        Args:
            embedding: makes vectors of the alignment's source.
            alignment: the map, or where it is.
            documents: makes vectors of its target, for documents; None: documents are mapped, too.
            **fields: those of any embedding of LlamaIndex.
        """
        made = alignment if isinstance(alignment, Alignment) else load(alignment, "alignment")
        super().__init__(**{"model_name": made.id, **fields})
        self._embedding, self._alignment, self._documents = embedding, made, documents

    def _mapped(self, vector: list[float]) -> list[float]:
        return self._alignment(np.array(vector, dtype=np.float32)).tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._mapped(self._embedding.get_query_embedding(query))

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._mapped(await self._embedding.aget_query_embedding(query))

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        if self._documents is not None:
            return self._documents.get_text_embedding_batch(texts)
        return [self._mapped(vector) for vector in self._embedding.get_text_embedding_batch(texts)]
