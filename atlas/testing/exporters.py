"""The promises of exporters, one function each."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.artefacts.alignment import Alignment
from atlas.cards.space import Space
from atlas.components.exporter import Exporter
from atlas.components.linear import Affine
from atlas.plugins.catalogue import create
from atlas.testing.elsewhere import ensure_same_elsewhere
from atlas.testing.promises import (
    D_SOURCE,
    D_TARGET,
    attempt,
    ensure,
    ensure_close,
    ensure_refused,
    equal_states,
    global_chance,
    options_are_used_or_refused,
    options_survive,
    paired_data,
    unless_refused,
)

# Seconds after which a file is written again: one that holds the time differs.
LATER = 1.0

# Applies the written file to vectors (n, d_source), read back from its path: only the author knows how.
Applied = Callable[[Path, Any], Any]


def affine() -> Alignment:
    """Return a small alignment that is a weight and a bias."""
    weight, bias = torch.randn(D_SOURCE, D_TARGET, generator=torch.Generator().manual_seed(0)), torch.ones(D_TARGET)
    return Alignment.of(Affine.of(weight, bias), Space("a", D_SOURCE), Space("b", D_TARGET))


def not_affine() -> Alignment:
    """Return a small alignment that is more than a weight and a bias."""
    from atlas.components.aligner import Aligner

    aligner = create(Aligner, "relative").fit(paired_data()[0][:20])
    return Alignment.of(aligner, Space("a", D_SOURCE), Space("b", 20))


@contextmanager
def place(exporter: Exporter) -> Iterator[Path]:
    """Yield a path in an empty folder that the exporter may write to."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / f"exported{exporter.writes[0] if exporter.writes else ''}"


def writes_what_it_says(exporter: Exporter, alignment: Alignment | None = None) -> None:
    """A file or a folder appears where it was asked for, holds something, and nothing appears beside it."""
    with place(exporter) as path:
        made = exporter.export(alignment or affine(), path)
        ensure(made == path, exporter, f"must return where it wrote, {path.name}, returned {made}")
        found = sorted(other.name for other in path.parent.iterdir())
        ensure(found == [path.name], exporter, f"must write {path.name} and nothing beside it, wrote {found}")
        if exporter.writes:
            ensure(path.is_file() and path.stat().st_size, exporter, "must write a file that holds something")
        else:
            ensure(path.is_dir() and any(path.iterdir()), exporter, "must write a folder that holds something")


def nothing_is_replaced_unasked(exporter: Exporter, alignment: Alignment | None = None) -> None:
    """An existing file stays as it is unless overwriting is asked for, and a folder always."""
    with place(exporter) as path:
        if not exporter.writes:
            path.mkdir()
        kept = path if exporter.writes else path / "kept"
        kept.write_text("kept")
        for overwrite in (False,) if exporter.writes else (False, True):
            case = f"a place that holds something (overwrite={overwrite})"
            ensure_refused(
                lambda o=overwrite: exporter.export(alignment or affine(), path, overwrite=o),  # type: ignore[misc]
                "exists",
                exporter,
                case,
            )
        ensure(kept.read_text() == "kept", exporter, "must leave an existing file as it is")
        if exporter.writes:
            exporter.export(alignment or affine(), path, overwrite=True)
            ensure(path.read_bytes() != b"kept", exporter, "must replace a file where that is asked for")


def other_models_are_refused(exporter: Exporter, alignment: Alignment | None = None) -> None:
    """A model it cannot write is refused with a sentence, and nothing is left behind."""
    with place(exporter) as path:
        ensure_refused(lambda: exporter.export("a", path), "writes alignments, got str", exporter, "a text")
        if exporter.affine:
            words = "writes maps that are a weight and a bias"
            ensure_refused(lambda: exporter.export(not_affine(), path), words, exporter, "a map that is not affine")
        left = [other.name for other in path.parent.iterdir()]
        ensure(not left, exporter, f"must leave nothing of a refused model, left {left}")


def model_stays(exporter: Exporter, alignment: Alignment | None = None) -> None:
    """The alignment, and the global random state, are as they were."""
    given = alignment or affine()
    before = {name: tensor.clone() for name, tensor in given.tensors().items()}
    with place(exporter) as path, global_chance(1) as untouched:
        exporter.export(given, path)
    ensure(untouched(), exporter, "must leave the global random state alone")
    ensure(equal_states(before, given.tensors()), exporter, "must leave the alignment as it is")


def other_maps_are_met(exporter: Exporter, alignment: Alignment | None = None) -> None:
    """One that does not ask for a weight and a bias alone writes any map, or refuses it in words."""
    if exporter.affine:
        return
    promise = "must write a map that is more than a weight and a bias, or set affine"
    with place(exporter) as path:
        unless_refused(lambda: exporter.export(not_affine(), path), exporter, promise)


def written(exporter: Exporter, alignment: Alignment) -> dict[str, Tensor]:
    """Return the bytes of every file that is written, by its path."""
    with place(exporter) as path:
        exporter.export(alignment, path)
        files = [path] if path.is_file() else [other for other in path.rglob("*") if other.is_file()]
        data = {file.relative_to(path).as_posix(): file.read_bytes() for file in files}
    return {name: torch.frombuffer(bytearray(one or b"\0"), dtype=torch.uint8) for name, one in data.items()}


def writes_the_same_again(exporter: Exporter, alignment: Alignment | None = None) -> None:
    """The same alignment gives the same bytes, a second later and in another process."""
    model = alignment or affine()
    first = written(exporter, model)
    time.sleep(LATER)
    promise = "must write the same bytes a second later - leave out the time, and all else that is not of the alignment"
    ensure(equal_states(first, written(exporter, model)), exporter, promise)
    if alignment is None:
        ensure_same_elsewhere(written, exporter, "write the same bytes", model)


def options_are_checked(exporter: Exporter, alignment: Alignment | None = None) -> None:
    """Any value of an option's type is used, or refused in words, for instance -1 and infinity."""

    def works(one: Exporter) -> Tensor:
        written(one, alignment or affine())
        return torch.zeros(1)

    options_are_used_or_refused(exporter, works)


def applies_the_same(exporter: Exporter, alignment: Alignment | None, apply: Applied) -> None:
    """The file, read back by its author's function, maps as the alignment does."""
    model = alignment or affine()
    X = np.random.default_rng(0).normal(size=(7, model.source.dim)).astype("float32")
    with place(exporter) as path:
        exporter.export(model, path)
        made = attempt(lambda: apply(path, X), exporter, "must write a file that can be read and applied to vectors")
    ensure_close(made, model(X), exporter, "must write the map of the alignment: read back, it maps otherwise", 1e-3)


EXPORTER_CHECKS: tuple[Callable[..., None], ...] = (
    options_survive,
    writes_what_it_says,
    nothing_is_replaced_unasked,
    other_models_are_refused,
    other_maps_are_met,
    model_stays,
    writes_the_same_again,
    options_are_checked,
)
