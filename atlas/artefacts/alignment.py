"""A fitted map from a source space to a target space."""

from __future__ import annotations

import copy
import functools
import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from atlas.artefacts.artefact import Artefact, OnCard, finite_tensors, made_with
from atlas.artefacts.composed import Composed, restored
from atlas.artefacts.moments import check_many
from atlas.artefacts.vectors import Vectors
from atlas.cards.kinds import CALIBRATION, DOMAIN, AlignmentCard, Metric, Part
from atlas.cards.names import slug
from atlas.cards.sketch import Sketch
from atlas.cards.space import Space
from atlas.components.aligner import Aligner
from atlas.components.linear import LinearAligner
from atlas.errors import AtlasError, CardError, SpaceMismatchError, located, warn
from atlas.numerics.calibration import Calibration
from atlas.numerics.domain import Domain
from atlas.storage.header import TensorFile
from atlas.storage.rows import Rows

# Whether most rows lie outside a domain is told by so many of them.
SAMPLE, MOST = 1000, 0.5


@dataclass(frozen=True)
class Alignment(Artefact):
    """A fitted map from a source space to a target space, and where it came from.

    Attributes:
        aligner: the fitted map.
        source: the space it maps from.
        target: the space it maps to.
        config: the options it was fitted with.
        n_pairs: how many pairs of vectors it was fitted on.
        n_unpaired: how many vectors of either side had no partner; a method that fits on pairs left them out.
        anchors: id of the anchors it was fitted on; '' if it was all pairs.
        dataset: the data set of the items.
        metrics: its figures.
        evaluation: references to the data of its figures, by role.
        parts: the maps it was made of, if it was not fitted itself.
        domain: where the rows it was fitted on lay; None if that was not kept.
        calibration: the worth of results found through it, where "queries" or an "index" are mapped; empty if that
            was not learned.
    """

    kind = "alignment"
    source = OnCard[Space]()
    target = OnCard[Space]()
    config = OnCard[Mapping[str, Any]]()
    n_pairs = OnCard[int]()
    n_unpaired = OnCard[int]()
    anchors = OnCard[str]()
    metrics = OnCard[tuple[Metric, ...]]()
    evaluation = OnCard[Mapping[str, str]]()
    parts = OnCard[tuple[Part, ...]]()

    card: AlignmentCard
    aligner: Aligner
    domain: Domain | None = field(default=None, compare=False)
    calibration: Mapping[str, Calibration] = field(default_factory=dict, compare=False)

    @classmethod
    def of(
        cls, aligner: Aligner, source: Space, target: Space, id: str = "", domain: Domain | None = None, **fields: Any
    ) -> Alignment:
        """Return an alignment made of a fitted aligner, named after its spaces and method unless it is given an id."""
        name = id or default_id(source, target, aligner)
        card = AlignmentCard(name, source=source, target=target, **made_with(aligner), **fields)
        return cls(card, aligner, domain)

    def __getstate__(self) -> dict[str, Any]:
        """Return the content of a pickle: all but the moments of the fit, which are larger than the map."""
        self.aligner.state_dict()
        aligner = copy.copy(self.aligner)
        vars(aligner).pop("_moments", None)
        return {**vars(self), "aligner": aligner}

    def __call__(self, X: Any) -> Any:
        """Map a tensor or array (n, d_source) to the same kind of array, or `Vectors` of the source to the target.

        One vector (d_source,) becomes one vector, and no rows become none.

        Raises:
            SpaceMismatchError: vectors of another space.
            AtlasError: the wrong width, or NaN or infinity.
        """
        if not isinstance(X, Vectors):
            return self.aligner.transform(X)
        self.check_source(X.space)
        return X.in_space(self.target, self.aligner.transform(X.data))

    def check_source(self, space: Space) -> None:
        """Raise `SpaceMismatchError` unless vectors of a space can be mapped; those of the target have been already."""
        self.source.require(space, f"Alignment '{self.id}' maps from", "the vectors")
        if self.target.same(space) and not self.source.same(space):
            raise SpaceMismatchError(
                f"Alignment '{self.id}' maps from '{self.source.id}', and the vectors are of its target "
                f"'{self.target.id}' already - use them as they are"
            )

    def confidence(self, X: Any) -> Any:
        """Return how far each mapped vector is likely to be from the true one, in the unit of the target.

        Predicted from how far out a vector of the source lies, beside those the map was fitted on. The root of the mean
        square over vectors like these is `domain.error`; from more than twice that on, a map is not to be relied on.

        Args:
            X: vectors of the source (n, d_source): a tensor, an array or `Vectors`.

        Returns:
            (n,), a tensor, or an array for an array.

        Raises:
            AtlasError: it was fitted without its domain, or the wrong width.
        """
        if self.domain is None:
            raise AtlasError(
                f"Alignment '{self.id}' does not know the domain it was fitted on - fit it with --confidence "
                "(confidence=True), a method that takes moments"
            )
        if isinstance(X, Vectors):
            self.check_source(X.space)
            X = X.data
        found = self.domain.errors(X)
        return found if isinstance(X, Tensor) else found.numpy()

    def check_domain(self, rows: Rows) -> None:
        """Warn if most rows lie outside the domain of the fit, as far as a sample of them can tell."""
        if self.domain is None or not len(rows) or rows.dim != self.source.dim:
            return
        share = float(self.domain.outside(rows.some(SAMPLE)).double().mean())
        if share > MOST:
            warn(
                f"{share:.0%} of the vectors lie outside the domain that alignment '{self.id}' was fitted on, where it "
                "is likely to be wrong - fit it on some vectors like these, or measure it on them",
                3,
            )

    def inverse(self) -> Alignment:
        """Return the map from the target back to the source."""
        kept = ("n_pairs", "n_unpaired", "anchors", "dataset", "license", "fitted_on")
        fields = {name: getattr(self.card, name) for name in kept}
        fields["parts"] = tuple(replace(part, inverse=not part.inverse) for part in reversed(self.as_parts()))
        name = slug(f"{self.target.id}__{self.source.id}__{self.method}-inverse")
        return Alignment.of(Composed.of([(self.aligner, True)]), self.target, self.source, name, **fields)

    def to(self, device: str) -> Alignment:
        """Return the same map, which computes on a device: vectors go there, and the results come back."""
        return replace(self, aligner=self.aligner.to(device))

    def __or__(self, other: Alignment) -> Alignment:
        """Return this map and another one after it as one: `a | b`."""
        return chained([self, other]) if isinstance(other, Alignment) else NotImplemented

    def __repr__(self) -> str:
        """Return a description of one line."""
        sides = f"{self.source.id} ({self.source.dim}) to {self.target.id} ({self.target.dim})"
        return f"<Alignment '{self.id}': {sides}" + f", {self.n_pairs} pairs" * bool(self.n_pairs) + ">"

    def compiled(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return the map as a function of numpy arrays, for a server that maps a vector at a time.

        It takes one vector (d_source,) or several (n, d_source). An affine map is a product and a sum, and checks
        nothing: NaN comes out as NaN, and a wrong width is an error of numpy's.
        """
        if isinstance(self.aligner, LinearAligner):
            weight, bias = (self.aligner.state_dict()[name].numpy() for name in ("weight", "bias"))
            return lambda x: x @ weight + bias
        transform = self.aligner.transform
        return lambda x: transform(x[None])[0] if (x := np.asarray(x)).ndim == 1 else transform(x)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to store: those of the map, and of its domain as 'domain.<name>'."""
        domain = {} if self.domain is None else self.domain.tensors()
        beside = {f"{DOMAIN}{name}": t for name, t in domain.items()}
        beside |= {f"{CALIBRATION}{role}": found.values for role, found in self.calibration.items()}
        return {**self.aligner.state_dict(), **beside}

    def published(self, few: bool = False) -> Alignment:
        """Return a public copy: with its domain only if that does not give away the pairs it was fitted on."""
        if self.domain is not None:
            check_many(self.domain.fresh, self.source.dim, self.target.dim, few, f"The domain of alignment '{self.id}'")
        return self

    @classmethod
    def from_card(cls, card: AlignmentCard, file: TensorFile) -> Alignment:
        """Return the alignment of a card and its file, which has been checked."""
        tensors = finite_tensors(file)
        named, learned = (
            {name.removeprefix(begin): tensors.pop(name) for name in sorted(tensors) if name.startswith(begin)}
            for begin in (DOMAIN, CALIBRATION)
        )
        aligner = restored(card.aligner, card.config, tensors, card.plugin)
        if (aligner.d_source, aligner.d_target) != (card.source.dim, card.target.dim):
            raise CardError(
                f"{file.path.parent}: the tensors map {aligner.d_source} to {aligner.d_target} dimensions, "
                f"the card says {card.source.dim} to {card.target.dim}"
            )
        with located(file.path, CardError):
            domain = Domain.from_tensors(named, card.source.dim) if named else None
            calibration = {role: Calibration.of_role(role, values) for role, values in learned.items()}
        return cls(card, aligner, domain, calibration)


def chained(parts: Sequence[Alignment], id: str = "") -> Alignment:
    """Return alignments, one after another, as one; each must reach the space that the next one maps from."""
    for first, second in itertools.pairwise(parts):
        second.source.require(first.target, f"Alignment '{second.id}' maps from", f"the vectors '{first.id}' makes")
    aligner = Composed.of([(part.aligner, False) for part in parts])
    return Alignment.of(aligner, parts[0].source, parts[-1].target, id, **_together(parts))


def _together(parts: Sequence[Alignment]) -> dict[str, Any]:
    """Return the fields of a chain's card from its parts: unknown of one part is unknown of the whole."""
    said = {
        name: [getattr(part.card, name) for part in parts] for name in ("anchors", "dataset", "license", "fitted_on")
    }
    between = {"dataset": ", ", "license": " AND "}
    known = {
        name: sorted({one for value in values for one in value.split(between.get(name))}) if all(values) else []
        for name, values in said.items()
    }
    return {
        "n_pairs": min(part.n_pairs for part in parts),
        "n_unpaired": sum(part.n_unpaired for part in parts),
        "anchors": known["anchors"][0] if len(known["anchors"]) == 1 else "",
        "dataset": ", ".join(known["dataset"]),
        "license": " AND ".join(known["license"]),
        "fitted_on": functools.reduce(operator.or_, map(Sketch.parse, known["fitted_on"])).text()
        if known["fitted_on"]
        else "",
        "parts": tuple(part for one in parts for part in one.as_parts()),
    }


def default_id(source: Space, target: Space, aligner: Aligner) -> str:
    """Return 'source__target__method', cut to the length of an id."""
    name = f"{source.id}__{target.id}__{aligner.name}"
    return name if len(name) <= 96 else slug(name[:96])
