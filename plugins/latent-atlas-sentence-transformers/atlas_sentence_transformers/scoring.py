"""Figures of mteb: a map between two models, scored on tasks of retrieval by whole searches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import atlas
from atlas import AtlasError, Metric
from atlas_sentence_transformers.exporter import SentenceTransformersExporter, settled

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Ours by theirs; recall@10 and mrr are other figures on the cards of maps.
FIGURES = {"ndcg_at_10": "ndcg@10", "map_at_10": "map@10"}


def mteb(
    alignment: atlas.Alignment | str | Path, tasks: Any, *, documents: str, source: str = "", **options: Any
) -> atlas.Alignment:
    """Return an alignment with figures of mteb on its card: queries are mapped, documents are of the target's model.

    Each figure stands beside that of the target's own model, which encodes queries and documents alike.

    Args:
        alignment: the map.
        tasks: of retrieval: a task of mteb, its name, or several.
        documents: the model of the target.
        source: the model of the source, where the alignment does not say.
        **options: further ones of the exporter.

    Raises:
        AtlasError: mteb is not installed, a task is not one of retrieval, or a model is another than the alignment's.
    """
    made = alignment if isinstance(alignment, atlas.Alignment) else atlas.load(alignment, "alignment")
    listed = tasks if isinstance(tasks, (list, tuple)) else [tasks]
    exporter = SentenceTransformersExporter(source=source, documents=documents, **options)
    model, *_ = exporter.built(made)
    own = settled(exporter.encoder_of(made.target, "documents", f"Alignment '{made.id}' maps to", {}))
    figures = {(one.name, one.dataset, one.split): one for one in made.metrics}
    for task in listed:
        ours, theirs = _scores(model, task), _scores(own, task)
        for key, value in ours.items():
            figures[key] = Metric(key[0], value, native=theirs[key], dataset=key[1], split=key[2])
    return made.with_card(metrics=tuple(figures.values()))


def _scores(model: SentenceTransformer, task: Any) -> dict[tuple[str, str, str], float]:
    """Return figures by their names, task and split."""
    try:
        import mteb as library
    except ImportError:
        raise AtlasError(
            "Tasks of mteb need the library - pip install 'latent-atlas-sentence-transformers[mteb]'"
        ) from None
    found = [library.get_task(task)] if isinstance(task, str) else [task]
    results = library.evaluate(model, found, cache=None, co2_tracker=False, show_progress_bar=False)
    scores = {
        (ours, result.task_name, split): float(one[theirs])
        for result in results.task_results
        for split, subsets in result.scores.items()
        for one in subsets
        for theirs, ours in FIGURES.items()
        if theirs in one
    }
    if not scores:
        raise AtlasError(f"Task '{found[0].metadata.name}' of mteb is not one of retrieval - give one that is")
    return scores
