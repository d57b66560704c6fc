"""The base of every exporter: alignments and stitched models in the form that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from atlas.components.options import Component
from atlas.components.settings import left_alone
from atlas.errors import AtlasError
from atlas.storage.files import as_path, whole_file, whole_folder


class Exporter(Component):
    """An alignment as a file or a folder that another program reads.

    A subclass implements `_export`. It sets `writes` to the endings that its file may have, and to none if it writes a
    folder; `affine` if it takes maps that are a weight and a bias alone; `stitched` if it takes stitched models, too;
    and `takes` to the alignments it takes if not all, such as "alignments from a text encoder".
    """

    kind = "exporter"
    writes: ClassVar[tuple[str, ...]] = ()
    affine: ClassVar[bool] = False
    stitched: ClassVar[bool] = False
    takes: ClassVar[str] = ""

    def export(self, model: Any, out: str | Path, *, overwrite: bool = False) -> Path:
        """Write an alignment or a stitched model, whole or not at all, and return where it is.

        Args:
            model: an `Alignment`, or a stitched model for an exporter that takes one; it is not changed.
            out: the file, whose ending must be one of `writes`, or a folder that is new or empty.
            overwrite: replace a file that is there; a folder is never replaced.

        Raises:
            AtlasError: a model this exporter cannot write, something is there already, or it cannot be written.
        """
        path = self.target(as_path(out), overwrite)
        self._check(model)
        with whole_file(path) if self.writes else whole_folder(path) as temporary, left_alone(self.label()):
            self._export(model, temporary)
            # Another process may have written it meanwhile.
            self.target(path, overwrite)
        return path

    def target(self, path: Path, overwrite: bool) -> Path:
        """Return the path to write to, or raise `AtlasError` saying why it cannot be."""
        if not self.writes:
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise AtlasError(f"'{path}' exists - choose the name of a new folder")
            return path
        if path.suffix not in self.writes:
            raise self.fail(f"writes a file, got '{path}' - give it the ending {' or '.join(self.writes)}")
        if path.is_dir():
            raise AtlasError(f"'{path}' is a folder, not a file - choose another name")
        if path.exists() and not overwrite:
            raise AtlasError(f"'{path}' exists - choose another name, or pass --overwrite (overwrite=True)")
        return path

    def _check(self, model: Any) -> None:
        """Raise `AtlasError` unless this exporter can write the model."""
        kind = getattr(model, "kind", "")
        if kind == "stitched":
            if not self.stitched:
                raise self.fail("writes alignments, not stitched models - give the alignment alone")
        elif kind != "alignment":
            raise self.fail(f"writes alignments, got {type(model).__name__}")
        elif self.affine and not model.aligner.affine:
            made = f"alignment '{model.id}' ('{model.method}') is not"
            raise self.fail(f"writes maps that are a weight and a bias, and {made} - fit 'procrustes' or 'linear'")

    def _export(self, model: Any, path: Path) -> None:
        """Write a model to a path, which does not exist: a file, or a folder, which does and is empty.

        For an exporter of affine maps, `model.tensors()` has `weight` (d_source, d_target) and `bias` (d_target,).
        """
        raise NotImplementedError
