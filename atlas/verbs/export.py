"""An alignment in the form of another program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atlas.artefacts.alignment import Alignment
from atlas.components.exporter import Exporter
from atlas.plugins.catalogue import create
from atlas.verbs.stitch import Stitched


def export(
    exporter: str | Exporter,
    model: Alignment | Stitched,
    out: str | Path,
    /,
    *,
    overwrite: bool = False,
    **options: Any,
) -> Path:
    """Write an alignment, or a stitched model, in the form that another program reads, and return where it is.

    Args:
        exporter: a component, or its name with `options`.
        model: an alignment, or what `atlas.stitch` returns.
        out: the file or the folder.
        overwrite: replace a file that is there.
        **options: of the exporter.
    """
    made = exporter if isinstance(exporter, Exporter) else create(Exporter, exporter, options)
    return made.export(model, out, overwrite=overwrite)
