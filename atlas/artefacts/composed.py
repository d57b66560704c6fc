"""Maps applied one after another, forwards or backwards, as one map.

A chain of affine maps is an affine map and is kept as one; any other chain keeps its parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

from atlas.components.aligner import Aligner
from atlas.components.linear import Affine, LinearAligner
from atlas.components.options import option
from atlas.errors import AtlasError
from atlas.plugins.catalogue import create, provider
from atlas.plugins.provenance import made_by, warn_if_older

Step = tuple[Aligner, bool]


@dataclass
class Composed(Aligner):
    """Several fitted maps, one after another."""

    name = "composed"

    steps: list = option([], help="The parts in order, each with aligner, config, inverse and plugin")

    @classmethod
    def of(cls, steps: Sequence[Step]) -> Aligner:
        """Return fitted aligners applied in order, each backwards where it says so, as one aligner."""
        flat = [part for step in steps for part in _flattened(*step)]
        merged = _merged(flat)
        if len(merged) == 1 and not merged[0][1]:
            return merged[0][0]
        described = [
            {"aligner": a.name, "config": a.config(), "inverse": inverse, "plugin": provider(type(a))}
            for a, inverse in merged
        ]
        state = {f"{i}.{key}": value for i, (a, _) in enumerate(merged) for key, value in a.state_dict().items()}
        return cls(described).load_state_dict(state)

    @property
    def parts(self) -> list[Step]:
        """The fitted aligners in order, and whether each is run backwards."""
        if "_parts" not in vars(self):
            self._parts = [self._part(i, step) for i, step in enumerate(self.steps)]
        return self._parts

    def _part(self, i: int, step: Any) -> Step:
        if not isinstance(step, dict) or set(step) - {"plugin"} != {"aligner", "config", "inverse"}:
            raise AtlasError(f"Step {i} of a composed alignment must have aligner, config and inverse, got {step!r}")
        if not isinstance(step["aligner"], str) or not isinstance(step["config"], dict):
            raise AtlasError(f"Step {i} of a composed alignment must name an aligner and its options, got {step!r}")
        own = {key.partition(".")[2]: t for key, t in self.state.items() if key.partition(".")[0] == str(i)}
        return restored(step["aligner"], step["config"], own, str(step.get("plugin", ""))), bool(step["inverse"])

    @property
    def invertible(self) -> bool:  # type: ignore[override]
        """Whether every part that would be turned around can be."""
        return all(a.invertible for a, inverse in self.parts if not inverse)

    @property
    def d_source(self) -> int:
        """Dimension of the space the first part maps from."""
        first, inverse = self.parts[0]
        return first.d_target if inverse else first.d_source

    @property
    def d_target(self) -> int:
        """Dimension of the space the last part maps to."""
        last, inverse = self.parts[-1]
        return last.d_source if inverse else last.d_target

    def _fit(self, X: Tensor, Y: Tensor | None) -> dict[str, Tensor]:
        raise AtlasError("Aligner 'composed' is not fitted on data - fit its parts and compose them")

    def _transform(self, X: Tensor) -> Tensor:
        for aligner, inverse in self.parts:
            X = aligner.inverse_transform(X) if inverse else aligner.transform(X)
        return X

    def _inverse_transform(self, Y: Tensor) -> Tensor:
        for aligner, inverse in reversed(self.parts):
            Y = aligner.transform(Y) if inverse else aligner.inverse_transform(Y)
        return Y

    def to(self, device: str) -> Self:
        """Return the same map, whose parts compute on a device."""
        moved = super().to(device)
        moved._parts = [(aligner.to(device), inverse) for aligner, inverse in self.parts]
        return moved

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Take the tensors of the parts as 'number.name'."""
        if not self.steps:
            raise AtlasError("A composed alignment must have at least one step, got none")
        super().load_state_dict(state)
        _ = self.parts
        return self


def _flattened(aligner: Aligner, inverse: bool) -> list[Step]:
    if isinstance(aligner, Composed):
        parts = aligner.parts
        return [(a, not back) for a, back in reversed(parts)] if inverse else parts
    if inverse and not aligner.invertible:
        raise aligner.fail("cannot be run backwards - fit one from target to source")
    return [(aligner, inverse)]


def _merged(steps: list[Step]) -> list[Step]:
    """Return the steps with every run of affine maps multiplied out."""
    result: list[Step] = []
    for aligner, inverse in steps:
        if isinstance(aligner, LinearAligner):
            affine = Affine.of(aligner.state["weight"], aligner.state["bias"])
            affine = affine.inverse() if inverse else affine
            if result and isinstance(result[-1][0], LinearAligner):
                before = result.pop()[0].state
                affine = Affine.of(before["weight"], before["bias"]).then(affine)
                result.append((affine, False))
            else:
                result.append((affine if inverse or len(steps) > 1 else aligner, False))
        else:
            result.append((aligner, inverse))
    return result


def restored(name: str, config: Mapping[str, Any], state: Mapping[str, Tensor], plugin: str = "") -> Aligner:
    """Return a fitted aligner from its stored state.

    A map that is only weight and bias needs no plugin: where the plugin is missing, it is loaded as an affine map.

    Args:
        name: of the aligner.
        config: its options.
        state: its tensors.
        plugin: the distribution and version that made it, for the message when it is missing.
    """
    if name == Composed.name:
        return Composed.from_config(config).load_state_dict(state)
    if name == Affine.name:
        return Affine.from_config(config).load_state_dict(state)
    try:
        with made_by(Aligner, name, plugin):
            aligner = create(Aligner, name, config).load_state_dict(state)
            # A state of another version that it cannot describe, it cannot map with either.
            _ = aligner.d_source, aligner.d_target
    except AtlasError:
        if set(state) == {"weight", "bias"}:
            return Affine().load_state_dict(state)
        raise
    if not aligner.affine and plugin != provider(type(aligner)):
        warn_if_older(aligner.label().capitalize(), plugin)
    return aligner
