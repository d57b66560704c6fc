"""What a stitched model says of items: measured, and written to a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.artefacts.vectors import Vectors
from atlas.cards.kinds import Metric
from atlas.cards.names import slug
from atlas.errors import AtlasError
from atlas.items.batches import Items
from atlas.metrics.agreement import bootstrap
from atlas.progress import Progress, silent
from atlas.storage.files import check_target, whole_file
from atlas.verbs.evaluate import cut_or_padded
from atlas.verbs.stitch import Stitched

ENDINGS = (".csv", ".jsonl")


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
        """Yield what there is to say of each item."""
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
    model: Stitched,
    items: Items,
    *,
    out: str | Path | None = None,
    batch_size: int = 256,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress = silent,
) -> tuple[Metric, ...]:
    """Run a stitched model on items, write what it says, and measure it against their classes.

    Args:
        model: encoder, alignment and head.
        items: what to run it on.
        out: a .csv or .jsonl file for the predictions, or, if the head is no classifier, a place for vectors.
        batch_size: items in a batch.
        device: where to compute.
        overwrite: replace what is at `out`.
        progress: shows how far it is.

    Returns:
        The accuracy, beside that without the alignment; nothing if no item has a class, or the head is no classifier.
    """
    if model.classes and out is not None:
        check_predictions(out, overwrite)
    batches = model.encoder.encode(items, batch_size=batch_size, device=device)
    counted = progress(batches, -(-len(items) // batch_size), "Stitching")
    with torch.no_grad():
        if not model.classes:
            _save_outputs(model, items, counted, out, overwrite)
            return ()
        found, unaligned = _classify(model, items, counted)
    if out is not None:
        found.save(out, overwrite=overwrite)
    return _accuracy(found, unaligned, items.name)


def _classify(model: Stitched, items: Items, batches: Iterable[Tensor]) -> tuple[Predictions, Tensor | None]:
    """Return the predictions, and the numbers of the classes without the alignment; None if there is none."""
    scores, predicted, unaligned = [], [], []
    for X in batches:
        best = model.head(X if model.alignment is None else model.alignment(X)).max(1)
        scores.append(best.values)
        predicted.append(best.indices)
        if model.alignment is not None:
            unaligned.append(model.head(cut_or_padded(X, model.head.space.dim)).argmax(1))
    found = Predictions(items.ids, model.classes, torch.cat(predicted), torch.cat(scores), items.labels)
    return found, torch.cat(unaligned) if unaligned else None


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
    low, high = bootstrap(right)
    floor = None if unaligned is None else float((unaligned[rows] == truth).double().mean())
    return (Metric("accuracy", float(right.mean()), low=low, high=high, floor=floor, dataset=dataset, n=len(rows)),)


def _save_outputs(
    model: Stitched, items: Items, batches: Iterable[Tensor], out: str | Path | None, overwrite: bool
) -> None:
    """Write what a regressor or a decoder says of each item."""
    if out is None:
        raise AtlasError(
            f"Head '{model.head.id}' is no classifier: what it says is vectors - give a place to write them"
        )
    outputs = [model.head(X if model.alignment is None else model.alignment(X)) for X in batches]
    name = slug(f"{model.head.id}-output")
    Vectors.of(torch.cat(outputs), name, ids=items.ids, dataset=items.name).save_pretrained(out, overwrite=overwrite)
