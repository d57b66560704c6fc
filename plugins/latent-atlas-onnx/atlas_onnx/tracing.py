"""Functions of torch as graphs of ONNX, by way of torch's own exporter, which is kept quiet."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import atlas
from atlas_onnx import graphs
from atlas_onnx.parts import Part

# How many rows of the second matrix are subtracted at once, where distances are sums over differences.
BLOCK = 16


def graph_of(part: Part, opset: int) -> Any:
    """Return a part as a graph."""
    if part.affine is not None:
        return graphs.affine(part.name, *(tensor.numpy() for tensor in part.affine))
    return traced(part, opset)


def traced(part: Part, opset: int) -> Any:
    """Return the graph of a part.

    A function that torch cannot trace for any number of rows, such as a loop over blocks, is traced for one and applied
    row by row: to the same effect, but slower.

    Raises:
        AtlasError: it cannot be traced at all, or rows do not go through it independently of each other.
    """
    example = torch.randn(3, *part.shape, generator=torch.Generator().manual_seed(0))
    with quiet(), torch.no_grad():
        try:
            # Done once for real: values that are computed on first use must not be part of the graph.
            made = part.function(example)
        except atlas.AtlasError:
            raise
        except (RuntimeError, ValueError, TypeError) as error:
            raise refused(part, f"does not take items of shape {part.shape}", error) from None
        # torch raises errors of any kind here, also of kinds that are private.
        try:
            return to_graph(part, example, opset, made.shape[1:])
        except Exception as error:
            first = error
        check_rows(part, example, made)
        try:
            return graphs.row_by_row(to_graph(part, example[:1], opset, made.shape[1:]))
        except Exception:
            raise refused(part, "torch cannot trace", first) from None


def refused(part: Part, why: str, error: Exception) -> atlas.AtlasError:
    """Return an error that says why a part has no graph."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return atlas.AtlasError(f"Exporter 'onnx' cannot write {part.label}, which {why}: {lines[0][:200].rstrip('.')}")


def check_rows(part: Part, example: Tensor, made: Tensor) -> None:
    """Raise `AtlasError` if the result for a row depends on the rows beside it."""
    alone = torch.cat([part.function(row) for row in example.split(1)])
    if not torch.allclose(alone, made, rtol=1e-4, atol=1e-4 * float(made.abs().max())):
        why = "makes something else of a row where others are beside it"
        raise atlas.AtlasError(f"Exporter 'onnx' cannot write {part.label}, which {why}")


def to_graph(part: Part, example: Tensor, opset: int, made: tuple[int, ...]) -> Any:
    """Return the graph of a part: for any number of rows, or for one if the example has one."""
    rows = {} if len(example) == 1 else {0: torch.export.Dim(graphs.ROWS)}
    program = torch.export.export(Function(part.function), (example,), dynamic_shapes=(rows,), strict=False)
    written: Any = torch.onnx.export(program, (), dynamo=True, opset_version=opset, verbose=False)
    model = written.model_proto
    graphs.strip(model)
    graph = model.graph
    if model.functions or len(graph.input) != 1 or {entry.domain for entry in model.opset_import} - {""}:
        raise ValueError("torch wrote operators that are not part of ONNX")
    graph.name = part.name
    graph.input[0].CopyFrom(graphs.value(graph.input[0].name, part.shape))
    graph.output[0].CopyFrom(graphs.value(graph.output[0].name, made))
    return graph


class Function(nn.Module):
    """A function as a module, as torch wants it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Return the function's result, float32."""
        with Distances():
            return self.function(x).float()


class Distances(TorchFunctionMode):
    """Computes `torch.cdist`, which ONNX does not have, of operators that it has."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.cdist:
            return distances(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def distances(x: Tensor, y: Tensor, p: float = 2.0, compute_mode: Any = None) -> Tensor:
    """Return (..., n, m) the distances between the rows of x (..., n, d) and y (..., m, d), in the dtype of x."""
    if p == 2:
        # In float64, as small differences of large squares lose their digits.
        a, b = x.double(), y.double()
        squares = a.square().sum(-1, keepdim=True) + b.square().sum(-1).unsqueeze(-2) - 2 * a @ b.mT
        return squares.clamp(min=0).sqrt().to(x.dtype)
    parts = [(x.unsqueeze(-2) - part.unsqueeze(-3)).abs() for part in y.split(BLOCK, -2)]
    if p == float("inf"):
        return torch.cat([part.amax(-1) for part in parts], -1)
    if p == 1:
        return torch.cat([part.sum(-1) for part in parts], -1)
    return torch.cat([part.pow(p).sum(-1).pow(1 / p) for part in parts], -1)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let nothing be printed, logged or warned of: failures are raised."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            with contextlib.redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(before)
