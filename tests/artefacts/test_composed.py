from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.testing import assert_close

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.composed import Composed, restored
from atlas.artefacts.loading import load, save
from atlas.cards.space import Space
from atlas.components.aligner import Aligner
from atlas.components.linear import Affine
from atlas.errors import AtlasError
from atlas.plugins.catalogue import create


def rows(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def affine(d_source: int, d_target: int, seed: int) -> Aligner:
    return Affine.of(rows(d_source, d_target, seed), rows(1, d_target, seed + 1)[0])


def relative(d: int, seed: int) -> Aligner:
    return create(Aligner, "relative").fit(rows(30, d, seed))


def one_by_one(parts, X):  # type: ignore[no-untyped-def]
    for aligner, inverse in parts:
        X = aligner.inverse_transform(X) if inverse else aligner.transform(X)
    return X


CHAINS = {
    "affine": lambda: [(affine(5, 7, 0), False), (affine(7, 3, 2), False), (affine(3, 4, 4), False)],
    "affine and back": lambda: [(affine(5, 7, 0), False), (affine(3, 7, 2), True)],
    "relative there and back": lambda: [(relative(5, 0), False), (relative(6, 1), True)],
    "mixed": lambda: [
        (affine(5, 5, 0), False),
        (affine(5, 6, 1), False),
        (relative(6, 1), False),
        (relative(4, 2), True),
    ],
    "affine around": lambda: [(affine(5, 6, 1), False), (relative(6, 1), False), (affine(30, 4, 3), False)],
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_a_chain_does_what_its_parts_do(chain):
    parts = chain()
    X = rows(20, 5, 9)
    assert_close(Composed.of(parts).transform(X), one_by_one(parts, X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_a_chain_can_be_chained_in_any_grouping(chain):
    parts = chain()
    X = rows(20, 5, 9)
    left = Composed.of([(Composed.of(parts[:-1]), False), parts[-1]])
    right = Composed.of([parts[0], (Composed.of(parts[1:]), False)])
    assert_close(left.transform(X), right.transform(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["affine", "affine around"])
def test_runs_of_affine_maps_are_multiplied_out(name):
    made = Composed.of(CHAINS[name]())
    kinds = [made.name] if not isinstance(made, Composed) else [aligner.name for aligner, _ in made.parts]
    assert not any(a == b == "affine" for a, b in pairwise(kinds))
    assert made.name == ("affine" if name == "affine" else "composed")


def test_one_map_alone_stays_what_it_is():
    aligner = create(Aligner, "procrustes").fit(rows(20, 3), rows(20, 3, 1))
    assert Composed.of([(aligner, False)]) is aligner


def test_there_and_back_is_where_it_began():
    aligner = Affine.of(torch.linalg.qr(rows(5, 5)).Q, rows(1, 5)[0])
    there_and_back = Composed.of([(aligner, False), (aligner, True)])
    assert_close(there_and_back.transform(rows(20, 5, 1)), rows(20, 5, 1), rtol=1e-5, atol=1e-5)


def test_a_chain_runs_backwards():
    parts = [(relative(5, 0), False), (relative(6, 1), True)]
    made, Y = Composed.of(parts), rows(20, 6, 3)
    turned = Composed.of([(made, True)])
    assert_close(made.inverse_transform(Y), turned.transform(Y), rtol=1e-5, atol=1e-5)
    assert (made.d_source, made.d_target, turned.d_source, turned.d_target) == (5, 6, 6, 5)


def test_dimensions_are_those_of_the_ends():
    made = Composed.of(CHAINS["mixed"]())
    assert (made.d_source, made.d_target) == (5, 4)
    with pytest.raises(AtlasError, match=r"Aligner 'composed' maps 5 to 4 dimensions, got X with shape \(2, 4\)"):
        made.transform(torch.zeros(2, 4))


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_a_chain_survives_its_file_bit_for_bit(chain, tmp_path):
    made = Composed.of(chain())
    source, target = Space("a", 5, "toy"), Space("b", made.d_target, "toy")
    alignment = Alignment.of(made, source, target)
    save(alignment, tmp_path / "map")
    again = load(tmp_path / "map", "alignment")
    X = rows(20, 5, 9).float()
    assert torch.equal(again.aligner.transform(X), made.transform(X))
    assert again == again and again.card == alignment.card


def test_a_chain_of_loaded_affine_maps_is_their_product(tmp_path):
    # A file may hold the tensors of a map in any order.
    parts = [(affine(5, 7, 0), False), (affine(7, 3, 2), False)]
    turned = [
        (restored("affine", {}, dict(reversed(aligner.state_dict().items()))), inverse) for aligner, inverse in parts
    ]
    X = rows(20, 5, 9)
    assert_close(Composed.of(turned).transform(X), one_by_one(parts, X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "A composed alignment must have at least one step, got none"),
        ([3], "Step 0 of a composed alignment must have aligner, config and inverse, got 3"),
        ([{"aligner": "affine"}], "Step 0 of a composed alignment must have aligner, config and inverse, got {"),
        ([{"aligner": 3, "config": {}, "inverse": False}], "Step 0 of a composed alignment must name an aligner"),
        ([{"aligner": "affine", "config": 3, "inverse": False}], "must name an aligner and its options, got"),
        ([{"aligner": "no-such", "config": {}, "inverse": False}], "[Aa]ligner 'no-such'"),
    ],
)
def test_a_damaged_chain_is_refused(steps, message):
    with pytest.raises(AtlasError, match=message):
        restored("composed", {"steps": steps}, {"0.weights": torch.eye(3)})


def test_a_map_without_its_plugin_is_used_as_an_affine_one():
    state = {"weight": rows(3, 2).float(), "bias": torch.zeros(2)}
    made = restored("no-such-method", {"x": 1}, state, "latent-atlas-gone 1.0")
    assert_close(made.transform(rows(4, 3)), rows(4, 3) @ rows(3, 2).float().double(), rtol=1e-5, atol=1e-5)


def test_a_composed_map_is_not_fitted_on_data():
    with pytest.raises(AtlasError, match="Aligner 'composed' is not fitted on data - fit its parts and compose them"):
        Composed().fit(rows(4, 2), rows(4, 2))
