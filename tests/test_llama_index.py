"""An alignment behind embeddings of LlamaIndex."""

from __future__ import annotations

import asyncio
import warnings

import numpy as np
import pytest
import torch
from planted import normal

import atlas

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("llama_index.core")
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import PrivateAttr

    from atlas.llama_index import AlignedEmbedding


class Letters(BaseEmbedding):
    """Vectors of LlamaIndex that count letters, as the numbers of one model or another."""

    _table: torch.Tensor = PrivateAttr()

    def __init__(self, table):
        super().__init__()
        self._table = table

    def _get_text_embedding(self, text):
        return (np.array([text.count(chr(97 + i)) for i in range(26)]) @ self._table.numpy()).tolist()

    def _get_query_embedding(self, query):
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query):
        return self._get_text_embedding(query)


@pytest.fixture
def models():
    new, old = normal(26, 8), normal(26, 5, seed=1)
    X = normal(50, 26, seed=2)
    made = atlas.fit("linear", source=(X @ new).float(), target=(X @ old).float())
    return Letters(new), Letters(old), made


def test_queries_are_mapped_and_documents_are_of_the_target(models):
    new, old, made = models
    both = AlignedEmbedding(new, made, documents=old)
    expected = made(np.array(new.get_query_embedding("which card"), dtype=np.float32))
    np.testing.assert_array_equal(np.float32(both.get_query_embedding("which card")), expected)
    assert both.get_text_embedding_batch(["a card", "b"]) == old.get_text_embedding_batch(["a card", "b"])


def test_without_a_model_of_the_target_documents_are_mapped(models):
    new, _, made = models
    one = AlignedEmbedding(new, made)
    expected = made(np.array(new.get_text_embedding_batch(["a card", "b"]), dtype=np.float32))
    np.testing.assert_allclose(one.get_text_embedding_batch(["a card", "b"]), expected, rtol=1e-6, atol=1e-6)
    assert one.get_text_embedding_batch([]) == []


def test_it_works_from_a_folder_and_without_blocking(models, tmp_path):
    new, old, made = models
    made.save_pretrained(tmp_path / "map")
    both = AlignedEmbedding(new, str(tmp_path / "map"), documents=old)
    assert asyncio.run(both.aget_query_embedding("a card")) == both.get_query_embedding("a card")


def test_vectors_of_another_width_are_refused(models):
    _, old, made = models
    with pytest.raises(atlas.AtlasError, match="8"):
        AlignedEmbedding(old, made).get_query_embedding("a card")
