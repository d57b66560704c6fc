"""An alignment behind embeddings of LangChain: `AlignedEmbeddings(new_model, "map", documents=old_model)`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.loading import load

try:
    from langchain_core.embeddings import Embeddings
except ImportError:
    raise ImportError("atlas.langchain needs langchain-core - pip install 'latent-atlas[langchain]'") from None


class AlignedEmbeddings(Embeddings):
    """Embeddings of an alignment's source, mapped, so that they search an index of its target."""

    def __init__(
        self, embeddings: Embeddings, alignment: Alignment | str | Path, documents: Embeddings | None = None
    ) -> None:
        """Take embeddings and a map.

        Args:
            embeddings: make vectors of the alignment's source.
            alignment: the map, or where it is.
            documents: make vectors of its target, for documents; None: documents are mapped, too.
        """
        self.embeddings, self.documents = embeddings, documents
        self.alignment = alignment if isinstance(alignment, Alignment) else load(alignment, "alignment")

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query, mapped."""
        return self.alignment(np.array(self.embeddings.embed_query(text), dtype=np.float32)).tolist()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return vectors of the target for documents."""
        if self.documents is not None:
            return self.documents.embed_documents(texts)
        rows = self.embeddings.embed_documents(texts)
        return self.alignment(np.array(rows, dtype=np.float32)).tolist() if rows else []
