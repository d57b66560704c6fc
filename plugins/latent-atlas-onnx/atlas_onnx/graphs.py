"""Graphs of ONNX: those made by hand, how parts become one, and which parts the file leaves out.

Every part is a graph of one input and one output, each of any number of rows. This module is imported when something is
exported, and not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

import atlas

# The size of one protocol buffer, less room for everything but the weights.
LARGEST = 2**31 - 2**20
ROWS = "n"


def value(name: str, shape: Sequence[int], dtype: str = "float32") -> Any:
    """Return the declaration of an input or output (n, *shape)."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [ROWS, *shape])


def row_shape(info: Any) -> list[int]:
    """Return the shape of one row of a declared value."""
    return [dim.dim_value for dim in info.type.tensor_type.shape.dim[1:]]


def affine(name: str, weight: Any, bias: Any) -> GraphProto:
    """Return x @ weight + bias, for arrays weight (d_source, d_target) and bias (d_target,)."""
    constants = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")]
    node = helper.make_node("Gemm", ["x", "weight", "bias"], ["y"], "gemm")
    given, made = value("x", weight.shape[:1]), value("y", weight.shape[1:])
    return helper.make_graph([node], name, [given], [made], constants)


def cast(info: Any, given: str, made: str) -> GraphProto:
    """Return a change of dtype for values of the shape that is declared."""
    shape = row_shape(info)
    node = helper.make_node("Cast", ["x"], ["y"], "cast", to=helper.np_dtype_to_tensor_dtype(np.dtype(made)))
    return helper.make_graph([node], f"to_{made}", [value("x", shape, given)], [value("y", shape, made)])


def row_by_row(graph: GraphProto) -> GraphProto:
    """Return a graph that does for every row the work of a graph for a batch of one."""
    given, made = graph.input[0], graph.output[0]
    shapes = [row_shape(info) for info in (given, made)]
    ends = [helper.make_tensor_value_info(f"a_row.{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(shapes)]
    axis = numpy_helper.from_array(np.array([0]), "a_row.axis")
    body = [
        helper.make_node("Unsqueeze", [ends[0].name, axis.name], [given.name], "unsqueeze"),
        *graph.node,
        helper.make_node("Squeeze", [made.name, axis.name], [ends[1].name], "squeeze"),
    ]
    inner = helper.make_graph(body, "a_row", ends[:1], ends[1:])
    # A scan takes no empty batch: a row of zeros is added to one, and taken away again.
    known = {"zero": [0], "one": [1], "shape": shapes[0]}
    constants = [numpy_helper.from_array(np.array(known[name], np.int64), f"rows.{name}") for name in known]
    nodes = [
        helper.make_node("Shape", ["rows.0"], ["rows.sizes"], "sizes"),
        helper.make_node("Gather", ["rows.sizes", "rows.zero"], ["rows.n"], "n"),
        helper.make_node("Sub", ["rows.one", "rows.n"], ["rows.lack"], "lack"),
        helper.make_node("Max", ["rows.lack", "rows.zero"], ["rows.more"], "more"),
        helper.make_node("Concat", ["rows.more", "rows.shape"], ["rows.added"], "added", axis=0),
        helper.make_node("ConstantOfShape", ["rows.added"], ["rows.zeros"], "zeros"),
        helper.make_node("Concat", ["rows.0", "rows.zeros"], ["rows.some"], "some", axis=0),
        helper.make_node("Scan", ["rows.some"], ["rows.done"], "scan", body=inner, num_scan_inputs=1),
        helper.make_node("Slice", ["rows.done", "rows.zero", "rows.n", "rows.zero"], ["rows.1"], "asked_for"),
    ]
    given, made = (value(f"rows.{i}", shape) for i, shape in enumerate(shapes))
    return helper.make_graph(nodes, graph.name, [given], [made], [*graph.initializer, axis, *constants])


def joined(graphs: Sequence[GraphProto], names: tuple[str, str], opset: int, about: dict[str, str]) -> ModelProto:
    """Return a model that applies graphs one after another.

    Args:
        graphs: with names that differ; they are changed.
        names: of the input and the output.
        opset: version of the operators.
        about: for the metadata.
    """
    edges = [names[0], *(f"{graph.name}.out" for graph in graphs[:-1]), names[1]]
    for graph, first, last in zip(graphs, edges[:-1], edges[1:], strict=True):
        rename(graph, graph.name, {graph.input[0].name: first, graph.output[0].name: last, "": ""})
    nodes = [node for graph in graphs for node in graph.node]
    constants = [tensor for graph in graphs for tensor in graph.initializer]
    check_size(constants)
    whole = helper.make_graph(nodes, "atlas", [graphs[0].input[0]], [graphs[-1].output[0]], constants)
    versions = [helper.make_opsetid("", opset)]
    made = helper.make_model(
        whole,
        opset_imports=versions,
        ir_version=helper.find_min_ir_version_for(versions),
        producer_name="latent-atlas",
        producer_version=atlas.__version__,
    )
    helper.set_model_props(made, about)
    return made


def add_errors(graph: GraphProto, domain: Any, dtype: str) -> None:
    """Add an output `predicted_error` (n,) to the graph of an alignment, computed in float32.

    Args:
        graph: whose first input is rows of the source.
        domain: of the alignment.
        dtype: of input and output.
    """
    factor = np.float32(domain.error / domain.level**0.5)
    constants = {"mean": domain.mean.numpy(), "root": domain.root.numpy(), "axis": np.array([1]), "factor": factor}
    graph.initializer.extend(numpy_helper.from_array(t, f"domain.{name}") for name, t in constants.items())
    check_size(graph.initializer)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph.node.extend(
        [
            helper.make_node("Cast", [graph.input[0].name], ["domain.x"], "domain.cast", to=TensorProto.FLOAT),
            helper.make_node("Sub", ["domain.x", "domain.mean"], ["domain.centred"], "domain.centre"),
            helper.make_node("MatMul", ["domain.centred", "domain.root"], ["domain.white"], "domain.whiten"),
            helper.make_node("ReduceL2", ["domain.white", "domain.axis"], ["domain.far"], "domain.size", keepdims=0),
            helper.make_node("Mul", ["domain.far", "domain.factor"], ["domain.error"], "domain.scale"),
            helper.make_node("Cast", ["domain.error"], ["predicted_error"], "domain.back", to=kind),
        ]
    )
    graph.output.append(value("predicted_error", [], dtype))


def rename(graph: GraphProto, prefix: str, known: dict[str, str]) -> None:
    """Give everything in a graph, and in the graphs within it, the name that is known for it, or a prefix."""

    def name(before: str) -> str:
        return known.get(before, f"{prefix}.{before}")

    for node in graph.node:
        node.name = name(node.name)
        node.input[:] = [name(value) for value in node.input]
        node.output[:] = [name(value) for value in node.output]
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                rename(inner, prefix, known)
    for named in (*graph.input, *graph.output, *graph.initializer):
        named.name = name(named.name)


def strip(message: Any) -> None:
    """Take everything out of a message that says how it was made: comments, and metadata with names of source files."""
    for field, content in message.ListFields():
        if field.name in ("doc_string", "metadata_props", "value_info"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for inner in [content] if hasattr(content, "ListFields") else content:
                strip(inner)


def check_size(constants: Sequence[TensorProto]) -> None:
    """Raise `AtlasError` if constants are more than one file can hold."""
    size = sum(len(tensor.raw_data) for tensor in constants)
    if size > LARGEST:
        raise atlas.AtlasError(
            f"The model has {size / 1e9:.1f} GB of weights, and one .onnx file holds at most {LARGEST / 1e9:.1f} GB"
            " - export the alignment alone, or one with fewer anchors"
        )


def serialised(model: ModelProto) -> bytes:
    """Return the bytes of a model, equal for equal models, once it has been found well-formed."""
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
