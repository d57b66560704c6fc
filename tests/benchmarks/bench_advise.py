"""What advice costs on an index of 100,000 vectors of 384 dimensions, from 2,000 pairs and 200 queries.

python tests/benchmarks/bench_advise.py
"""

from __future__ import annotations

import resource
import time

import torch

import atlas

N, PAIRS, QUERIES, D, MEANT = 100_000, 2_000, 200, 384, 64


def main() -> None:
    """Advise once, and print processor seconds and the most memory that was held."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    meant, A, B = normal(N, MEANT), normal(MEANT, D), normal(MEANT, D)
    asked = meant[:QUERIES] + 0.5 * normal(QUERIES, MEANT)
    documents, queries = [f"d{i}" for i in range(N)], [f"q{i}" for i in range(QUERIES)]
    given = {
        "old": atlas.Vectors.of(meant @ A + 2 * normal(N, D), "old", ids=documents),
        "new": atlas.Vectors.of((meant[:PAIRS] @ B + 2 * normal(PAIRS, D)).tanh(), "new", ids=documents[:PAIRS]),
        "queries_old": atlas.Vectors.of(asked @ A + 4 * normal(QUERIES, D), "old", ids=queries),
        "queries_new": atlas.Vectors.of((asked @ B).tanh(), "new", ids=queries),
        "judgements": {f"q{i}": {f"d{i}": 1} for i in range(QUERIES)},
    }
    before = time.process_time()
    found = atlas.advise(**given)  # type: ignore[arg-type]
    spent = time.process_time() - before
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{found.verdict}: {spent:.1f} s of processor time, {most:.2f} GiB at most, data included")


if __name__ == "__main__":
    main()
