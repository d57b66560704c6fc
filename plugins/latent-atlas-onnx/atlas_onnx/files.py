"""The files of an encoder, as tensors of their bytes; and a look at the graph before any runtime gets it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

import atlas
from atlas import AtlasError
from atlas.authors import Ref, explained, in_a_line, packaged, patiently

if TYPE_CHECKING:
    import onnx

GRAPH, TOKENIZER = "graph", "tokenizer"
# Where the graph lies in a folder, by preference.
PLACES = ("model.onnx", "onnx/model.onnx")
# Whose operators a graph may use: those of ONNX, and those that come with the runtime and its extensions.
DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "ai.onnx.contrib", "pkg.onnxscript.torch_lib"}
# An operator that reads a file which the graph names.
READS_FILES = {"EPContext"}
EXTRA = "pip install 'latent-atlas-onnx[encoders]'"


@contextlib.contextmanager
def telling(encoder: atlas.Encoder) -> Iterator[None]:
    """Say which encoder met the reason of an error, and the package to install where one is missing."""
    try:
        yield
    except AtlasError as error:
        raise encoder.fail(str(error)) from None
    except ModuleNotFoundError as error:
        raise encoder.fail(f"needs the package {error.name} - {EXTRA}") from None


def read(model: str, file: str = "") -> dict[str, Tensor]:
    """Return the bytes of a graph, and of the tokenizer.json beside it or above, if there is one.

    Args:
        model: an .onnx file, its folder, either as package:NAME/PATH, or owner/name[@revision] on the Hub.
        file: the .onnx file in the folder.

    Raises:
        AtlasError: there is none.
    """
    place = packaged(model) or Path(model).expanduser()
    if not place.exists():
        place = _downloaded(model, file)
    graph = place if place.is_file() else _graph_in(place, file)
    found = {GRAPH: _bytes(graph)}
    for folder in (graph.parent, graph.parent.parent) if place.is_dir() else (graph.parent,):
        if (folder / "tokenizer.json").is_file():
            return {**found, TOKENIZER: _bytes(folder / "tokenizer.json")}
    return found


def checked(stored: Tensor | None) -> tuple[bytes, onnx.ModelProto]:
    """Return a graph, which is all that it needs: it names no files beside it and no operators of strangers.

    Raises:
        AtlasError: it is no graph, or asks for more.
    """
    import onnx

    if stored is None or stored.dtype != torch.uint8 or stored.ndim != 1:
        raise AtlasError("was given no file of a graph")
    data = stored.numpy().tobytes()
    try:
        model = onnx.load_from_string(data)
    # protobuf raises errors of its own.
    except Exception as error:
        raise AtlasError(f"cannot read its graph: {in_a_line(error, 200)}") from None
    if not model.graph.output:
        raise AtlasError("cannot read its graph: it has no output")
    used = {entry.domain for entry in model.opset_import} | {node.domain for node in nodes(model)}
    if strange := sorted(used - DOMAINS - {function.domain for function in model.functions}):
        raise AtlasError(f"does not run its graph, which needs operators of '{in_a_line(strange[0], 80)}'")
    if any(node.op_type in READS_FILES for node in nodes(model)) or any(t.external_data for t in _tensors(model)):
        raise AtlasError("does not run its graph, which names files beside it - save it as one file")
    return data, model


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph, of those inside it and of its functions."""
    pending = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while pending:
        node = pending.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                pending += graph.node


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of a graph, those inside nodes among them."""
    graphs = [model.graph]
    for node in nodes(model):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors, attribute.sparse_tensor.values)
            graphs += [attribute.g, *attribute.graphs]
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)


def _graph_in(folder: Path, file: str) -> Path:
    for name in [file] if file else PLACES:
        if (folder / name).is_file():
            return folder / name
    raise AtlasError(f"finds no graph in '{folder}' - it has no {file or ' and no '.join(PLACES)}")


def _bytes(path: Path) -> Tensor:
    with explained(path, "read"):
        return torch.from_numpy(np.fromfile(path, dtype=np.uint8))


def _downloaded(model: str, file: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        ref = Ref.parse(model)
    except AtlasError as error:
        raise AtlasError(f"finds no file or folder '{model}', and on the Hub, {error}") from None
    wanted: Any = [*([file] if file else PLACES), "tokenizer.json", "*/tokenizer.json"]
    how = {"allow_patterns": wanted, "library_name": "latent-atlas"}
    return Path(patiently(lambda: snapshot_download(ref.repo, revision=ref.revision, **how), ref))
