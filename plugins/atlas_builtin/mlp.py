"""A small network from one space to another, trained on pairs, for relations that no linear map can follow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

import atlas
from atlas.authors import Moments, all_equal, row_hashes
from atlas_builtin.solvers import or_one, ridge_weight

# Rows in a step: few, as gradients that differ find better maps, but no more steps in a pass than this.
ROWS, MOST_IN_A_PASS = 64, 256
# Held-out pairs are looked at once in so many steps, at most once in a pass; so many looks without gain are enough.
LOOK, PATIENCE = 10, 20
# With fewer pairs held out, their gain is no evidence.
FEWEST = 5
# Adam's averages forget at these rates (D. Kingma and J. Ba, Adam, 2015).
FIRST, SECOND = 0.9, 0.999
Layers = list[tuple[Tensor, Tensor]]


@dataclass
class MLP(atlas.Aligner):
    """Train a small network, beside the linear map it starts from: for bent spaces, with several hundred pairs.

    Y ≈ X @ linear + network(X): the linear map is that of 'linear', and the network, of ReLU layers, begins as zero and
    learns the linear map's residual by Adam in squared error. A share of the pairs is held out to see after how many
    steps they are mapped best; then both parts are fitted on all pairs, the network for so many steps. Where the gain
    on pairs held out is within its standard error, the map stays 'linear'. Without residual the network is all there
    is: with depth 2, the stitching MLP of Lähner and Moeller.

    The tensors are 'linear' (d_source, d_target), and 'weight0' (d_source, hidden), 'bias0' and so on for each layer.

    Source: Z. Lähner and M. Moeller, On the direct alignment of latent spaces, 2023.
    """

    name = "mlp"

    residual: bool = atlas.option(True, help="Start from the linear map, and learn its residual; off: learn all of it")
    width: int = atlas.option(2, help="Hidden units in a layer, for each dimension of the wider space")
    depth: int = atlas.option(1, help="Hidden layers")
    steps: int = atlas.option(3000, help="Steps of training, at most")
    held_out: float = atlas.option(0.2, help="Share of the pairs that says when to stop; 0: train through all steps")
    lr: float = atlas.option(2e-3, help="Learning rate of Adam")
    weight_decay: float = atlas.option(0.0, help="Each step takes this share, times lr, from the weights")
    seed: int = atlas.option(0, help="Of the first weights, the pairs held out, and the order of the pairs")

    def __post_init__(self) -> None:
        for name, what in (("width", "width"), ("depth", "depth"), ("steps", "number of steps")):
            if getattr(self, name) < 1:
                raise self.fail(f"needs a {what} of at least 1, got {getattr(self, name)}")
        if not 0 < self.lr < math.inf:
            raise self.fail(f"needs an lr greater than 0, got {self.lr}")
        if not 0 <= self.held_out <= 0.5:
            raise self.fail(f"needs a held_out from 0 to 0.5, got {self.held_out}")
        if not 0 <= self.weight_decay * self.lr < 1:
            raise self.fail(f"needs a weight_decay from 0 to less than 1 / lr, got {self.weight_decay}")

    @property
    def d_source(self) -> int:
        """Dimension of the space mapped from."""
        return self.state["weight0"].shape[0]

    @property
    def d_target(self) -> int:
        """Dimension of the space mapped to."""
        return self.state[f"bias{self.depth}"].shape[0]

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Take the tensors of the layers, and of the linear map if there is one, and forget everything else."""
        names = [f"{kind}{i}" for i in range(self.depth + 1) for kind in ("weight", "bias")]
        names += ["linear"] if self.residual else []
        if set(state) != set(names):
            raise self.fail(f"needs the tensors {', '.join(names)}, got {', '.join(sorted(state)) or 'none'}")
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if not self._meet(shapes):
            told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise self.fail(f"needs layers whose sizes meet, got {told}")
        return super().load_state_dict(state)

    def _meet(self, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether the layers' dimensions fit one another, and the linear map goes from the first to the last."""
        weights, biases = ([shapes[f"{kind}{i}"] for i in range(self.depth + 1)] for kind in ("weight", "bias"))
        if any(len(shape) != 2 for shape in weights) or any(a[1:] != b for a, b in zip(weights, biases, strict=True)):
            return False
        ends = (weights[0][0], weights[-1][1])
        return all(a[1] == b[0] for a, b in itertools.pairwise(weights)) and shapes.get("linear", ends) == ends

    def _transform(self, X: Tensor) -> Tensor:
        layers = [(self.state[f"weight{i}"].to(X), self.state[f"bias{i}"].to(X)) for i in range(self.depth + 1)]
        result = activations(layers, X)[-1]
        return result.addmm_(X, self.state["linear"].to(X)) if self.residual else result

    def _fit(self, X: Tensor, Y: Tensor | None) -> dict[str, Tensor]:
        assert Y is not None
        if all_equal(X):
            raise self.fail("needs rows that differ, got the same vector for all of them")
        steps = self.steps
        if self.held_out:
            held, rest = split(X, self.held_out, self.seed)
            steps = self._best_steps(X[rest], Y[rest], X[held], Y[held])
        start = Start.of(X, Y, self.residual)
        *_, layers = self._training(*start.task(X, Y), steps)
        state = start.state(layers, self.residual)
        if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
            raise self.fail(f"diverged in training - lower the option 'lr', now {self.lr}")
        return state

    def _best_steps(self, X: Tensor, Y: Tensor, held_X: Tensor, held_Y: Tensor) -> int:
        """Return after how many steps held-out pairs fit best; 0 for a residual whose gain may be chance."""
        start = Start.of(X, Y, self.residual)
        inputs, targets = start.task(held_X, held_Y)
        look = max(LOOK, passes(len(X)))
        errors: list[Tensor] = []
        best = 0
        for step, layers in enumerate(self._training(*start.task(X, Y), self.steps)):
            if step % look == 0:
                errors.append((activations(layers, inputs)[-1] - targets).square().mean(1))
                best = len(errors) - 1 if errors[-1].mean() < errors[best].mean() else best
                if len(errors) > best + PATIENCE:
                    break
        return best * look if not self.residual or certain(errors[0] - errors[best]) else 0

    def _training(self, inputs: Tensor, targets: Tensor, steps: int) -> Iterator[Layers]:
        """Yield the layers before the first step and after each one, in the same memory."""
        generator = torch.Generator().manual_seed(self.seed)
        d_source, d_target = inputs.shape[1], targets.shape[1]
        widths = [d_source, *[self.width * max(d_source, d_target)] * self.depth, d_target]
        parameters = first(widths, self.residual, generator)
        layers = views(parameters, widths)
        adam = Adam(parameters, self.lr, self.weight_decay)
        slopes = views(adam.slope, widths)
        yield layers
        for rows in batches(len(inputs), steps, generator):
            differentiate(layers, inputs[rows], targets[rows], slopes)
            adam.step()
            yield layers


@dataclass(frozen=True)
class Start:
    """Where a training starts: means and scales, and the linear map (d_source, d_target), zero if there is none."""

    mean_x: Tensor
    mean_y: Tensor
    scale_x: Tensor
    scale_y: Tensor
    linear: Tensor

    @classmethod
    def of(cls, X: Tensor, Y: Tensor, residual: bool) -> Start:
        """Return the start for pairs: with 'residual', the linear map is the ridge regression that 'linear' fits."""
        m = Moments.of(X, Y, ("xy", "xx", "rows"))
        linear = ridge_weight(m, None, True) if residual else torch.zeros_like(m.get("xy"))
        missed = Y - m.mean_y - (X - m.mean_x) @ linear
        scale, least = missed.square().mean().sqrt(), torch.finfo(torch.float32).eps * (m.ssy.mean() / m.n).sqrt()
        # A residual of rounding alone is nothing to learn.
        return cls(m.mean_x, m.mean_y, or_one(m.deviations()[0]), scale if scale > least else torch.ones(()), linear)

    def task(self, X: Tensor, Y: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of the network: standardised columns, and the linear map's residual, scaled."""
        X = X - self.mean_x
        return X / self.scale_x, (Y - self.mean_y - X @ self.linear) / self.scale_y

    def state(self, layers: Layers, residual: bool) -> dict[str, Tensor]:
        """Return the tensors of the whole map, means and scales multiplied into them."""
        weights, biases = ([layer[i].clone() for layer in layers] for i in (0, 1))
        weights[0] /= self.scale_x[:, None]
        biases[0] -= self.mean_x @ weights[0]
        weights[-1] *= self.scale_y
        biases[-1] = biases[-1] * self.scale_y + self.mean_y - self.mean_x @ self.linear
        state = {f"weight{i}": weight for i, weight in enumerate(weights)}
        state |= {f"bias{i}": bias for i, bias in enumerate(biases)}
        return {**state, "linear": self.linear} if residual else state


def certain(gain: Tensor) -> bool:
    """Whether the mean of gains (n,) on pairs held out is more than its standard error, and those are not too few."""
    return len(gain) >= FEWEST and bool(gain.mean() > gain.std() / len(gain) ** 0.5)


def split(X: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the rows to hold out, a share of those that differ, and the rest, among which is no copy of them.

    Copies on both sides would let the network look best when it knows them by heart.
    """
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed))
    group = row_hashes(X, seed)[order].unique(return_inverse=True)[1]
    # Rows that are all alike but for rounding are told apart: there are no others.
    group = group if bool(group.any()) else torch.arange(len(X))
    distinct = torch.full((int(group.max()) + 1,), len(X)).scatter_reduce(0, group, torch.arange(len(X)), "amin")
    held = distinct.sort().values[: min(max(1, round(share * len(distinct))), len(distinct) - 1)]
    return order[held], order[~torch.isin(group, group[held])]


def first(widths: list[int], residual: bool, generator: torch.Generator) -> Tensor:
    """Return the parameters training begins with: weights uniform within sqrt(6 / fan-in), a residual's last ones 0."""
    parts = []
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        bound = 0.0 if residual and i == len(widths) - 2 else math.sqrt(6 / a)
        weight = torch.empty(a * b, dtype=torch.float64).uniform_(-bound, bound, generator=generator)
        parts += [weight, torch.zeros(b, dtype=torch.float64)]
    return torch.cat(parts)


def views(parameters: Tensor, widths: list[int]) -> Layers:
    """Return weight (a, b) and bias (b,) of each layer, as views of one vector of all of them."""
    layers, at = [], 0
    for a, b in itertools.pairwise(widths):
        layers.append((parameters[at : at + a * b].view(a, b), parameters[at + a * b : at + a * b + b]))
        at += a * b + b
    return layers


def activations(layers: Layers, X: Tensor) -> list[Tensor]:
    """Return the input of each layer, and the result."""
    found = [X]
    for weight, bias in layers:
        found.append(torch.addmm(bias, found[-1].relu_() if len(found) > 1 else X, weight))
    return found


def differentiate(layers: Layers, X: Tensor, Y: Tensor, slopes: Layers) -> None:
    """Write the gradient of the mean over rows of ||network(X) - Y||^2 into `slopes`.

    By hand: on matrices this small, autograd takes several times as long as the arithmetic.
    """
    *inputs, result = activations(layers, X)
    error = (result - Y).mul_(2 / len(X))
    for (weight, _), (by_weight, by_bias), given in zip(layers[::-1], slopes[::-1], inputs[::-1], strict=True):
        torch.mm(given.T, error, out=by_weight)
        torch.sum(error, 0, out=by_bias)
        if given is not X:
            error = (error @ weight.T).mul_(given > 0)


def passes(n: int) -> int:
    """Return in how many steps all n pairs are seen once."""
    return min(MOST_IN_A_PASS, math.ceil(n / ROWS))


def batches(n: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the rows of each step: every pair once in a pass, in a new order each time."""
    parts: list[Tensor] = []
    for _ in range(steps):
        parts = parts or list(torch.randperm(n, generator=generator).tensor_split(passes(n)))
        yield parts.pop()


class Adam:
    """Adam on one vector of parameters, with decoupled weight decay.

    Source: D. P. Kingma and J. Ba, Adam: a method for stochastic optimization, 2015.
    """

    def __init__(self, parameters: Tensor, lr: float, weight_decay: float) -> None:
        self.parameters, self.lr, self.keep = parameters, lr, 1 - lr * weight_decay
        self.slope, self.mean, self.square = (torch.zeros_like(parameters) for _ in range(3))
        self.steps = 0

    def step(self) -> None:
        """Move the parameters against the slope."""
        self.steps += 1
        self.mean.lerp_(self.slope, 1 - FIRST)
        self.square.mul_(SECOND).addcmul_(self.slope, self.slope, value=1 - SECOND)
        size = (self.square / (1 - SECOND**self.steps)).sqrt_().add_(1e-8)
        self.parameters.mul_(self.keep).addcdiv_(self.mean, size, value=-self.lr / (1 - FIRST**self.steps))
