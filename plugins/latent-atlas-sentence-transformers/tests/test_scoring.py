"""Figures of mteb through models of the library: beside the target's own model, and against brute force."""

from __future__ import annotations

import warnings

import pytest
import torch
from makers import TEXTS, tiny
from sentence_transformers import SentenceTransformer

import atlas
from atlas.hub.model_card import metadata
from atlas_sentence_transformers import SentenceTransformers

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    library = pytest.importorskip("mteb")
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

pytestmark = pytest.mark.filterwarnings("ignore")
DOCUMENTS, QUERIES = TEXTS[:40], [" ".join(text.split()[: max(1, len(text.split()) // 2)]) for text in TEXTS[:20]]


class Halves(AbsTaskRetrieval):
    """The first half of a text asks for it."""

    metadata = TaskMetadata(
        name="Halves", dataset={"path": "none/halves", "revision": "1"}, description="Halves.",
        type="Retrieval", category="t2t", modalities=["text"],
        eval_splits=["test"], eval_langs=["eng-Latn"], main_score="ndcg_at_10",
        reference=None, date=("2026-01-01", "2026-01-02"), domains=[], task_subtypes=[], license="mit",
        annotations_creators="derived", dialect=[], sample_creation="created", bibtex_citation="",
    )  # fmt: skip

    def load_data(self, **how):
        ids = [f"d{i}" for i in range(len(DOCUMENTS))], [f"q{i}" for i in range(len(QUERIES))]
        self.dataset = {"default": {"test": {
            "corpus": Dataset.from_dict({"id": ids[0], "text": DOCUMENTS, "title": [""] * len(DOCUMENTS)}),
            "queries": Dataset.from_dict({"id": ids[1], "text": QUERIES}),
            "relevant_docs": {f"q{i}": {f"d{i}": 1} for i in range(len(QUERIES))},
            "top_ranked": None,
        }}}  # fmt: skip
        self.data_loaded = True


@pytest.fixture(scope="module")
def scored(small, tmp_path_factory):
    other = tiny(tmp_path_factory.mktemp("models") / "other", width=24, seed=1)
    X, Y = (atlas.encode(SentenceTransformers(model), TEXTS) for model in (small, other))
    made = atlas.fit("linear", source=X, target=Y)
    figures = atlas.evaluate(
        made, mteb=Halves(), queries=SentenceTransformers(small), documents=SentenceTransformers(other)
    )
    return made.with_card(metrics=figures), other


def brute(queries, documents):
    """Return nDCG@10 where query i asks for document i alone."""
    Q, D = (torch.nn.functional.normalize(torch.as_tensor(X), dim=1) for X in (queries, documents))
    own = (Q * D[: len(Q)]).sum(1, keepdim=True)
    place = (Q @ D.T - own > 1e-6).sum(1)
    return float(torch.where(place < 10, 1 / (place + 2.0).log2(), 0).mean())


def test_queries_are_mapped_and_documents_are_of_the_target(scored, small):
    made, other = scored
    figure = next(one for one in made.metrics if one.name == "ndcg@10")
    target = SentenceTransformer(other, device="cpu")
    mapped = made(SentenceTransformer(small, device="cpu").encode(QUERIES))
    assert figure.value == pytest.approx(brute(mapped, target.encode(DOCUMENTS)), abs=0.01)
    assert figure.native == pytest.approx(brute(target.encode(QUERIES), target.encode(DOCUMENTS)), abs=0.01)
    assert (figure.dataset, figure.split) == ("Halves", "test")


def test_the_figures_are_in_the_model_index(scored):
    results = metadata(scored[0].card)["model-index"][0]["results"]
    assert [one["dataset"]["name"] for one in results] == ["Halves"]
    assert {one["type"] for one in results[0]["metrics"]} == {"ndcg@10", "map@10"}
