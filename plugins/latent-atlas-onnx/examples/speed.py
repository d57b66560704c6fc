"""What it costs to export a map, and what onnxruntime and torch take to apply it to 1,000 vectors, on one core.

python speed.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import onnxruntime
import torch

import atlas

ROWS = 1000


def measured(name: str, aligner: Any) -> None:
    """Print one row of the table."""
    alignment = atlas.Alignment.of(aligner, atlas.Space("a", aligner.d_source), atlas.Space("b", aligner.d_target))
    X = torch.randn(ROWS, aligner.d_source, generator=torch.Generator().manual_seed(1))
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        path = atlas.export("onnx", alignment, Path(folder) / "map.onnx")
        exporting, size = time.process_time() - start, path.stat().st_size
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options)
    figures = [best(lambda: session.run(None, {"vectors": X.numpy()})), best(lambda: alignment(X))]
    shape = f"{aligner.d_source} to {aligner.d_target}"
    print(f"{name:<22}{shape:<14}{exporting:8.2f} s{size / 1e6:8.2f} MB{figures[0]:9.1f} ms{figures[1]:9.1f} ms")


def best(function: Any) -> float:
    """Return the least time of five, in milliseconds."""
    times = []
    for _ in range(5):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"{'map':<22}{'dimensions':<14}{'export':>10}{'file':>11}{'runtime':>12}{'torch':>12}")
    anchors = torch.randn(1024, 1024, generator=torch.Generator().manual_seed(0))
    # The first export imports what all need.
    for d, k in ((64, 32), (1024, 1024)):
        measured("linear", atlas.create(atlas.Aligner, "linear", ridge=1.0).fit(anchors[:, :d], anchors[:, :k]))
    for d, k in ((64, 256), (1024, 1024)):
        for similarity in ("cosine", "euclidean", "l1"):
            aligner = atlas.create(atlas.Aligner, "relative", similarity=similarity).fit(anchors[:k, :d])
            measured(f"relative, {similarity}", aligner)


if __name__ == "__main__":
    main()
