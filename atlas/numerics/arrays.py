"""Matrices that come in as anything, and tensors as they will be saved; torch is imported when it is needed."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from atlas.cards.names import sha256_of
from atlas.errors import AtlasError, NotFiniteError, first_line, in_a_line

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

# A sparse matrix is made dense up to this many bytes.
MAX_DENSE = 2**31
# Fits and similarities take squares of squares, which float64 holds of vectors whose largest number lies between these.
SMALLEST, LARGEST = 2.0**-250, 2.0**250
BEYOND = "Float64 cannot hold the squares of these vectors - bring them to another unit"
# The next wider type, where torch does not have the array's own.
_WIDER = {"u2": "i4", "u4": "i8", "u8": "f8", "f12": "f8", "f16": "f8"}


def frozen(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as they will be saved: float32 (whole numbers stay), contiguous, on the CPU, sharing no memory.

    Raises:
        AtlasError: numbers too large for float32.
    """
    import torch

    def one(name: str, t: Tensor) -> Tensor:
        t = t.detach().cpu()
        kept = t.to(torch.float32) if t.is_floating_point() else t
        if not is_finite(kept) and is_finite(t):
            raise AtlasError(f"Tensor '{name}' holds numbers too large for float32 - scale the vectors")
        return kept.clone(memory_format=torch.contiguous_format)

    return {name: one(name, t) for name, t in state.items()}


def lengths(X: Tensor) -> Tensor:
    """Return the Euclidean length of each row, (n, 1); squares neither overflow nor vanish, whatever the unit is."""
    return _measured(X)[0]


def unit(X: Tensor) -> Tensor:
    """Return rows at length 1; a row of zeros, which has no direction, stays one."""
    import torch

    norms, ordinary = _measured(X)
    return X / (norms if ordinary else torch.where(norms == 0, 1, norms))


def _measured(X: Tensor) -> tuple[Tensor, bool]:
    """Return the length of each row, (n, 1), and whether all are known to be neither tiny nor infinite."""
    import torch

    found = torch.linalg.vector_norm(X, dim=1, keepdim=True)
    # A model that is being traced, as by an exporter, cannot look at its numbers.
    if torch.compiler.is_compiling():
        return found, False
    if not len(X):
        return found, True
    low, high = found.detach().aminmax()
    # As numbers of Python: for one row, comparing tensors would take longer than all else.
    if torch.finfo(X.dtype).tiny ** 0.4 < low.item() and high.item() < math.inf:
        return found, True
    size = X.abs().amax(1, keepdim=True)
    size = torch.where(size == 0, 1, size)
    return size * torch.linalg.vector_norm(X / size, dim=1, keepdim=True), False


def all_equal(X: Tensor) -> bool:
    """Whether all rows are the same, to the bit."""
    import torch

    return torch.equal(X, X[:1].expand_as(X))


def is_finite(t: Tensor) -> bool:
    """Whether no number is NaN or infinite: one pass that keeps nothing, unless the sum is not finite."""
    import torch

    # The sum of half precision overflows too early to be asked.
    total = t.sum(dtype=torch.float32 if t.dtype.itemsize < 4 else None)
    return math.isfinite(total) or bool(torch.isfinite(t).all())


def hash_of(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of tensors: their names, dtypes, shapes and bytes, whatever order they are given in."""
    import torch

    def one(t: Tensor) -> list[Any]:
        raw = t.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return [str(t.dtype), list(t.shape), hashlib.sha256(raw.data).hexdigest()]

    return sha256_of({name: one(t) for name, t in state.items()})


def far_from_zero(X: Tensor) -> bool:
    """Whether rows lie so far from zero, beside their spread, or are so large or small, that float32 may lose them."""
    spread = float((X - X.mean(0)).norm())
    return not (2**-40 < spread < 2**40 and float(X.norm()) < 1e4 * spread)


def check_unit(X: Tensor) -> None:
    """Raise `AtlasError` if float64 cannot hold the squares of vectors, which are too large or too small for it."""
    # Numbers of narrower types are never so large or so small.
    if X.element_size() == 8 and not SMALLEST < float(X.abs().max()) < LARGEST and bool(X.any()):
        raise AtlasError(BEYOND)


def check_device(device: str, dtype: str = "float32") -> str:
    """Return a device's name, or raise `AtlasError` if torch has no such device here, or that has no such numbers."""
    import torch

    try:
        # Not all of torch's devices compute: 'meta' holds no numbers.
        torch.zeros(1, device=device, dtype=getattr(torch, dtype)).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise AtlasError(f"Device '{device}' cannot be used: {first_line(error)} - use 'cpu'") from None
    return device


def tensor_of(array: np.ndarray) -> Tensor:
    """Return an array of numbers as a tensor, which shares its memory where torch has its type, order and strides."""
    import numpy as np
    import torch

    own = array.dtype.newbyteorder("=")
    array = np.asarray(array, dtype=_WIDER.get(own.str[1:], own))
    if any(stride < 0 or stride % array.itemsize for stride in array.strides):
        array = array.copy()
    if array.flags.writeable:
        return torch.from_numpy(array)
    # Nothing here writes to its input, so a read-only array is as good as any.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ")
        return torch.from_numpy(array)


def _as_tensor(X: Any, what: str) -> Tensor:
    """Return a value as a tensor of real numbers."""
    import numpy as np
    import torch

    if np.ma.is_masked(X):
        raise AtlasError(f"{what} has {np.ma.count_masked(X)} values that are masked - remove those rows, or fill them")
    try:
        if isinstance(X, torch.Tensor):
            X = X.dequantize() if X.is_quantized else torch.stack(X.unbind()) if X.is_nested else X
            return X if X.layout == torch.strided else X.to_dense()
        if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
            X = list(X)
        if hasattr(X, "toarray") and hasattr(X, "nnz"):
            X = _dense(X, what)
        elif isinstance(X, (list, tuple)) and X and isinstance(X[0], (torch.Tensor, np.ndarray)):
            return torch.stack([torch.as_tensor(row) for row in X])
        if not hasattr(X, "__array__"):
            return torch.as_tensor(X)
        return tensor_of(np.asarray(X))
    except AtlasError:
        raise
    except (TypeError, ValueError, RuntimeError, OverflowError):
        of = f" of {X.dtype}" if isinstance(X, np.ndarray) else ""
        is_table = hasattr(type(X), "columns") or hasattr(type(X), "column_names")
        advice = " - a table is mapped with atlas.apply" if is_table and what == "X" else ""
        raise AtlasError(
            f"{what} must be a tensor or an array of numbers, got {type(X).__name__}{of}{advice}"
        ) from None


def _dense(X: Any, what: str) -> np.ndarray:
    """Return a sparse matrix of scipy as an array, if that is not absurdly large."""
    size = math.prod(X.shape) * X.dtype.itemsize
    if size > MAX_DENSE:
        advice = "reduce its columns first, as with sklearn.decomposition.TruncatedSVD"
        raise AtlasError(
            f"{what} of shape {X.shape} would take {size / 2**30:.1f} GiB if it were not sparse - {advice}"
        )
    return X.toarray()


def as_batch(X: Any, what: str) -> tuple[Tensor, bool]:
    """Return rows that are to be mapped as `as_matrix` does, any number of them, and whether they were one vector."""
    t = _as_tensor(X, what)
    return as_matrix(t[None] if t.ndim == 1 else t, what, least=0), t.ndim == 1


def as_matrix(X: Any, what: str, finite: bool = False, least: int = 1) -> Tensor:
    """Return a tensor or array of rows as a floating-point tensor (n, d), without a copy where there can be one.

    Whole numbers become float32 if they have 16 bits or fewer, of which it loses none, else float64.

    Raises:
        AtlasError: not two-dimensional, no rows, not numbers, or (if asked) NaN or infinity: how many, and where.
    """
    import torch

    t = _as_tensor(X, what)
    if t.ndim != 2:
        advice = " - give a single vector x as x[None]" if t.ndim == 1 else ""
        raise AtlasError(f"{what} must have two dimensions (rows, features), got shape {tuple(t.shape)}{advice}")
    if len(t) < least or not t.shape[1]:
        raise AtlasError(f"{what} must have at least one row and one column, got shape {tuple(t.shape)}")
    if t.is_complex() or t.dtype == torch.bool:
        raise AtlasError(f"{what} must hold real numbers, got {t.dtype}")
    t = t.detach()
    # Numbers of 8 bits are stored by nobody, and torch computes nothing with them.
    t = t if t.is_floating_point() and t.element_size() > 1 else t.float() if t.element_size() <= 2 else t.double()
    if finite:
        check_finite(t, what)
    return t


def as_pairs(pairs: Any, n: int, m: int) -> Tensor:
    """Return pairs of numbers of rows, of X that has n and of Y that has m, as an int64 tensor (s, 2).

    Raises:
        AtlasError: not whole numbers of two columns, fewer than two pairs, rows that are not there, or one twice.
    """
    import torch

    rows = _as_tensor(pairs, "Pairs").cpu()
    whole = not (rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool)
    if rows.ndim != 2 or rows.shape[1] != 2 or not whole:
        raise AtlasError(f"Pairs must be whole numbers (s, 2), got {rows.dtype} of shape {tuple(rows.shape)}")
    if len(rows) < 2:
        raise AtlasError(f"Pairs must be at least 2, got {len(rows)}")
    for name, column, size in zip("XY", rows.T, (n, m), strict=True):
        for row in (int(column.min()), int(column.max())):
            if not 0 <= row < size:
                raise AtlasError(f"Pairs must name rows of {name} from 0 to {size - 1}, got {row}")
        if len(column.unique()) < len(column):
            raise AtlasError(f"Pairs must name a row of {name} once, got {int(column.mode().values)} in two of them")
    return rows.to(torch.int64)


def with_numbers(t: Tensor, what: str) -> Tensor:
    """Return a tensor that has numbers; raise `AtlasError` for one of torch's device 'meta'."""
    if t.is_meta:
        raise AtlasError(f"{what} must hold numbers, got a tensor of device 'meta', which has none")
    return t


def check_finite(t: Tensor, what: str, first_row: int = 0, more: bool = False) -> None:
    """Raise `AtlasError` if the matrix holds NaN or infinity: how many values, and the first row that has one.

    Args:
        t: (n, d).
        what: subject of the sentence.
        first_row: the number of the first row of t, when t is a batch of something larger.
        more: whether rows follow that have not been looked at.
    """
    import torch

    with_numbers(t, what)
    if is_finite(t):
        return
    bad = ~torch.isfinite(t)
    raise not_finite(what, int(bad.sum()), f"row {first_row + int(bad.any(1).nonzero()[0])}", more)


def not_finite(what: str, count: int, place: str, more: bool = False, id: str = "") -> NotFiniteError:
    """Return the error for values that are NaN or infinite: how many (at least, if there are more rows), and where."""
    place = f"{place} ('{in_a_line(id, 60)}')" if id else place
    values = ("at least " if more else "") + ("1 value that is" if count == 1 else f"{count} values that are")
    return NotFiniteError(f"{what} has {values} NaN or infinite, the first in {place} - remove those rows")


def like(result: Tensor, given: Any, tensor: Tensor) -> Any:
    """Return a result in the input's form: the tensor's dtype and device, and a numpy array if it was one.

    Raises:
        AtlasError: NaN or infinity in the input.
    """
    import torch

    out = result.to(device=tensor.device, dtype=tensor.dtype)
    if not is_finite(out):
        check_finite(tensor, "X")
    return out if isinstance(given, torch.Tensor) else out.cpu().numpy()
