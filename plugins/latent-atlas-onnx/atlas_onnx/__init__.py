"""Alignments and stitched models as .onnx files, for any runtime that reads them; and .onnx files as encoders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import atlas
from atlas_onnx.encoders import OnnxArrays, OnnxText

if TYPE_CHECKING:
    from atlas.authors import Stitched

# Opsets that the exporter of torch writes without converting from another.
OLDEST, NEWEST = 18, 23


@dataclass
class Onnx(atlas.Exporter):
    """Write a map, or a whole stitched model, as one .onnx file that onnxruntime and other runtimes compute.

    A map that is a weight and a bias becomes one operator; any other is traced by torch. The input of an alignment is
    called `vectors` and its output `mapped`; those of a stitched model `items` and `scores`. There may be any number of
    rows. The metadata of the file names the spaces, the method and the classes. With `confidence`, a second output,
    `predicted_error`, says of each mapped row how far it is likely to be from the true one.
    """

    name = "onnx"
    writes = (".onnx",)
    stitched = True

    opset: int = atlas.option(OLDEST, help=f"Version of the operators, {OLDEST} to {NEWEST}; runtimes read older ones")
    dtype: str = atlas.option(
        "float32", help="Numbers that go in and come out; in between they are float32", choices=("float32", "float16")
    )
    input_shape: list = atlas.option(
        [], help="Shape of one item, such as [3, 32, 32], where the encoder of a stitched model does not tell it"
    )
    confidence: bool = atlas.option(False, help="Write the predicted error of each row as a second output, too")

    def __post_init__(self) -> None:
        if not OLDEST <= self.opset <= NEWEST:
            raise self.fail(f"writes opsets {OLDEST} to {NEWEST}, got {self.opset}")
        if not all(type(size) is int and size > 0 for size in self.input_shape):
            raise self.fail(f"needs an input_shape of whole numbers from 1, got {self.input_shape}")

    def _export(self, model: atlas.Alignment | Stitched, path: Path) -> None:
        from atlas_onnx.graphs import add_errors, cast, joined, serialised
        from atlas_onnx.parts import parts_of
        from atlas_onnx.tracing import graph_of

        domain = self._domain(model)
        graphs = [graph_of(part, self.opset) for part in parts_of(model, self.input_shape)]
        if self.dtype == "float16":
            graphs = [cast(graphs[0].input[0], "float16", "float32"), *graphs]
            graphs = [*graphs, cast(graphs[-1].output[0], "float32", "float16")]
        names = ("vectors", "mapped") if isinstance(model, atlas.Alignment) else ("items", "scores")
        made = joined(graphs, names, self.opset, about(model))
        if domain is not None:
            add_errors(made.graph, domain, self.dtype)
        path.write_bytes(serialised(made))

    def _domain(self, model: atlas.Alignment | Stitched) -> Any:
        """Return where the rows of the fit lay, if errors are to be predicted by it."""
        if not self.confidence:
            return None
        if not isinstance(model, atlas.Alignment):
            raise self.fail("predicts errors of an alignment alone - leave out confidence")
        if model.domain is None:
            raise self.fail(
                f"cannot predict errors of '{model.id}', which does not know its domain - fit it with --confidence"
            )
        return model.domain


def about(model: atlas.Alignment | Stitched) -> dict[str, str]:
    """Return the metadata of the file; the names of classes are a list in JSON."""
    said = {"version": atlas.__version__}
    alignment = model if isinstance(model, atlas.Alignment) else model.alignment
    if not isinstance(model, atlas.Alignment):
        space, head = model.encoder.space(), model.head
        said |= {"encoder": space.id, "head": head.id, "classes": json.dumps(list(model.classes))}
        said |= {"source": space.id, "source_fingerprint": space.fingerprint}
        said |= {"target": head.space.id, "target_fingerprint": head.space.fingerprint}
    if alignment is not None:
        source, target = alignment.source, alignment.target
        said |= {"alignment": alignment.id, "method": alignment.method, "license": alignment.license}
        said |= {"source": source.id, "source_fingerprint": source.fingerprint}
        said |= {"target": target.id, "target_fingerprint": target.fingerprint}
    return {f"atlas.{name}": value for name, value in said.items() if value}


@atlas.hookimpl
def register_exporters():
    """Return the exporters of this plugin."""
    return [Onnx]


@atlas.hookimpl
def register_encoders():
    """Return the encoders of this plugin."""
    return [OnnxArrays, OnnxText]
