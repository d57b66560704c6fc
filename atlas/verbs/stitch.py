"""Encoder, alignment and head as one model that is used like any other, and measured."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.head import Head
from atlas.artefacts.vectors import Vectors
from atlas.cards.kinds import Metric, best
from atlas.cards.names import slug
from atlas.cards.space import Space
from atlas.components.encoder import Encoder
from atlas.errors import AtlasError, NotFoundError, warn
from atlas.items.batches import Items
from atlas.metrics.intervals import wilson
from atlas.progress import Progress, silent
from atlas.storage.files import check_target, whole_file
from atlas.verbs.evaluate import cut_or_padded
from atlas.verbs.parameters.arguments import (
    AlignmentLike,
    BatchSize,
    EncoderLike,
    HeadLike,
    ItemsLike,
    artefact_of,
    encoder_of,
    head_of,
    items_of,
    make_ready,
)
from atlas.verbs.route import find_route, followed

ENDINGS = (".csv", ".jsonl")


class Stitched(nn.Module):
    """One model's encoder, a map between spaces, and the head of another model.

    Attributes:
        encoder: the encoder that turns items into vectors.
        alignment: the map from its space to the head's; None where both are of one space.
        head: the head that reads the vectors.
        classes: names of the classes, in the order of the columns of the scores.
    """

    kind = "stitched"

    def __init__(self, encoder: Encoder, alignment: Alignment | None, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.alignment = alignment
        self.head = head
        self.classes = head.classes

    def batches(self, items: Any, *, batch_size: int = 256, device: str = "cpu") -> Iterator[Tensor]:
        """Yield the scores of the items (b, classes), batch by batch."""
        for X in self.encoder.encode(items, batch_size=batch_size, device=device):
            yield self.head(X if self.alignment is None else self.alignment(X))

    def forward(self, items: Any) -> Tensor:
        """Return the scores (n, classes) of items: a list of text, an array, or `atlas.read_items(path)`."""
        return torch.cat(list(self.batches(items)))

    def predict(self, items: Any) -> list[str]:
        """Return the name of the class of each item."""
        if not self.classes:
            raise AtlasError(f"Head '{self.head.id}' names no classes - call the model for its scores")
        return [self.classes[i] for i in self.forward(items).argmax(1).tolist()]


def stitch(encoder: EncoderLike, alignment: AlignmentLike | None, head: HeadLike, *, hub: bool = False) -> Stitched:
    """Attach the head of one model to the encoder of another.

    Args:
        encoder: that of the source.
        alignment: from the encoder's space to the head's, such as `atlas.route` returns; None if they are the same, or
            for the best route over the maps of the registry.
        head: that of the target; of a stored space, the one its encoder carries.
        hub: look for a route on the Hub, too.

    Raises:
        SpaceMismatchError: encoder, alignment and head do not meet.
    """
    model, reader = encoder_of(encoder), head_of(head)
    space, made = model.space(), "the encoder's vectors"
    mapping = None if alignment is None else artefact_of(alignment, Alignment)
    if mapping is None and not reader.space.matches(space):
        mapping = _found(space, reader.space, hub)
    if mapping is not None:
        mapping.source.require(space, f"Alignment '{mapping.id}' maps from", made)
        space, made = mapping.target, f"the vectors alignment '{mapping.id}' makes"
    reader.space.require(space, f"Head '{reader.id}' reads", made)
    return Stitched(model, mapping, reader)


def _found(source: Space, target: Space, hub: bool) -> Alignment | None:
    """Return the best route over the maps of the registry, or of the Hub, and warn of it; None if there is none."""
    try:
        chosen, alignment = followed(find_route(source, target, hub=hub))
    except NotFoundError:
        return None
    keeps = "not known how much is kept" if chosen.keeps is None else f"estimated r2 {chosen.keeps:.2f}"
    way = ", then ".join(edge.name for edge in chosen.edges)
    warn(f"'{source.id}' is mapped to '{target.id}' by {way}: {keeps}", 2)
    return alignment


@dataclass(frozen=True)
class Predictions:
    """The class each item was given.

    Attributes:
        ids: of the items.
        classes: their names, in the order of the head's scores.
        predicted: (n,) the number of the class with the largest score.
        scores: (n,) that score.
        labels: the true class of each item, '' where unknown; or None.
    """

    ids: Sequence[str]
    classes: tuple[str, ...]
    predicted: Tensor
    scores: Tensor
    labels: Sequence[str] | None

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the prediction of each item."""
        labels = self.labels or [""] * len(self.ids)
        for id, k, score, label in zip(self.ids, self.predicted.tolist(), self.scores.tolist(), labels, strict=True):
            yield {"id": id, "predicted": self.classes[k], "label": label, "score": score}

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a .csv or .jsonl file, whole or not at all."""
        target = check_predictions(path, overwrite)
        with whole_file(target) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            if target.suffix == ".csv":
                table = csv.DictWriter(file, ["id", "predicted", "label", "score"])
                table.writeheader()
                table.writerows(self.rows())
            else:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows())


def check_predictions(path: str | Path, overwrite: bool) -> Path:
    """Return the path to write predictions to, or raise `AtlasError` saying why it cannot be."""
    if Path(path).suffix not in ENDINGS:
        raise AtlasError(f"'{path}' must end in {' or '.join(ENDINGS)} - predictions are a table")
    return check_target(path, overwrite, ENDINGS)


def predict(
    encoder: EncoderLike,
    alignment: AlignmentLike | None,
    head: HeadLike,
    input: ItemsLike,
    *,
    out: str | Path | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
    hub: bool = False,
    batch_size: BatchSize = 256,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> tuple[Metric, ...]:
    """Run one model's encoder with another model's head.

    The accuracy is measured if the items have classes. Over a route it is estimated, too, cautiously: the accuracy on
    the head's own card times the share (r2) that the route is estimated to keep.

    Args:
        encoder: a component (`atlas encoders` lists them), or a stored space: its folder, or its id in a registry.
        alignment: the map from its space to the one the head reads; without one, the encoder's vectors go to the head
            as they are, or, where it reads another space, by the best route over the maps of the registry.
        head: the head of the other model; of a stored space, the one its encoder carries.
        input: the items, as `atlas encode` takes them.
        out: write the predictions here: a .csv or .jsonl file; vectors, if the head is no classifier.
        text_column: column that holds the items; the one with a common name unless given.
        label_column: column that holds the classes; the one with a common name unless given, '' for none.
        id_column: column that holds the ids; the one with a common name unless given, '' for none.
        hub: look for a route on the Hub, too, not only in the registry.
        batch_size: items in a batch.
        device: where to compute: cpu, cuda, mps...
        overwrite: replace an existing `out`.
        progress: shows how far it is.
        **options: options of the encoder.

    Returns:
        The accuracy, beside that without the alignment, and before it the one estimated; nothing if no item has a class
        and no route was found, or the head is no classifier.
    """
    found = encoder_of(encoder, options)
    items = items_of(input, text_column=text_column, label_column=label_column, id_column=id_column)
    make_ready(found, items)
    model = stitch(found, alignment, head, hub=hub)
    if model.classes and out is not None:
        check_predictions(out, overwrite)
    batches = model.encoder.encode(items, batch_size=batch_size, device=device)
    counted = progress(batches, -(-len(items) // batch_size), "Stitching")
    with torch.no_grad():
        if not model.classes:
            _save_outputs(model, items, counted, out, overwrite)
            return ()
        said, unaligned = _classify(model, items, counted)
    if out is not None:
        said.save(out, overwrite=overwrite)
    return (*_estimated(model), *_accuracy(said, unaligned, items.name))


def _estimated(model: Stitched) -> tuple[Metric, ...]:
    """Return the accuracy that a route is estimated to leave: the head's own, times the share the route keeps."""
    keeps = best(model.alignment.metrics, "estimated r2") if model.alignment is not None else None
    own = best(model.head.metrics, "accuracy")
    if keeps is None or own is None:
        return ()
    return (Metric("estimated accuracy", own.value * max(keeps.value, 0.0), dataset=own.dataset),)


def _classify(model: Stitched, items: Items, batches: Iterable[Tensor]) -> tuple[Predictions, Tensor | None]:
    """Return the predictions, and the numbers of the classes without the alignment; None if there is none."""
    scores, predicted, unaligned = [], [], []
    for X in batches:
        found = model.head(X if model.alignment is None else model.alignment(X)).max(1)
        scores.append(found.values)
        predicted.append(found.indices)
        if model.alignment is not None:
            unaligned.append(model.head(cut_or_padded(X, model.head.space.dim)).argmax(1))
    said = Predictions(items.ids, model.classes, torch.cat(predicted), torch.cat(scores), items.labels)
    return said, torch.cat(unaligned) if unaligned else None


def _accuracy(found: Predictions, unaligned: Tensor | None, dataset: str) -> tuple[Metric, ...]:
    number = {name: k for k, name in enumerate(found.classes)}
    labelled = [(i, label) for i, label in enumerate(found.labels or ()) if label]
    if not labelled:
        return ()
    if not any(label in number for _, label in labelled):
        theirs, ours = ", ".join(sorted({label for _, label in labelled})[:5]), ", ".join(found.classes[:5])
        raise AtlasError(f"The head knows none of the items' classes ({theirs}) - its own are {ours}")
    rows = torch.tensor([i for i, _ in labelled])
    truth = torch.tensor([number.get(label, -1) for _, label in labelled])
    right = (found.predicted[rows] == truth).double()
    low, high = wilson(right)
    floor = None if unaligned is None else float((unaligned[rows] == truth).double().mean())
    return (Metric("accuracy", float(right.mean()), low=low, high=high, floor=floor, dataset=dataset, n=len(rows)),)


def _save_outputs(
    model: Stitched, items: Items, batches: Iterable[Tensor], out: str | Path | None, overwrite: bool
) -> None:
    """Write the output of a regressor or a decoder for each item."""
    if out is None:
        raise AtlasError(f"Head '{model.head.id}' is no classifier: its output is vectors - give a place to write them")
    outputs = [model.head(X if model.alignment is None else model.alignment(X)) for X in batches]
    name = slug(f"{model.head.id}-output")
    Vectors.of(torch.cat(outputs), name, ids=items.ids, dataset=items.name).save_pretrained(out, overwrite=overwrite)
