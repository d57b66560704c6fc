"""The aligner keeps the promises of all aligners, finds maps without pairs, and knows when it has not."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import atlas
from atlas.metrics import recall_at_k
from atlas.testing.aligners import ALIGNER_CHECKS
from atlas_minivec import MiniVec, register_aligners
from atlas_minivec.clusters import geometry, matchings
from atlas_minivec.search import Sides
from atlas_minivec.turning import closeness, polar, targets, temperature_for

DOUBTFUL = pytest.mark.filterwarnings("ignore:Aligner 'minivec' found no map:atlas.AtlasWarning")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rotation(a, b, seed=7):
    return polar(torch.randn(a, b, generator=generator(seed), dtype=torch.float64))


def clusters(n, d=12, k=16, seed=0, spread=0.35, drawn=1):
    """Rows around k centres, off centre and some clusters larger than others; `drawn` draws other rows of the same."""
    g = generator(seed)
    centres = torch.randn(k, d, generator=g, dtype=torch.float64) * torch.linspace(2, 0.7, d, dtype=torch.float64)
    g = generator(seed + 100 * drawn)
    which = torch.multinomial(torch.linspace(1, 3, k), n, replacement=True, generator=g)
    return centres[which] + spread * torch.randn(n, d, generator=g, dtype=torch.float64) + 4


def unpaired(d_target=12, n=600, m=500):
    """Rows of a source, other rows of the same kind in a target, and what is true of held-out rows."""
    Q = rotation(12, d_target)
    X, Y, fresh = clusters(n), 3 * clusters(m, drawn=2) @ Q - 5, clusters(200, drawn=3)
    return X, Y, fresh, 3 * fresh @ Q - 5


def quick(**options):
    return MiniVec(**{"starts": 24, **options})


@pytest.fixture(scope="module")
def wider():
    """A map from 12 to 15 dimensions, found without pairs."""
    X, Y, _, _ = unpaired(15)
    return quick().fit(X, Y)


def test_it_is_registered():
    assert register_aligners() == [MiniVec]


# The data of the checks have no clusters, and no map is found: the promises are kept all the same.
@DOUBTFUL
@pytest.mark.parametrize("check", ALIGNER_CHECKS)
def test_it_keeps_the_promises_of_aligners(check):
    check(quick())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_dtype_gives_the_same_map_where_there_is_one(dtype):
    X, Y, fresh, true = unpaired()
    mapped = quick().fit(X.to(dtype), Y.to(dtype)).transform(fresh.to(dtype))
    assert mapped.dtype == dtype
    assert float((mapped - true).square().sum() / (true - true.mean(0)).square().sum()) < 0.05


def test_arrays_give_arrays(wider):
    assert wider.transform(np.ones((3, 12), np.float32)).dtype == np.float32


@pytest.mark.parametrize("d_target", [12, 15])
def test_a_planted_map_is_found_without_pairs(d_target):
    X, Y, fresh, true = unpaired(d_target)
    aligner = quick().fit(X, Y)
    mapped = aligner.transform(fresh)
    assert recall_at_k(mapped - Y.mean(0), true - Y.mean(0)) > 0.8
    assert float((mapped - true).square().sum() / (true - true.mean(0)).square().sum()) < 0.05
    assert 0.3 < aligner.margin <= 1


def test_the_way_back_is_found_with_it(wider):
    _, _, fresh, true = unpaired(15)
    back = wider.inverse_transform(true)
    assert float((back - fresh).square().sum() / (fresh - fresh.mean(0)).square().sum()) < 0.05


def test_a_wider_source_is_mapped_to_a_narrower_target():
    X, Y, _, _ = unpaired(15)
    aligner = quick().fit(Y, X)
    fresh = clusters(200, drawn=3)
    mapped = aligner.transform(3 * fresh @ rotation(12, 15) - 5)
    assert recall_at_k(mapped - X.mean(0), fresh - X.mean(0)) > 0.8


def test_rows_need_no_order():
    X, Y, fresh, _ = unpaired()
    one = quick().fit(X, Y).transform(fresh)
    other = quick().fit(X.flip(0), Y).transform(fresh)
    assert float(torch.cosine_similarity(one - one.mean(0), other - one.mean(0)).mean()) > 0.98


@pytest.mark.parametrize("target", ["another structure", "no structure"])
def test_a_map_that_cannot_be_right_is_warned_of(target):
    X = clusters(800)
    Y = clusters(700, seed=3) if target == "another structure" else torch.randn(700, 12, generator=generator())
    with pytest.warns(atlas.AtlasWarning, match=r"found no map that stands out: its margin is 0\.\d\d"):
        aligner = quick().fit(X, Y)
    assert aligner.margin < 0.15


@DOUBTFUL
@pytest.mark.parametrize("starts", [1, 24])
def test_few_rows_of_many_dimensions_show_nothing(starts):
    X, Y = (torch.randn(100, 80, generator=generator(seed), dtype=torch.float64) for seed in (1, 2))
    assert MiniVec(starts=starts).fit(X, Y).margin < 0.15


def test_strict_refuses_a_map_that_does_not_stand_out():
    with pytest.raises(atlas.AtlasError, match="Aligner 'minivec' found no map that stands out"):
        quick(strict=True).fit(clusters(800), torch.randn(700, 12, generator=generator()))


def test_equal_seeds_give_equal_maps_and_others_other_ones():
    X, Y, _, _ = unpaired()
    one, same, other = (quick(seed=seed).fit(X, Y).state["weight"] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_what_is_stored_is_used_without_the_plugin(wider, tmp_path):
    atlas.Alignment.of(wider, atlas.Space("a", 12), atlas.Space("b", 15)).save_pretrained(tmp_path / "map")
    np.save(tmp_path / "rows.npy", unpaired()[2].float().numpy())
    command = [sys.executable, "-m", "atlas", "apply", "map", "rows.npy", "--out", "mapped.npy"]
    without = {**os.environ, "ATLAS_DISABLE_PLUGINS": "minivec"}
    subprocess.run(command, cwd=tmp_path, env=without, check=True, capture_output=True)
    expected = wider.transform(np.load(tmp_path / "rows.npy"))
    np.testing.assert_allclose(np.load(tmp_path / "mapped.npy"), expected, rtol=1e-5, atol=1e-5)


def test_the_weight_is_a_rotation_and_one_scale(wider):
    gram = wider.state["weight"] @ wider.state["weight"].T
    torch.testing.assert_close(gram, gram[0, 0] * torch.eye(12), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("X", "Y", "said"),
    [
        (clusters(99), clusters(100), "sees no clusters in 99 rows of the source - give thousands, at least 100"),
        (clusters(100), torch.ones(150, 12), "got the same vector for all of the target"),
    ],
)
def test_rows_that_show_nothing_are_refused(X, Y, said):
    with pytest.raises(atlas.AtlasError, match=said):
        quick().fit(X, Y)


@pytest.mark.parametrize("options", [{"seed": -1}, {"starts": 0}, {"rows": 99}])
def test_options_that_cannot_be_are_refused(options):
    (name,) = options
    with pytest.raises(atlas.AtlasError, match=f"needs {name} of at least"):
        MiniVec(**options)


def test_the_margin_of_a_loaded_map_is_not_known(wider):
    loaded = MiniVec().load_state_dict(wider.state_dict())
    with pytest.raises(atlas.AtlasError, match=r"knows its margin after fit\(\) alone"):
        _ = loaded.margin


def test_moments_are_refused():
    with pytest.raises(atlas.AtlasError, match=r"has no moments - call fit\(\)"):
        MiniVec().fit_moments(None)


def test_matchings_are_as_good_as_trying_every_order():
    g = generator()
    A, B = (geometry(torch.randn(3, 6, 4, generator=g)) for _ in range(2))
    found = matchings(A, B, g)[:, 0]
    for a, b, order in zip(A, B, found, strict=True):
        values = [float((a * b[list(p)][:, list(p)]).sum()) for p in itertools.permutations(range(6))]
        assert float((a * b[order][:, order]).sum()) == pytest.approx(max(values), abs=1e-5)


def test_soft_targets_are_the_plain_assignment_when_cold():
    X = F.normalize(torch.randn(40, 5, generator=generator()))
    order = torch.randperm(40, generator=generator(1))
    torch.testing.assert_close(targets(X, X[order], torch.eye(5), 1e-4), X, rtol=0, atol=1e-4)


def test_a_temperature_gives_the_neighbours_asked_for():
    Y = F.normalize(torch.randn(200, 8, generator=generator()))
    similarity = (Y @ Y.T).fill_diagonal_(-torch.inf) / temperature_for(Y, 10)
    entropy = torch.distributions.Categorical(logits=similarity).entropy().mean()
    assert float(entropy.exp()) == pytest.approx(10, rel=0.05)


def test_a_map_onto_the_same_kind_of_rows_is_as_close_as_rows_are():
    X, Y = (F.normalize((clusters(400, drawn=i) - 4).float()) for i in (1, 2))
    right, wrong = closeness(X, Y, torch.stack([torch.eye(12), rotation(12, 12).float()]))
    assert float(right) == pytest.approx(1, abs=0.02)
    assert float(wrong) < 0.95


def test_judges_are_never_seen():
    X = torch.arange(100.0)[:, None]
    sides = Sides.of(X, X)
    assert set(sides.judges[0].flatten().tolist()).isdisjoint(sides.seen[0].flatten().tolist())
