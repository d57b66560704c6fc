"""What the tests share: indexes, and what they find."""

import faiss
import numpy as np
import torch
from click.testing import CliRunner

D, K, N = 24, 16, 600
# Products of single precision, added up in another order.
TOLERANCE = 1e-5
# What faiss calls each, and whether it shows that vectors have length 1.
KINDS = {
    "Flat": True,
    "IVF8,Flat": True,
    "HNSW8": True,
    "SQfp16": True,
    "IDMap,Flat": True,
    "IDMap2,IVF8,Flat": True,
    "PQ4x4,RFlat": True,
    "PQ4x4": None,
    "IVF8,PQ4x4": None,
    "IVF8,PQ4x4fs": None,
    "HNSW8_SQ8": None,
    "OPQ4,IVF8,PQ4x4": None,
    "PCA8,Flat": None,
    "LSH": None,
    "L2norm,Flat": False,
}
L2, INNER = faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT


def rows(n, d, seed, unit=False):
    X = 3 * torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(X) if unit else X


def build(kind="Flat", metric=L2, unit=False):
    """Return an index of vectors, whose ids are 7, 10, 13... where it takes ids."""
    index, X = faiss.index_factory(K, kind, metric), rows(N, K, 0, unit).numpy()
    index.train(X)
    if kind.startswith("IDMap"):
        index.add_with_ids(X, 3 * np.arange(N) + 7)
    else:
        index.add(X)
    return index


def store(index, path="old.faiss"):
    faiss.write_index(index, path)
    return path


def assert_finds(found, expected):
    """Compare distances and ids; two that are equally far may change places."""
    np.testing.assert_allclose(found[0], expected[0], rtol=TOLERANCE, atol=TOLERANCE * np.abs(expected[0]).max())
    apart = np.abs(np.diff(expected[0], axis=1)) > 1e-4
    clear = np.pad(apart, ((0, 0), (1, 0)), constant_values=True) & np.pad(apart, ((0, 0), (0, 1)))
    np.testing.assert_array_equal(found[1][clear], expected[1][clear])


def by_hand(alignment, X, unit=False):
    Y = alignment(X)
    return (torch.nn.functional.normalize(Y) if unit else Y).numpy()


def command(*arguments, status=0):
    """Run the exporter with the index old.faiss, and return what it said."""
    from atlas.cli import main

    done = CliRunner().invoke(main, ["export", "faiss", *arguments, "-o", "index", "old.faiss"])
    assert done.exit_code == status, done.output
    assert done.stdout == ""
    return done.stderr
