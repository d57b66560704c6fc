"""An alignment in the form of another program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atlas.artefacts.alignment import Alignment
from atlas.components.exporter import Exporter
from atlas.verbs.parameters.arguments import AlignmentLike, ExporterLike, artefact_of, component_of
from atlas.verbs.stitch import Stitched


def export(
    exporter: ExporterLike,
    model: AlignmentLike | Stitched,
    out: str | Path,
    /,
    *,
    overwrite: bool = False,
    **options: Any,
) -> Path:
    """Write an alignment for another program.

    Args:
        exporter: the form; `atlas exporters` lists them.
        model: an alignment, or a stitched model: its encoder, alignment and head; in Python, a result of
            `atlas.stitch`.
        out: the file, or a new folder.
        overwrite: replace an existing `out`.
        **options: options of the exporter.

    Returns:
        Where it was written.
    """
    made = component_of(Exporter, exporter, options)
    given = model if isinstance(model, Stitched) else artefact_of(model, Alignment)
    return made.export(given, out, overwrite=overwrite)
