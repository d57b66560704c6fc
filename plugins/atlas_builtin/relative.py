"""Relative representations: vectors described by how similar they are to anchors, and the way back."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

import atlas
from atlas.authors import all_equal, lengths, unit
from atlas_builtin.solvers import least_squares_decoder, rows_apart

# Rows in a block: large enough for a matrix product to run at full rate, small enough to stay in the cache.
BLOCK = 2048
DISTANCES = {"euclidean": 2.0, "l1": 1.0, "linf": float("inf")}
SIMILARITIES = ("cosine", "inner", "whitened", *DISTANCES)
# Those that are taken about the mean of the anchors by themselves.
CENTRED = ("whitened", *DISTANCES)


@dataclass
class Relative(atlas.Aligner):
    """Describe every vector by its similarities to the anchors: each side is fitted alone, heads are trained on these.

    It is fitted on the anchors' vectors, in the order both sides agree on. Coordinate j of the result says how similar
    a vector is to anchor j: 'cosine'; 'inner', the inner product over sqrt(d); 'whitened', (x - m)' S^-1 (a_j - m) with
    the anchors' mean m and covariance S, plus a ridge; or the distance 'euclidean', 'l1' or 'linf', over the mean
    distance between two anchors. Cosines do not change when a space is rotated, reflected or scaled, but do when it is
    moved. With centre they are taken about the mean of the anchors and do not change then either, but the mean no
    longer tells anything: leave it off where vectors lie about the origin of their own accord. A power of about 4 makes
    near anchors count for more: heads, linear ones above all, read such cosines of other encoders far better.

    Backwards, similarities are decoded with the anchors of this space alone, so that source -> relative -> target needs
    no fit on pairs. Through 'whitened' that is exactly the ridge regression of 'linear' on the pairs: the one to take,
    unless the other half exists already. Others are decoded by least squares with a penalty; through 'cosine' lengths
    are lost, and results get the anchors' mean length; 'l1' and 'linf' have no way back. With `keep` or `delta` it uses
    few, well spread anchors, farthest first by 1 - |cosine|, and averages over random first ones.

    Source: L. Moschella et al., Relative representations enable zero-shot latent space communication, 2023; V. Maiorca
    et al., Latent space translation via inverse relative projection, 2024 (the abstract).
    """

    name = "relative"
    fits_on = "source"

    similarity: str = atlas.option("cosine", help="Similarity that the coordinates are", choices=SIMILARITIES)
    centre: bool = atlas.option(False, help="Subtract the mean of the anchors first, from anchors and vectors")
    power: float = atlas.option(1.0, help="Raise cosines to this power, signs kept: 4 where heads read those of others")
    ridge: float | None = atlas.option(
        None,
        help="Backwards: penalty, in squared lengths of an anchor; none: 1 or more for all anchors, 0.1 for few. "
        "Whitened: the ridge of S, in mean variances of a column; none: 0.1",
    )
    keep: int | None = atlas.option(None, help="Backwards: anchors to use, at most, best under d/2; none: all")
    delta: float | None = atlas.option(
        None, help="Backwards: use anchors with 1 - |cosine| of at least this; none: all"
    )
    subspaces: int = atlas.option(8, help="Backwards: choices of few anchors to average over")
    seed: int = atlas.option(0, help="Backwards: of the first anchor of each choice")

    def __post_init__(self) -> None:
        if self.centre and self.similarity in CENTRED:
            raise self.fail(f"with similarity '{self.similarity}' does not depend on the mean - leave centre off")
        if self.similarity == "whitened" and not (self.keep is None and self.delta is None):
            raise self.fail("with similarity 'whitened' uses all anchors - leave out keep and delta")
        if not 1 <= self.power <= 16:
            raise self.fail(f"needs a power from 1 to 16, got {self.power}")
        if self.power != 1 and self.similarity != "cosine":
            raise self.fail(f"with similarity '{self.similarity}' takes no power - leave it out")
        if self.ridge is not None and not 0 <= self.ridge < float("inf"):
            raise self.fail(f"needs a ridge of 0 or more, got {self.ridge}")
        if self.keep is not None and self.keep < 1:
            raise self.fail(f"needs to keep at least 1 anchor, got {self.keep}")
        if self.delta is not None and not 0 <= self.delta <= 1:
            raise self.fail(f"needs a delta from 0 to 1, got {self.delta}")
        if self.subspaces < 1:
            raise self.fail(f"needs at least 1 subspace, got {self.subspaces}")

    @property
    def invertible(self) -> bool:  # type: ignore[override]
        """Whether vectors can be recovered from these similarities in closed form."""
        return self.similarity not in ("l1", "linf")

    @property
    def d_source(self) -> int:
        """Dimension of the anchors' space."""
        return self.state["anchors"].shape[1]

    @property
    def d_target(self) -> int:
        """How many anchors there are."""
        return self.state["anchors"].shape[0]

    def coordinates(self) -> dict[str, Any]:
        """Return the options that fix the coordinates; those of the way back do not."""
        more = {"ridge": ridge_of(self)} if self.similarity == "whitened" else {}
        # Coordinates without a power are those that were published before there was one.
        more |= {"power": self.power} if self.power != 1 else {}
        return {"similarity": self.similarity, "centre": self.centre, **more}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Take the anchors, and forget everything else."""
        if set(state) != {"anchors"} or state["anchors"].ndim != 2:
            raise self.fail(f"needs the two-dimensional tensor anchors, got {', '.join(sorted(state)) or 'none'}")
        return super().load_state_dict(state)

    def _fit(self, X: Tensor, Y: Tensor | None) -> dict[str, Tensor]:
        if all_equal(X):
            raise self.fail(f"needs anchors that differ, got the same vector {len(X)} times")
        return {"anchors": X}

    def _transform(self, X: Tensor) -> Tensor:
        result = X.new_empty(X.shape[0], self.d_target)
        if torch.compiler.is_compiling():
            # A loop over blocks would fix the number of rows of a traced model, as an exporter makes one.
            self._block(X, result)
            return result
        for start in range(0, len(X), BLOCK):
            rows = slice(start, start + BLOCK)
            self._block(X[rows], result[rows])
        return result

    def _block(self, X: Tensor, out: Tensor) -> None:
        """Write the coordinates of a block of rows; work on single vectors comes after the product."""
        if self.similarity in DISTANCES:
            # Differences of squares: in float32 the small distances would be lost.
            anchors, offset, scale = (
                self._ready(name, torch.float64, X.device) for name in ("basis", "origin", "scale")
            )
            out.copy_(torch.cdist(X.double() - offset, anchors, DISTANCES[self.similarity]) / scale)
            return
        basis = self._ready("basis", X.dtype, X.device)
        if self.centre or self.similarity == "whitened":
            X = X - self._ready("origin", X.dtype, X.device)
        torch.mm(X, basis.T, out=out)
        if self.similarity == "inner":
            out.div_(X.shape[1] ** 0.5)
        elif self.similarity == "cosine":
            norms = lengths(X)
            out.div_(norms.masked_fill_(norms == 0, 1))
            out.copy_(signed_power(out, self.power))

    def inverse_transform(self, Y: Any) -> Any:
        """Decode similarities (n, k) to vectors (n, d_source), with the anchors of this space alone."""
        if not self.invertible:
            raise self.fail(f"cannot be run backwards with similarity '{self.similarity}' - use cosine or euclidean")
        return super().inverse_transform(Y)

    def _inverse_transform(self, Y: Tensor) -> Tensor:
        decoder, origin, scale = (self._ready(name, Y.dtype, Y.device) for name in ("decoder", "origin", "scale"))
        if self.similarity == "whitened":
            return Y @ decoder + origin
        if self.similarity == "cosine":
            return signed_power(Y, 1 / self.power) @ decoder * scale + origin
        if self.similarity == "inner":
            return Y @ decoder * self.d_source**0.5 + origin
        # |y - b|^2 = |y|^2 - 2 y.b + |b|^2; about their mean over the anchors, which sum to zero, |y|^2 drops out.
        inner = (self._ready("squares", Y.dtype, Y.device) - (Y * scale).square()) / 2
        return (inner - inner.mean(1, keepdim=True)) @ decoder + origin

    def _ready(self, name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return a quantity derived from the anchors in float64, as a tensor of a dtype on a device, kept for reuse."""
        cache: dict[Any, Tensor] = vars(self).setdefault("_derived", {})
        if name not in cache:
            cache[name] = DERIVED[name](self)
        if (name, dtype, device) not in cache:
            cache[name, dtype, device] = cache[name].to(device=device, dtype=dtype)
        return cache[name, dtype, device]

    def exact(self, name: str) -> Tensor:
        """Return a quantity derived from the anchors in float64: origin, basis, scale, squares or decoder."""
        return self._ready(name, torch.float64, torch.device("cpu"))


def signed_power(R: Tensor, power: float) -> Tensor:
    """Return numbers whose size is raised to a power, with their signs."""
    return R if power == 1 else R.sign() * R.abs().pow(power)


def origin(aligner: Relative) -> Tensor:
    """Return (d,) the offset to subtract from vectors: the mean of the anchors, or zero."""
    anchors = aligner.state["anchors"].double()
    return anchors.mean(0) if aligner.centre or aligner.similarity in CENTRED else torch.zeros_like(anchors[0])


def basis(aligner: Relative) -> Tensor:
    """Return (k, d) the anchors about the origin, at length 1 for cosines, over their covariance if whitened."""
    rows = centred(aligner)
    if aligner.similarity == "whitened":
        check_conditioned(aligner, len(rows))
        return len(rows) * least_squares_decoder(rows, ridge_of(aligner) * float(rows.square().sum(0).mean()))
    return unit(rows) if aligner.similarity == "cosine" else rows


def centred(aligner: Relative) -> Tensor:
    """Return (k, d) the anchors about the origin."""
    return aligner.state["anchors"].double() - aligner.exact("origin")


def scale(aligner: Relative) -> Tensor:
    """Return the mean distance between two anchors, or, for cosines, the mean length of one about the origin."""
    rows = centred(aligner)
    if aligner.similarity not in DISTANCES:
        return torch.linalg.vector_norm(rows, dim=1).mean()
    sums = [torch.cdist(part, rows, DISTANCES[aligner.similarity]).sum() for part in rows.split(BLOCK)]
    return torch.stack(sums).sum() / (len(rows) * (len(rows) - 1))


def squares(aligner: Relative) -> Tensor:
    """Return (k,) the squared lengths of the anchors about the origin."""
    return aligner.exact("basis").square().sum(1)


def decoder(aligner: Relative) -> Tensor:
    """Return (k, d) the matrix that turns inner products with the basis into vectors about the origin."""
    if aligner.similarity == "whitened":
        return centred(aligner) / aligner.d_target
    B = aligner.exact("basis")
    penalty = ridge_of(aligner) * float(B.square().sum(1).mean())
    if aligner.keep is None and aligner.delta is None:
        check_conditioned(aligner, len(B))
        return least_squares_decoder(B, penalty)
    starts = torch.randperm(len(B), generator=torch.Generator().manual_seed(aligner.seed))[: aligner.subspaces]
    keep, delta = aligner.keep or len(B), aligner.delta or 0.0
    choices = [rows_apart(unit(B), start, keep, delta) for start in starts.tolist()]
    check_conditioned(aligner, max(len(rows) for rows in choices))
    total = torch.zeros_like(B)
    for rows in choices:
        total[rows] += least_squares_decoder(B[rows], penalty)
    return total / len(choices)


def ridge_of(aligner: Relative) -> float:
    """Return the penalty in squared lengths of an anchor.

    By default 1, as between encoders trained apart the error of a cosine is about that of a vector of length 1;
    errors are alike for like anchors, so that beyond eight for each dimension more do not average them away. Choices of
    few anchors that are averaged need little: 0.1. Of whitened ones it is in mean variances of a column.
    """
    if aligner.ridge is not None:
        return aligner.ridge
    if aligner.keep is not None or aligner.delta is not None or aligner.similarity == "whitened":
        return 0.1
    return max(1.0, aligner.d_target / (8 * aligner.d_source))


def check_conditioned(aligner: Relative, used: int) -> None:
    """Warn where a map without a penalty is known to be mostly noise: about as many anchors as dimensions."""
    d = aligner.d_source
    if aligner.ridge == 0 and 0.75 * d < used < 1.5 * d:
        advice = "0.1" if aligner.similarity == "whitened" else f"1, or keep to at most {max(d // 2, 1)}"
        warnings.warn(
            f"Aligner 'relative' uses {used} anchors of {d} dimensions without a ridge, which amplifies noise"
            f" - set ridge to {advice}",
            atlas.AtlasWarning,
            stacklevel=2,
        )


DERIVED: dict[str, Callable[[Relative], Tensor]] = {
    "origin": origin,
    "basis": basis,
    "scale": scale,
    "squares": squares,
    "decoder": decoder,
}
