"""Figures of mteb: a map between two models, scored on tasks of retrieval by whole searches."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from atlas.artefacts.alignment import Alignment
from atlas.cards.kinds import Metric
from atlas.components.encoder import Encoder
from atlas.errors import AtlasError, in_a_line, needed
from atlas.numerics.arrays import unit
from atlas.verbs.parameters.arguments import EncoderLike, encoder_of

# Ours by theirs; recall@10 and mrr are other figures on the cards of maps.
FIGURES = {"ndcg_at_10": "ndcg@10", "map_at_10": "map@10"}


class Searcher:
    """A model as mteb takes it: queries by one encoder, through a map, and documents by another."""

    def __init__(self, queries: Encoder, documents: Encoder, alignment: Alignment | None = None, device: str = "cpu"):
        """Take encoders and a map.

        Args:
            queries: encodes queries.
            documents: encodes everything else.
            alignment: maps the vectors of queries; None: they stay as they are.
            device: where encoders compute.
        """
        self.queries, self.documents, self.alignment, self.device = queries, documents, alignment, device

    def encode(self, inputs: Any, *, prompt_type: Any = None, **how: Any) -> Tensor:
        """Return the vectors (n, d) of batches of texts.

        Args:
            inputs: yields mappings whose "text" is a list.
            prompt_type: "query" or "document", as mteb says it.
            **how: more about the task, which changes nothing.
        """
        asked = getattr(prompt_type, "value", prompt_type) == "query"
        encoder = self.queries if asked else self.documents
        texts = [text for batch in inputs for text in batch["text"]]
        found = torch.cat(list(encoder.encode(texts, device=self.device)))
        return self.alignment(found) if asked and self.alignment else found

    def similarity(self, one: Any, other: Any) -> Tensor:
        """Return the cosines (n, m) of vectors (n, d) and (m, d)."""
        one, other = (unit(torch.atleast_2d(torch.as_tensor(rows)).float()) for rows in (one, other))
        return one @ other.T

    def similarity_pairwise(self, one: Any, other: Any) -> Tensor:
        """Return the cosine of each vector (n, d) with the one beside it (n,)."""
        return (unit(torch.as_tensor(one).float()) * unit(torch.as_tensor(other).float())).sum(1)

    @property
    def mteb_model_meta(self) -> Any:
        """The metadata that mteb wants of a model: next to nothing is known."""
        from mteb.models.model_meta import ModelMeta

        return ModelMeta.create_empty()


def scored(
    made: Alignment,
    tasks: Sequence[Any],
    queries: EncoderLike | None = None,
    documents: EncoderLike | None = None,
    device: str = "cpu",
) -> list[Metric]:
    """Return figures of an alignment on tasks of mteb, each beside that of the target's own model.

    Args:
        made: the map, through which queries search documents of the target.
        tasks: of retrieval: tasks of mteb, or their names.
        queries: the encoder of the source; None: the one that its space is stored with.
        documents: the encoder of the target; None: likewise.
        device: where encoders compute.

    Raises:
        AtlasError: mteb is not installed, a task is not one of retrieval or cannot be had, or an encoder is another
            than that of the alignment.
    """
    _library()
    asking = _encoder(queries, made, "source", "queries")
    holding = _encoder(documents, made, "target", "documents")
    mapped, own = Searcher(asking, holding, made, device), Searcher(holding, holding, None, device)
    found = []
    for task in tasks:
        loaded = _task(task)
        ours, theirs = _scores(mapped, loaded), _scores(own, loaded)
        found += [
            Metric(key[0], value, native=theirs[key], dataset=key[1], split=key[2]) for key, value in ours.items()
        ]
    return found


def _library() -> Any:
    with needed("Tasks of mteb need", "the library", "mteb"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mteb
    return mteb


def _encoder(given: EncoderLike | None, made: Alignment, side: str, option: str) -> Encoder:
    """Return the encoder of a side of an alignment; raise `AtlasError` for another one."""
    space = getattr(made, side)
    try:
        found = encoder_of(space.id if given is None else given)
    except AtlasError as error:
        if given is not None:
            raise
        raise AtlasError(
            f"{error}; it is the {side} of alignment '{made.id}' - give its encoder with --{option}"
        ) from None
    if found.takes != "text":
        raise AtlasError(f"{found.label()} takes {found.takes}, and tasks of mteb are texts - give one that takes text")
    space.require(found.space(), f"Alignment '{made.id}' maps {'from' if side == 'source' else 'to'}", f"the {option}")
    return found


def _task(task: Any) -> Any:
    """Return a task with its data, of a name if it is one."""
    found = task
    if isinstance(task, str):
        try:
            found = _library().get_task(task)
        except KeyError as error:
            hint = str(error.args[0]).partition("Did you mean: ")[2]
            told = f"did you mean {in_a_line(hint, 100)}" if hint else "give the name of one, such as NFCorpus"
            raise AtlasError(f"mteb has no task '{task:.60}' - {told}") from None
    name = found.metadata.name
    if found.metadata.type != "Retrieval":
        raise AtlasError(f"Task '{name}' of mteb is one of {found.metadata.type} - give one of retrieval")
    try:
        if not found.data_loaded:
            found.load_data()
    except Exception as error:
        why = in_a_line(f"{type(error).__name__}: {error}", 200)
        raise AtlasError(
            f"The data of task '{name}' of mteb could not be loaded ({why}) - check the connection"
        ) from None
    return found


def _scores(model: Searcher, task: Any) -> dict[tuple[str, str, str], float]:
    """Return figures by their names, task and split."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = _library().evaluate(model, [task], cache=None, co2_tracker=False, show_progress_bar=False)
    return {
        (
            ours,
            result.task_name,
            split if subset["hf_subset"] == "default" else f"{split}, {subset['hf_subset']}",
        ): float(subset[theirs])
        for result in results.task_results
        for split, subsets in result.scores.items()
        for subset in subsets
        for theirs, ours in FIGURES.items()
        if theirs in subset
    }
