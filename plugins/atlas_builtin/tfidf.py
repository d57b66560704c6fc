"""Text to vectors by counting: TF-IDF, and the directions in which a corpus differs most."""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import atlas
from atlas import Items

Array = np.ndarray
WORD = re.compile(r"\b\w\w+\b")
# Extra directions, and rounds, of the randomised SVD: with these its error is far below any use of vectors.
SPARE, ROUNDS = 10, 7


@dataclass
class TfidfSvd(atlas.Encoder):
    """TF-IDF and truncated SVD (latent semantic analysis), learned from a corpus: a text encoder that needs no model.

    A term of document frequency df among n texts weighs ln((1 + n) / (1 + df)) + 1 times its count, texts are scaled to
    length 1 and projected on the first right singular vectors. A text without a known term becomes zero.

    Source: S. Deerwester et al., Indexing by latent semantic analysis, JASIS 41, 1990; the SVD: N. Halko,
    P.-G. Martinsson and J. A. Tropp, Finding structure with randomness, SIAM Review 53, 2011.
    """

    name = "tfidf-svd"
    takes = "text"
    fits = True

    dim: int = atlas.option(256, help="Dimension of the vectors")  # type: ignore[assignment]
    analyzer: str = atlas.option(
        "word", help="Terms: words of two letters or more, or pieces of words", choices=("word", "char")
    )
    ngram_min: int = atlas.option(1, help="Fewest words, or letters, in a term")
    ngram_max: int = atlas.option(1, help="Most words, or letters, in a term")
    lowercase: bool = atlas.option(True, help="Treat upper and lower case alike")
    sublinear: bool = atlas.option(False, help="Count a term that occurs c times as 1 + ln(c)")
    min_df: int = atlas.option(2, help="Leave out terms that occur in fewer texts")
    max_terms: int = atlas.option(20000, help="Keep this many terms at most, those that occur most often")
    seed: int = atlas.option(0, help="Seed of the randomised SVD")

    def __post_init__(self) -> None:
        for name in ("dim", "ngram_min", "min_df", "max_terms"):
            if getattr(self, name) < 1:
                raise self.fail(f"needs {name} of at least 1, got {getattr(self, name)}")
        if self.ngram_max < self.ngram_min:
            raise self.fail(f"needs ngram_max of at least ngram_min ({self.ngram_min}), got {self.ngram_max}")

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Load the result of `state_dict`."""
        super().load_state_dict(state)
        try:
            shape = (len(self.terms), self.dim)
            fits = self.state["components"].shape == shape and self.state["idf"].shape == shape[:1]
        except (KeyError, UnicodeDecodeError, TypeError, RuntimeError):
            fits = False
        if not fits:
            raise self.fail("needs tensors 'vocabulary', 'idf' and 'components' that go together")
        return self

    @property
    def terms(self) -> dict[str, int]:
        """The known terms, each with its row."""
        if "_terms" not in vars(self):
            names = self.state["vocabulary"].numpy().tobytes().decode().split("\n")
            self._terms = {name: row for row, name in enumerate(names)}
        return self._terms

    def _fit(self, items: Items) -> dict[str, Tensor]:
        number: defaultdict[str, int] = defaultdict()
        number.default_factory = number.__len__
        doc, term, count = self._counted(items, number.__getitem__)
        names = np.array(list(number), dtype=object)
        kept = self._kept(names, np.bincount(term), np.bincount(term, count))
        if self.dim > min(len(items), len(kept)):
            reason = f"{len(items)} texts with {len(kept)} terms that occur in at least {self.min_df}"
            raise self.fail(f"cannot make {self.dim} dimensions of {reason} - lower dim or min_df, or give more texts")
        row = np.full(len(names), -1)
        row[kept] = np.arange(len(kept))
        known = row[term] >= 0
        doc, term, count = doc[known], row[term[known]], count[known]
        idf = np.log((1 + len(items)) / (1 + np.bincount(term, minlength=len(kept)))) + 1
        weight = torch.from_numpy(self._weighted(doc, idf[term], count))
        places, shape = torch.from_numpy(np.stack([doc, term])), (len(items), len(kept))
        X = torch.sparse_coo_tensor(places, weight, shape, check_invariants=True).coalesce()
        return {
            "vocabulary": torch.frombuffer(bytearray("\n".join(names[kept]).encode()), dtype=torch.uint8),
            "idf": torch.from_numpy(idf),
            "components": self._directions(X),
        }

    def _encode(self, batch: Sequence[str], device: str) -> Tensor:
        doc, term, count = self._counted(batch, self.terms.get)
        weight = torch.from_numpy(self._weighted(doc, self.state["idf"].double().numpy()[term], count)).float()
        starts = torch.from_numpy(np.searchsorted(doc, np.arange(len(batch))))
        inputs = (torch.from_numpy(term), self.state["components"], starts)
        term_, components, starts_ = (t.to(device) for t in inputs)
        return F.embedding_bag(term_, components, starts_, mode="sum", per_sample_weights=weight.to(device))

    def _counted(self, texts: Iterable[str], lookup: Callable[[str], int | None]) -> tuple[Array, Array, Array]:
        """Return which term, by its number, occurs how often in which text: three arrays, by text and then by term."""
        docs, terms = array("q"), array("q")
        for i, text in enumerate(texts):
            known = [number for term in self._terms_of(text) if (number := lookup(term)) is not None]
            terms.extend(known)
            docs.extend([i] * len(known))
        span = max(terms, default=0) + 1
        keys, count = np.unique(np.array(docs, np.int64) * span + np.array(terms, np.int64), return_counts=True)
        return keys // span, keys % span, count.astype(np.float64)

    def _terms_of(self, text: str) -> Iterator[str]:
        text = text.lower() if self.lowercase else text
        if self.analyzer == "word":
            words = WORD.findall(text)
            for n in range(self.ngram_min, self.ngram_max + 1):
                yield from (" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
            return
        for word in text.split():
            padded = f" {word} "
            for n in range(self.ngram_min, self.ngram_max + 1):
                yield from (padded[i : i + n] for i in range(max(1, len(padded) - n + 1)))
                if len(padded) <= n:
                    break

    def _kept(self, names: Array, df: Array, total: Array) -> Array:
        """Return the numbers of the terms to keep, in alphabetical order."""
        often = [number for number in range(len(names)) if df[number] >= self.min_df]
        often.sort(key=lambda number: (-total[number], names[number]))
        return np.array(sorted(often[: self.max_terms], key=lambda number: names[number]), np.int64)

    def _weighted(self, doc: Array, idf: Array, count: Array) -> Array:
        """Return the TF-IDF weight of each occurrence, scaled so that the weights of a text have length 1."""
        weight = (1 + np.log(count) if self.sublinear else count) * idf
        return weight / np.sqrt(np.bincount(doc, weight**2))[doc]

    def _directions(self, X: Tensor) -> Tensor:
        """Return the first right singular vectors (terms, dim) of a sparse matrix (texts, terms), float64.

        The range of X is found by power iteration from a random start, the SVD is done within it. The largest entry of
        each vector is made positive, because an SVD leaves the sign open.
        """
        n = min(self.dim + SPARE, *X.shape)
        generator = torch.Generator().manual_seed(self.seed)
        Q = torch.randn(X.shape[1], n, generator=generator, dtype=torch.float64)
        Xt = X.t().coalesce()
        for _ in range(ROUNDS):
            Q = torch.linalg.qr(Xt @ torch.linalg.qr(X @ Q).Q).Q
        _, sigma, turn = torch.linalg.svd(torch.linalg.qr(X @ Q, mode="r").R, full_matrices=False)
        if sigma[self.dim - 1] < 1e-9 * sigma[0]:
            rank = int((sigma >= 1e-9 * sigma[0]).sum())
            raise self.fail(f"cannot make {self.dim} dimensions of texts that span only {rank} - lower dim")
        V = Q @ turn[: self.dim].T
        return V * V.gather(0, V.abs().argmax(0, keepdim=True)).sign()
