"""Maps, moments and retrieval on an accelerator, against its bandwidth and its rate of products.

    python tests/benchmarks/bench_gpu.py [--device cuda]

Without an accelerator the same runs on the processor, and the title says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from machine import describe, side_by_side, table

from atlas import metrics
from atlas.components.linear import Affine
from atlas.numerics.moments import Moments
from atlas.numerics.sums import full_precision


def accelerator() -> str:
    """Return the device to measure: the first of CUDA, MPS and the processor that is here."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def finished(device: str, function: Callable[[], object]) -> Callable[[], object]:
    """Return a function that waits until the device has done its work."""
    wait = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device.partition(":")[0], lambda: None)
    return lambda: (function(), wait())


def measure(device: str, n: int, d: int) -> list[tuple[str, str]]:
    """Return rows of the table for n vectors of d dimensions."""
    g = torch.Generator().manual_seed(0)
    X, W, b = torch.randn(n, d, generator=g), torch.randn(d, d, generator=g) / d**0.5, torch.zeros(d)
    kinds = (torch.float32, torch.float16, torch.bfloat16)
    rows = {str(kind).removeprefix("torch."): X.to(device=device, dtype=kind) for kind in kinds}
    x, few, weight = rows["float32"], rows["float32"][: min(n, 20_000)], W.to(device)
    made = Affine.of(W, b).to(device)
    weights = {name: weight.to(t.dtype) for name, t in rows.items()}
    work = {f"product {name}": lambda t=t, w=weights[name]: t @ w for name, t in rows.items()}
    work |= {f"apply {name}": lambda t=t: made.transform(t) for name, t in rows.items()}
    work |= {"copy": lambda: x.clone(), "xy": lambda: x.T @ x, "moments": lambda: Moments.of(x, x)}
    work |= {"all pairs": lambda: [part @ few.T for part in few.split(4096)]}
    work |= {"recall": lambda: metrics.recall_at_k(few, few, 10)}
    with full_precision():
        times = side_by_side({name: finished(device, function) for name, function in work.items()})
    found = [
        (f"apply {name} / the product alone", f"{times[f'apply {name}'] / times[f'product {name}']:.2f} x")
        for name in rows
    ]
    found += [("apply float32 / a copy of the rows", f"{times['apply float32'] / times['copy']:.2f} x")]
    found += [("moments, xy / the product alone", f"{times['moments'] / times['xy']:.2f} x")]
    found += [(f"recall@10 of {len(few)} / the product alone", f"{times['recall'] / times['all pairs']:.2f} x")]
    rate = 2 * n * d * d / times["product float32"] / 1e12
    return [*found, ("rate of the float32 product", f"{rate:.2f} TFLOP/s")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default=accelerator())
    given = parser.parse_args()
    on_cpu = given.device == "cpu"
    print(describe())
    where = torch.cuda.get_device_name(given.device) if given.device.startswith("cuda") else given.device
    for n, d in ((10_000, 384),) if on_cpu else ((100_000, 768), (1_000_000, 768)):
        title = "the processor, as there is no accelerator here" if on_cpu else where
        table(f"{n} x {d} on {title}", measure(given.device, n, d))
