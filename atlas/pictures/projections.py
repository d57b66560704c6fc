"""Vectors of several spaces in the plane, for looking at."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from atlas.artefacts.vectors import Vectors


def plane(X: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean (d,) and the two directions (d, 2) in which vectors (n, d) vary most; zeros where there is no second.

    The largest entry of each is positive, because which way it points is left open.
    """
    mean = X.double().mean(0)
    centred = X.double() - mean
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -2:].flip(1)
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    return mean, torch.nn.functional.pad(axes, (0, 2 - axes.shape[1]))


def projected(views: Mapping[str, Vectors]) -> dict[str, Tensor]:
    """Return each set of vectors as points (n, 2): in the plane of the last one where it is of its space, else its own.

    So mapped vectors are seen where the vectors of that space are.
    """
    *_, last = views.values()
    shared = plane(last.data)
    points = {}
    for name, view in views.items():
        mean, axes = shared if last.space.matches(view.space) else plane(view.data)
        points[name] = (view.data.double() - mean) @ axes
    return points
