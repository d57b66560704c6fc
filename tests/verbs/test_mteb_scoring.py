"""Figures of mteb: on a small task of retrieval made of Cranfield, through Atlas' own encoders, and refusals."""

from __future__ import annotations

import os
import re
import sys
import warnings
from html import unescape
from pathlib import Path

import pytest
import torch

import atlas
from atlas import AtlasError
from atlas.authors import unit
from atlas.components.encoder import Encoder
from atlas.hub.model_card import metadata
from atlas.migration.judgements import read_judgements, relevant
from atlas.migration.scoring import scorer
from atlas.plugins.catalogue import create
from atlas.verbs.serving.mteb import Searcher

DATA = Path(os.environ.get("ATLAS_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "cranfield"
TEXTS = [f"{a} flow over a {b} wing" for a in ("laminar", "hot", "slow") for b in ("thin", "swept", "long", "flat")]


def read(name, tag):
    """Return texts by their numbers from 1."""
    found = (DATA / name).read_text(encoding="utf-8", errors="replace")
    parts = re.findall(rf"<{tag}>(.*?)</{tag}>", found, re.DOTALL)
    return {str(i): " ".join(unescape(part).split()) for i, part in enumerate(parts, 1)}


def task_of(documents, queries, judged):
    """Return a task of mteb."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import Dataset
        from mteb.abstasks.retrieval import AbsTaskRetrieval
        from mteb.abstasks.task_metadata import TaskMetadata

    about = TaskMetadata(
        name="SmallCranfield", dataset={"path": "none/none", "revision": "1"}, description="Cranfield.",
        type="Retrieval", category="t2t", modalities=["text"], eval_splits=["test"], eval_langs=["eng-Latn"],
        main_score="ndcg_at_10", reference=None, date=("1960-01-01", "1966-01-01"), domains=[], task_subtypes=[],
        license="not specified", annotations_creators="expert-annotated", dialect=[], sample_creation="found",
        bibtex_citation="",
    )  # fmt: skip

    class Task(AbsTaskRetrieval):
        metadata = about

        def load_data(self, **how):
            corpus = {"id": [*documents], "text": [*documents.values()], "title": [""] * len(documents)}
            asked = {"id": [*queries], "text": [*queries.values()]}
            tables = {"corpus": Dataset.from_dict(corpus), "queries": Dataset.from_dict(asked)}
            self.dataset = {"default": {"test": {**tables, "relevant_docs": judged, "top_ranked": None}}}
            self.data_loaded = True

    return Task()


def mapped(texts, folder, dims=(6, 5)):
    """Store two encoders and a map between them, and return the map."""
    for name, dim, sublinear in zip(("new", "old"), dims, (True, False), strict=True):
        encoder = create(Encoder, "tfidf-svd", {"min_df": 1, "dim": dim, "sublinear": sublinear}).fit(texts)
        atlas.save(encoder, folder / name)
    X, Y = (atlas.encode(str(folder / name), texts) for name in ("new", "old"))
    return atlas.fit("linear", source=X, target=Y, ridge=1.0)


@pytest.fixture(scope="module")
def cranfield(tmp_path_factory):
    """A map, the folder of its encoders, and a task of some queries and 200 abstracts."""
    pytest.importorskip("mteb", reason="needs latent-atlas[mteb]")
    if not DATA.exists():
        pytest.skip("needs ../shared/data")
    folder = tmp_path_factory.mktemp("cranfield")
    documents = dict([*read("cran.all.1400.xml", "text").items()][:200])
    queries = dict([*read("cran.qry.xml", "title").items()][:40])
    judged = relevant(read_judgements(DATA / "cranqrel.trec.txt"), [*queries], [*documents])
    judged = {q: {d: max(grade, 0) for d, grade in grades.items()} for q, grades in judged.items()}
    queries = {q: queries[q] for q in judged}
    return mapped([*documents.values()][::2], folder, (64, 48)), folder, (documents, queries, judged)


@pytest.mark.filterwarnings("ignore")
def test_queries_are_mapped_and_documents_are_of_the_target(cranfield, tmp_path, monkeypatch, atlas_command):
    made, folder, (documents, queries, judged) = cranfield
    task, encoders = task_of(documents, queries, judged), {"queries": folder / "new", "documents": folder / "old"}
    found = {one.name: one for one in atlas.evaluate(made, mteb=task, **encoders)}
    D, own = (atlas.encode(str(folder / "old"), [*texts.values()]).data for texts in (documents, queries))
    score = scorer(judged)
    for Q, value in ((made(atlas.encode(str(folder / "new"), [*queries.values()]).data), "value"), (own, "native")):
        rows = (unit(Q) @ unit(D).T).topk(10).indices
        due = float(score([*queries], [*documents], rows)["ndcg@10"].mean())
        assert getattr(found["ndcg@10"], value) == pytest.approx(due, abs=2e-5)
    import mteb

    monkeypatch.setattr(mteb, "get_task", lambda name: task)
    made.save_pretrained(tmp_path / "map")
    options = [word for name, where in encoders.items() for word in (f"--{name}", str(where))]
    shown = atlas_command("evaluate", tmp_path / "map", "--mteb", "SmallCranfield", *options, "--save")
    assert "ndcg@10" in shown.stdout
    card = atlas.load(tmp_path / "map").card
    (result,) = metadata(card)["model-index"][0]["results"]
    assert (result["dataset"]["name"], result["dataset"]["split"]) == ("SmallCranfield", "test")
    assert {one["type"]: one["value"] for one in result["metrics"]} == {n: one.value for n, one in found.items()}


def test_a_model_encodes_queries_through_the_map_and_everything_else_without_it(tmp_path):
    made = mapped(TEXTS, tmp_path)
    new, old = (atlas.Encoder.from_pretrained(tmp_path / name) for name in ("new", "old"))
    model, batches = Searcher(new, old, made), [{"text": TEXTS[:5]}, {"text": TEXTS[5:]}]
    due = made(torch.cat([*new.encode(TEXTS)]))
    assert torch.allclose(model.encode(batches, prompt_type="query"), due)
    assert torch.equal(model.encode(batches, prompt_type="document"), torch.cat([*old.encode(TEXTS)]))
    scores = model.similarity(due, due)
    assert torch.allclose(scores.diagonal(), model.similarity_pairwise(due, due))


def test_tasks_need_the_library_and_an_alignment(tmp_path, monkeypatch):
    made = mapped(TEXTS, tmp_path)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "mteb", None)
        with pytest.raises(AtlasError, match=r"need the library - pip install 'latent-atlas\[mteb\]'"):
            atlas.evaluate(made, mteb="NFCorpus")
    with pytest.raises(AtlasError, match="Encoders of queries and documents are for tasks of mteb"):
        atlas.evaluate(made, queries=tmp_path / "new")


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_scored_is_refused_in_a_sentence(tmp_path):
    pytest.importorskip("mteb", reason="needs latent-atlas[mteb]")
    made = mapped(TEXTS, tmp_path)
    encoders = {"queries": tmp_path / "new", "documents": tmp_path / "old"}
    with pytest.raises(AtlasError, match="mteb has no task 'NFCorpsu' - did you mean 'NFCorpus'"):
        atlas.evaluate(made, mteb="NFCorpsu", **encoders)
    with pytest.raises(AtlasError, match="Task 'Banking77Classification' of mteb is one of Classification"):
        atlas.evaluate(made, mteb="Banking77Classification", **encoders)
    with pytest.raises(AtlasError, match=r"maps from .* but the queries are of"):
        atlas.evaluate(made, mteb="NFCorpus", queries=tmp_path / "old", documents=tmp_path / "old")
    with pytest.raises(AtlasError, match=r"it is the target of alignment .* - give its encoder with --documents"):
        atlas.evaluate(made, mteb="NFCorpus", queries=tmp_path / "new")
    with pytest.raises(AtlasError, match="takes arrays, and tasks of mteb are texts"):
        atlas.evaluate(made, mteb="NFCorpus", queries="pixels", documents=tmp_path / "old")

    class Broken:
        metadata = type("About", (), {"name": "Broken", "type": "Retrieval"})
        data_loaded = False

        def load_data(self):
            raise ConnectionError("no route\nto the host")

    with pytest.raises(AtlasError, match=r"task 'Broken' of mteb could not be loaded \(ConnectionError: no route"):
        atlas.evaluate(made, mteb=[Broken()], **encoders)
