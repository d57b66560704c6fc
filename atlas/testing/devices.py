"""Which device a computation runs on, on a machine that has one: tensors of torch's 'meta' stand for another."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ELSEWHERE = "meta"
# These move numbers between devices, or take the numbers of rows on either.
_MOVE = ("_to_copy", "copy_", "_copy_from", "index", "index_put", "index_put_", "_local_scalar_dense", "item")
_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "mv", "convolution", "embedding_bag", "_embedding_bag", "dot")


class Watch(TorchDispatchMode):
    """Notes operations that mix tensors of two devices, and products that are computed on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed: list[str] = []
        self.products: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, after a look at where its tensors are."""
        name = func.__name__.partition(".")[0]
        there = {t.device.type for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.ndim}
        if len(there) > 1 and name not in _MOVE:
            self.mixed.append(name)
        if there == {"cpu"} and name in _PRODUCTS:
            self.products.append(name)
        return func(*args, **(kwargs or {}))


def watched(function: Callable[[], Tensor]) -> tuple[Tensor | None, Watch]:
    """Return the result of a computation elsewhere, None if it needs the numbers that are not there, and the watch."""
    # That numbers are missing is no fault: on a device that holds some, the same code would go on.
    with Watch() as watch, modules_stay(), torch.no_grad(), contextlib.suppress(Exception):
        return function(), watch
    return None, watch


@contextlib.contextmanager
def modules_stay() -> Iterator[None]:
    """Give networks that are moved in a block their numbers back after it."""
    original = nn.Module._apply
    kept: list[tuple[nn.Module, dict[str, Any], dict[str, Any]]] = []

    def keeping(self: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        kept.extend((m, dict(m._parameters), dict(m._buffers)) for m in self.modules())
        return original(self, *args, **kwargs)

    nn.Module._apply = keeping  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module._apply = original  # type: ignore[method-assign]
        for module, parameters, buffers in reversed(kept):
            module._parameters.update(parameters)
            module._buffers.update(buffers)
