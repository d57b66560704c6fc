"""An alignment behind embeddings of LangChain."""

from __future__ import annotations

import asyncio
import warnings

import numpy as np
import pytest
from planted import normal

import atlas

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("langchain_core")
    from langchain_core.embeddings import Embeddings

    from atlas.langchain import AlignedEmbeddings


class Letters(Embeddings):
    """Vectors of LangChain that count letters, as the numbers of one model or another."""

    def __init__(self, table):
        self.table = table

    def embed_query(self, text):
        return (np.array([text.count(chr(97 + i)) for i in range(26)]) @ self.table.numpy()).tolist()

    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]


@pytest.fixture
def models():
    new, old = normal(26, 8), normal(26, 5, seed=1)
    X = normal(50, 26, seed=2)
    made = atlas.fit("linear", source=(X @ new).float(), target=(X @ old).float())
    return Letters(new), Letters(old), made


def test_queries_are_mapped_and_documents_are_of_the_target(models):
    new, old, made = models
    both = AlignedEmbeddings(new, made, documents=old)
    expected = made(np.array(new.embed_query("which card"), dtype=np.float32))
    np.testing.assert_array_equal(np.float32(both.embed_query("which card")), expected)
    assert both.embed_documents(["a card", "b"]) == old.embed_documents(["a card", "b"])


def test_without_a_model_of_the_target_documents_are_mapped(models):
    new, _, made = models
    one = AlignedEmbeddings(new, made)
    expected = made(np.array(new.embed_documents(["a card", "b"]), dtype=np.float32))
    np.testing.assert_allclose(one.embed_documents(["a card", "b"]), expected, rtol=1e-6, atol=1e-6)
    assert one.embed_documents([]) == []


def test_it_works_from_a_folder_and_without_blocking(models, tmp_path):
    new, old, made = models
    made.save_pretrained(tmp_path / "map")
    both = AlignedEmbeddings(new, str(tmp_path / "map"), documents=old)
    assert asyncio.run(both.aembed_query("a card")) == both.embed_query("a card")


def test_vectors_of_another_width_are_refused(models):
    _, old, made = models
    with pytest.raises(atlas.AtlasError, match="8"):
        AlignedEmbeddings(old, made).embed_query("a card")
