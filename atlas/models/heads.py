"""Heads: classifiers, regressors and decoders on the vectors of one space.

A head takes options as the components of plugins do, but the list of heads is closed: loading one runs no other code.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.components.head import HeadModel
from atlas.components.options import option
from atlas.errors import AtlasWarning, check_known
from atlas.models import network
from atlas.models.regression import logistic, ridge
from atlas.numerics.arrays import all_equal, frozen, unit

_CHUNK = 2**24
METRICS = ("cosine", "euclidean")
# Directions that differ by less have cosines that differ by less than ten roundings of float32.
NARROW, LOOKED = 1e-3, 4096


@dataclass
class LinearHead(HeadModel):
    """Weigh each dimension for each class: logistic or ridge regression, the head to try first."""

    name = "linear"
    regresses = True
    tensors = {"weight": "dC", "bias": "C"}

    loss: str = option(
        "logistic",
        help="The loss: 'logistic' for classes, 'ridge' (squared error) for classes or targets",
        choices=("logistic", "ridge"),
    )
    penalty: float = option(1e-3, help="Penalty on squared weights, as a fraction of the mean variance of the vectors")

    def _fit(self, X: Tensor, y: Tensor, outputs: int, seed: int) -> dict[str, Tensor]:
        if y.ndim == 2 and self.loss == "logistic":
            raise self.fail("with loss 'logistic' needs labels that are whole numbers - for targets use loss 'ridge'")
        if all_equal(X):
            raise self.fail("cannot be fitted on vectors that are all the same")
        mean = X.mean(0, dtype=torch.float64)
        X = X.double() - mean
        scale = torch.linalg.vector_norm(X) / math.sqrt(X.numel())
        X.div_(scale)
        if self.loss == "logistic":
            weight, bias = logistic(X, y, outputs, self.penalty)
        else:
            Y = F.one_hot(y, outputs) if y.ndim == 1 else y
            weight, bias = ridge(X, Y.double(), self.penalty)
        weight = weight / scale
        # The bias of the weight that is saved: a mean far from zero would magnify its rounding.
        return {"weight": weight, "bias": bias - mean @ weight.float().double()}

    def _scores(self, X: Tensor) -> Tensor:
        return X @ self.state["weight"].to(X) + self.state["bias"].to(X)


@dataclass
class NetworkHead(HeadModel):
    """Train a small network: for spaces that a linear head reads badly, such as similarities, and for decoders."""

    name = "network"
    regresses = True

    layers: list = option([], help="Layers of the network; if none, for classes: layer-norm, linear, tanh, linear")
    hidden: int = option(256, help="Width between the two linear layers, if no layers are given")
    epochs: int = option(20, help="Passes over the data")
    lr: float = option(1e-3, help="Learning rate of Adam")
    batch_size: int = option(128, help="Rows in one step of the training")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.layers = network.check(self.layers)

    def _layers(self, d: int, outputs: int) -> list[dict[str, Any]]:
        # Layer-norm sees one vector alone: statistics of a batch would let rows of a test set see each other.
        return self.layers or [
            {"type": "layer-norm", "features": d},
            {"type": "linear", "in_features": d, "out_features": self.hidden},
            {"type": "tanh"},
            {"type": "linear", "in_features": self.hidden, "out_features": outputs},
        ]

    def _fit(self, X: Tensor, y: Tensor, outputs: int, seed: int) -> dict[str, Tensor]:
        if y.ndim == 2 and not self.layers:
            raise self.fail("needs the option 'layers' to be trained on targets")
        if not self.layers and not 1e-5 < (size := float(X.double().var(1).mean())) < 1e30:
            raise self.fail(f"normalises vectors of a variance from 1e-05 to 1e+30, got {size:.2g} - scale them")
        layers = self._layers(X.shape[1], outputs)
        made = math.prod(network.output_shape(layers, X.shape[1:]))
        if made != outputs:
            raise self.fail(f"needs layers with {outputs} outputs, got {made}")
        net = network.initialise(layers, seed)
        self._train(net, X.float(), y if y.ndim == 1 else y.float(), seed)
        if not all(bool(torch.isfinite(t).all()) for t in net.state_dict().values()):
            raise self.fail(f"diverged in training - lower the option 'lr', now {self.lr}")
        return net.state_dict()

    @torch.enable_grad()
    def _train(self, net: torch.nn.Module, X: Tensor, y: Tensor, seed: int) -> None:
        loss = F.cross_entropy if y.ndim == 1 else F.mse_loss
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(net.parameters(), lr=self.lr)
        for _ in range(self.epochs):
            order = torch.randperm(len(X), generator=generator)
            for rows in order.tensor_split(math.ceil(len(X) / self.batch_size)):
                optimizer.zero_grad()
                loss(net(X[rows]).flatten(1), y[rows]).backward()
                optimizer.step()

    def _take(self, state: Mapping[str, Tensor]) -> None:
        # Without layers of its own, the sizes are those of the first and the last tensor.
        d, outputs = (max(state[name].numel(), 1) if name in state else 1 for name in ("0.weight", "3.bias"))
        layers = self._layers(d, outputs)
        frozen_state = frozen(state)
        self._net = network.load(layers, frozen_state)
        self._state = frozen_state
        self._read_layers = layers
        self._known: dict[int, tuple[int, int]] = {}

    def outputs(self, d: int) -> int:
        """Return how many scores a vector of d numbers gets, or raise `AtlasError` if the layers do not take it."""
        return self._reads(d)[0]

    def _reads(self, d: int) -> tuple[int, int]:
        """Return how many scores a vector of d numbers gets, and how many vectors may be read at once."""
        if self.state and d not in self._known:
            layers = self._read_layers
            self._known[d] = math.prod(network.output_shape(layers, (d,))), network.batch_rows(layers, (d,))
        return self._known[d]

    def _scores(self, X: Tensor) -> Tensor:
        net = self._net if (X.dtype, X.device.type) == (torch.float32, "cpu") else copy.deepcopy(self._net).to(X)
        return network.in_parts(net, X, self._reads(X.shape[1])[1]).flatten(1)


@dataclass
class KernelHead(HeadModel):
    """Regress on how near some of the vectors are: for spaces no plane divides; in closed form, nothing is trained.

    Ridge regression with the kernel exp(-gamma |x - z|^2 / s), s being the mean squared length of the vectors about
    their mean, restricted to functions of the similarities to random landmarks.

    Source: C. Williams and M. Seeger, Using the Nyström method to speed up kernel machines, 2001.
    """

    name = "kernel"
    regresses = True
    tensors = {"landmarks": "nd", "gamma": "", "weight": "nC", "bias": "C"}

    landmarks: int = option(1000, help="How many of the vectors to keep, at most")
    gamma: float = option(0.3, help="How fast similarity falls with the squared distance, over its mean to the mean")
    penalty: float = option(1e-4, help="Penalty on the squared norm of the function, as a fraction of the rows")

    def _fit(self, X: Tensor, y: Tensor, outputs: int, seed: int) -> dict[str, Tensor]:
        if all_equal(X):
            raise self.fail("cannot be fitted on vectors that are all the same")
        X = X.double()
        size = (X - X.mean(0)).square().sum(1).mean()
        if not torch.finfo(torch.float32).tiny < self.gamma / size < torch.finfo(torch.float32).max:
            raise self.fail(f"cannot save the size of these vectors in float32, squared it is {size:.2g} - scale them")
        chosen = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed))[: self.landmarks]
        state = {"landmarks": X[chosen.sort().values], "gamma": self.gamma / size}
        Y = (F.one_hot(y, outputs) if y.ndim == 1 else y).double()
        bias = Y.mean(0)
        landmarks = Points(state["landmarks"])
        A, K = (nearness(rows, landmarks, state["gamma"]) for rows in (X, state["landmarks"]))
        # Landmarks that are alike make K singular: the added term is far below the rounding of float32.
        K = self.penalty * (K + 1e-6 * torch.eye(len(K), dtype=K.dtype))
        factor, failed = torch.linalg.cholesky_ex(A.T @ A / len(X) + K)
        if failed:
            raise self.fail(f"with a penalty of {self.penalty} has no stable solution - raise the penalty")
        return {**state, "weight": torch.cholesky_solve(A.T @ (Y - bias) / len(X), factor), "bias": bias}

    def _scores(self, X: Tensor) -> Tensor:
        landmarks, gamma, weight, bias = self._kept(X, lambda: self._ready(X))
        return in_blocks(lambda rows: torch.addmm(bias, nearness(rows, landmarks, gamma), weight), X, len(weight))

    def _ready(self, X: Tensor) -> tuple[Points, Tensor, Tensor, Tensor]:
        """Return, as X is, the landmarks, gamma, the weight and the bias."""
        landmarks, gamma, weight, bias = (self.state[name].to(X) for name in ("landmarks", "gamma", "weight", "bias"))
        return Points(landmarks), gamma, weight, bias


def in_blocks(function: Callable[[Tensor], Tensor], X: Tensor, width: int) -> Tensor:
    """Return what a function makes of X (n, d), of so many rows at a time that a matrix as wide as this stays small."""
    rows = max(1, _CHUNK // width)
    # A loop over blocks would fix the number of rows of a traced model, as an exporter makes one.
    if torch.compiler.is_compiling() or len(X) <= rows:
        return function(X)
    return torch.cat([function(part) for part in X.split(rows)])


def nearness(X: Tensor, landmarks: Points, gamma: Tensor) -> Tensor:
    """Return (n, m): the radial kernel of rows of X (n, d) and m landmarks."""
    # In place: of many rows, allocating would take as long as computing.
    return landmarks.nearness(X).clamp_max_(0).mul_(gamma * landmarks.scale.square()).exp_()


@dataclass
class NearestMeanHead(HeadModel):
    """Choose the class whose mean is nearest: nothing to tune, and good with a few rows of each class."""

    name = "nearest-mean"
    tensors = {"means": "Cd"}

    metric: str = option("cosine", help="The measure of nearness; with cosine, vectors have length 1", choices=METRICS)

    def _fit(self, X: Tensor, y: Tensor, outputs: int, seed: int) -> dict[str, Tensor]:
        warn_of_cosines(self, X)
        X = unit(X.double()) if self.metric == "cosine" else X.double()
        sums = torch.zeros(outputs, X.shape[1], dtype=X.dtype).index_add_(0, y, X)
        return {"means": sums / y.bincount()[:, None]}

    def _scores(self, X: Tensor) -> Tensor:
        return self._kept(X, lambda: to_points(self.state["means"].to(X), self.metric))(X)


@dataclass
class NearestNeighboursHead(HeadModel):
    """Let the k nearest vectors vote: no training, but all vectors are kept; scores have no gradient."""

    name = "knn"
    tensors = {"vectors": "nd", "labels": "n"}

    k: int = option(5, help="How many neighbours vote")
    metric: str = option("cosine", help="The measure of nearness", choices=METRICS)

    def _fit(self, X: Tensor, y: Tensor, outputs: int, seed: int) -> dict[str, Tensor]:
        warn_of_cosines(self, X)
        return {"vectors": X, "labels": y}

    def _sizes(self, state: Mapping[str, Tensor]) -> dict[str, int]:
        sizes = super()._sizes(state)
        labels = state["labels"]
        if labels.dtype != torch.int64 or not 0 <= int(labels.min()) <= int(labels.max()) < len(labels):
            raise self.fail("needs 'labels' of int64, from 0 to less than the number of rows")
        if self.k > len(labels):
            raise self.fail(f"cannot find {self.k} neighbours among {len(labels)} vectors - lower the option 'k'")
        return {**sizes, "C": int(labels.max()) + 1}

    def _scores(self, X: Tensor) -> Tensor:
        similarity, labels, votes = self._kept(X, lambda: self._ready(X))
        outputs = self.outputs(X.shape[1])

        def voted(rows: Tensor) -> Tensor:
            near, at = similarity(rows).detach().topk(self.k)
            # Where nearness is no finite number, no vote is.
            return rows.new_zeros(len(rows), outputs).scatter_add_(1, labels[at], votes.add(near, alpha=0))

        return in_blocks(voted, X, len(labels))

    def _ready(self, X: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
        """Return, as X is, the similarity to all that is kept, the labels of that, and the votes of neighbours."""
        # Of classes with as many votes the one with the nearest neighbour wins: together these add less than one vote.
        votes = 1 + 0.5 ** torch.arange(1, self.k + 1, device=X.device).to(X.dtype)
        return to_points(self.state["vectors"].to(X), self.metric), self.state["labels"].to(X.device), votes


def warn_of_cosines(head: NearestMeanHead | NearestNeighboursHead, X: Tensor) -> None:
    """Warn where float32 hardly tells the cosines of rows apart, as they lie far from zero beside their spread."""
    if head.metric != "cosine" or X.dtype == torch.float64:
        return
    # Some thousands tell: of all, float64 would take twice the memory of the vectors.
    directions = unit(X[:: -(-len(X) // LOOKED)].double())
    spread = float((directions - directions.mean(0)).square().sum(1).mean().sqrt())
    if spread < NARROW:
        warnings.warn(
            f"{head.label().capitalize()} compares cosines, and vectors lie {1 / max(spread, 1e-9):,.0f} times as far "
            "from zero as apart, where float32 tells few of them apart - subtract the mean, or use metric=euclidean",
            AtlasWarning,
            stacklevel=2,
        )


def similarity(X: Tensor, Y: Tensor, metric: str) -> Tensor:
    """Return (n, m): the cosine of each pair of rows of X (n, d) and Y (m, d), or minus their squared distance."""
    return to_points(Y, metric)(X)


def to_points(Y: Tensor, metric: str) -> Callable[[Tensor], Tensor]:
    """Return a function of X (n, d): its rows' cosines with the rows of Y (m, d), or minus their squared distances.

    The latter in units of the size of Y, if that is so large or small that squares would overflow or vanish.
    """
    if metric == "euclidean":
        return Points(Y).nearness
    # A column for each vector: a product with one row then takes two thirds of the time.
    directions = unit(Y).T.contiguous()
    return lambda X: unit(X) @ directions


class Points:
    """Vectors that distances are measured to, with everything about them that is the same for all others.

    Attributes:
        scale: the unit of length: 1 for ordinary sizes.
    """

    def __init__(self, Y: Tensor) -> None:
        # Moved near the origin, or the difference of large squares loses its digits.
        self._centre = Y.mean(0)
        Y = Y - self._centre
        # A model that is being traced, as by an exporter, cannot look at its numbers.
        size = Y.new_ones(()) if torch.compiler.is_compiling() else Y.abs().amax()
        # Squares of other sizes would overflow or vanish.
        ordinary = torch.compiler.is_compiling() or 2**-30 < size < 2**30 or size == 0
        self.scale = size.new_ones(()) if ordinary else size
        Y = Y / self.scale
        self._doubled, self._minus_squares = 2 * Y.T.contiguous(), -Y.square().sum(1)

    def nearness(self, X: Tensor) -> Tensor:
        """Return (n, m): minus the squared distance of each row of X (n, d) to each of these vectors."""
        X = (X - self._centre) / self.scale
        return torch.addmm(self._minus_squares, X, self._doubled) - X.square().sum(1, keepdim=True)


HEADS: dict[str, type[HeadModel]] = {
    cls.name: cls for cls in (LinearHead, NetworkHead, KernelHead, NearestMeanHead, NearestNeighboursHead)
}


def create_head(name: str, config: Mapping[str, Any] | None = None, /, **options: Any) -> HeadModel:
    """Return a head by name: `create_head("linear", penalty=0.01)`."""
    check_known("head", name, HEADS)
    return HEADS[name].from_config({**(config or {}), **options})
