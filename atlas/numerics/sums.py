"""Sums over paired rows and their products, centred, and multiplied at full precision."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor

# Rows whose products are added up in their own type, before the sums go to float64.
ROUGH = 8192
# Columns at a time of a product of rows with themselves, of which the lower half is the upper one: twice as many of
# many columns, where products of few are slow.
BLOCK, MANY = 128, 1000
# torch before 2.9 has one setting for all backends, and a later one refuses to tell it where these differ.
_backends: list[Any] = [
    backend
    for backend in (getattr(torch.backends.mkldnn, "matmul", None), torch.backends.cuda.matmul)
    if hasattr(backend, "fp32_precision")
]
_HIGHEST = {"bf16": "ieee", "tf32": "ieee", "medium": "highest", "high": "highest"}
_lock = threading.Lock()
# The settings as they were, once for each thread that is inside.
_held: list[list[str]] = []


class Sums:
    """Sums over rows less a shift, which lies near the means of all chunks: no digits are lost, no sums are merged."""

    def __init__(self, X: Tensor, Y: Tensor, needs: Collection[str]):
        # The narrower type of a device that has no float64 is left behind there.
        self.place = torch.device("cpu") if X.device.type == "mps" else X.device
        self.shift = {"x": X.mean(0), "y": Y.mean(0)}
        self.n = self.pending = 0
        self.sums, self.squares = ({side: self._zeros(side) for side in "xy"} for _ in range(2))
        self.products = {name: self._zeros(*name) for name in needs}
        self.rough = {name: X.new_zeros(P.shape) for name, P in self.products.items()}

    def add(self, X: Tensor, Y: Tensor) -> bool:
        """Add a chunk of rows, unless its means lie more than a deviation from the shift; return whether it was."""
        rows = {"x": X - self.shift["x"], "y": Y - self.shift["y"]}
        sums = {side: part.sum(0).to(self.place).double() for side, part in rows.items()}
        if self.n and any(self._strays(side, sums[side] / len(X)) for side in "xy"):
            return False
        for name in self.products:
            self._multiply(name, rows[name[0]], rows[name[1]])
        for side, part in rows.items():
            self.sums[side] += sums[side]
            # The diagonals of products hold the squares already.
            if side * 2 not in self.products:
                self.squares[side] += part.square_().sum(0).to(self.place)
        self.n += len(X)
        self.pending += len(X)
        if self.pending >= ROUGH:
            self.settle()
        return True

    def _multiply(self, name: str, A: Tensor, B: Tensor) -> None:
        """Add A.T @ B to the pending part of a product; of A with itself, to the upper half."""
        symmetric, out = name[0] == name[1], self.rough[name]
        block = BLOCK if len(out) < MANY else 2 * BLOCK
        step = block if symmetric else len(out)
        for start in range(0, len(out), step):
            columns, rest = slice(start, start + step), slice(start if symmetric else 0, None)
            out[columns, rest].addmm_(A[:, columns].T, B[:, rest], beta=1 if self.pending else 0)

    def settle(self) -> None:
        """Add the part that is still in the rows' own type to the sums in float64."""
        for name in self.products if self.pending else ():
            self.products[name] += self.rough[name].to(self.place)
        self.pending = 0

    def centred(self) -> dict[str, Any]:
        """Return means, products of rows less their means, and squares as "ssx" and "ssy", in float64 on the CPU."""
        self.settle()
        rest = {side: self.sums[side] / self.n for side in "xy"}
        found = {f"mean_{side}": self.shift[side].to(self.place).double() + rest[side] for side in "xy"}
        for name, P in self.products.items():
            whole = P.triu().add_(P.triu(1).T) if name[0] == name[1] else P
            found[name] = whole.addr_(rest[name[0]], rest[name[1]], alpha=-self.n)
        for side in "xy":
            if (product := found.get(side * 2)) is None:
                squares = self.squares[side] - self.n * rest[side].square()
            else:
                squares = product.diagonal()
            found[f"ss{side}"] = squares.clamp_(min=0).clone()
        return {name: t.cpu() for name, t in found.items()}

    def _strays(self, side: str, rest: Tensor) -> bool:
        """Whether a chunk's mean less the shift (d,) is large beside the rows before it, and beside rounding."""
        rough = self.rough[side * 2].diagonal().to(self.place) if self.pending and side * 2 in self.rough else 0
        settled = self.products[side * 2].diagonal() if side * 2 in self.products else self.squares[side]
        rounding = 8 * torch.finfo(self.shift[side].dtype).eps * self.shift[side].to(self.place).double()
        return bool((rest.square() > (settled + rough) / self.n + rounding.square()).any())

    def _zeros(self, *sides: str) -> Tensor:
        shape = [len(self.shift[side]) for side in sides]
        return torch.zeros(shape, dtype=torch.float64, device=self.place)


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Multiply float32 as float32, even where the process allows less, as `torch.set_float32_matmul_precision` does.

    The settings are the process's: they come back when the last thread that is in here leaves.
    """
    with _lock:
        _held.append(_settings() if not _held else _held[0])
        _set([_HIGHEST.get(value, value) for value in _held[0]])
    try:
        yield
    finally:
        with _lock:
            before = _held.pop()
            if not _held:
                _set(before)


def _settings() -> list[str]:
    return [backend.fp32_precision for backend in _backends] or [torch.get_float32_matmul_precision()]


def _set(values: list[str]) -> None:
    if not _backends and values != _settings():
        torch.set_float32_matmul_precision(values[0])
    for backend, value in zip(_backends, values, strict=False):
        if backend.fp32_precision != value:
            backend.fp32_precision = value
