"""Bootstrapping finds the map that few pairs leave open, says where it does not, and refuses what cannot be."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from planted import found, normal, world

import atlas
from atlas import AtlasError
from atlas.testing import check_aligner
from atlas_bootstrap import Bootstrap, BootstrapAnchors, register_aligners

FEW = {"anchors": 60, "steps": 60}
BOTH = [Bootstrap(), BootstrapAnchors(**FEW)]
each = pytest.mark.parametrize("aligner", BOTH, ids=lambda aligner: aligner.name)


def numbered(n):
    """Return pairs of rows of equal numbers."""
    return torch.arange(n)[:, None].expand(-1, 2)


def test_both_are_registered():
    assert register_aligners() == [Bootstrap, BootstrapAnchors]


@pytest.mark.parametrize(
    "aligner",
    [
        Bootstrap(),
        Bootstrap(method="linear", rows=50, rounds=3, neighbours=1),
        Bootstrap(folds=0),
        BootstrapAnchors(anchors=50, steps=5),
    ],
    ids=["bootstrap", "linear", "unchecked", "anchors"],
)
def test_it_keeps_the_promises_of_aligners(aligner):
    check_aligner(aligner)


@pytest.mark.parametrize(("d", "d_target"), [(12, 12), (12, 16), (16, 12)])
def test_a_rotation_is_recovered_from_five_pairs_and_items_that_are_not_shared(d, d_target):
    planted = world(5, d=d, d_target=d_target)
    fitted = Bootstrap(folds=0).fit(planted.X, planted.Y, planted.pairs)
    alone = atlas.create(atlas.Aligner, "procrustes").fit(planted.X[:5], planted.Y[:5])
    assert found(fitted, planted) > 0.9 > 0.5 > found(alone, planted)


def test_the_map_has_the_scale_and_the_offset_of_the_spaces():
    planted = world(8)
    fitted = Bootstrap(folds=0).fit(planted.X, planted.Y, planted.pairs)
    error = (fitted.transform(planted.source) - planted.target).square().mean() / planted.target.var(0).mean()
    assert error < 0.05
    scale = torch.linalg.svdvals(fitted.state["weight"].double())
    torch.testing.assert_close(scale, torch.full_like(scale, 3), rtol=0.05, atol=0)


@pytest.mark.parametrize("seed", range(3))
def test_noisy_clusters_are_found_better_than_by_the_seeds_alone(seed):
    planted = world(8, noise=0.15, seed=seed)
    fitted = Bootstrap(folds=0).fit(planted.X, planted.Y, planted.pairs)
    alone = atlas.create(atlas.Aligner, "procrustes").fit(planted.X[:8], planted.Y[:8])
    assert found(fitted, planted) > found(alone, planted) + 0.2


def test_rows_in_another_order_give_the_same_map():
    planted = world(8)
    fitted = Bootstrap(folds=0).fit(planted.X, planted.Y, planted.pairs)
    p, q = (torch.randperm(len(t), generator=torch.Generator().manual_seed(1)) for t in (planted.X, planted.Y))
    pairs = torch.stack([p.argsort()[:8], q.argsort()[:8]], 1).flip(0)
    shuffled = Bootstrap(folds=0).fit(planted.X[p], planted.Y[q], pairs)
    torch.testing.assert_close(shuffled.state["weight"], fitted.state["weight"], rtol=0, atol=1e-4)


def test_the_map_follows_when_the_spaces_are_turned_scaled_and_moved():
    planted = world(8, noise=0.1)
    turn = torch.linalg.qr(normal(12, 12, seed=9)).Q
    here = Bootstrap(folds=0).fit(planted.X, planted.Y, planted.pairs)
    there = Bootstrap(folds=0).fit(planted.X @ turn * 5 - 2, planted.Y, planted.pairs)
    moved = there.transform(planted.source @ turn * 5 - 2)
    torch.testing.assert_close(moved, here.transform(planted.source), rtol=0, atol=1e-3)


@each
def test_equal_seeds_give_equal_bits_and_others_other_rows(aligner):
    planted = world(8, noise=0.1)
    options = {**aligner.config(), "rows": 100, "folds": 0}
    states = [type(aligner)(**{**options, "seed": s}).fit(planted.X, planted.Y, planted.pairs).state for s in (0, 0, 1)]
    assert torch.equal(states[0]["weight"], states[1]["weight"])
    assert not torch.equal(states[0]["weight"], states[2]["weight"])


def test_more_rows_than_are_looked_at_change_nothing_but_the_draw():
    planted = world(8, n=400)
    looked = Bootstrap(rows=1000, folds=0).fit(planted.X, planted.Y, planted.pairs)
    again = Bootstrap(rows=5000, folds=0).fit(planted.X, planted.Y, planted.pairs)
    assert torch.equal(looked.state["weight"], again.state["weight"])


def test_what_is_fitted_in_the_end_can_be_chosen():
    planted = world(12)
    stretch = torch.diag(torch.linspace(0.5, 2, 12, dtype=torch.float64))
    Y, target = planted.Y @ stretch, planted.target @ stretch
    fitted = [Bootstrap(method=name, folds=0).fit(planted.X, Y, planted.pairs) for name in ("procrustes", "linear")]
    errors = [float((one.transform(planted.source) - target).std()) for one in fitted]
    assert errors[1] < 0.7 * errors[0]


def test_the_way_back_leads_back():
    planted = world(8)
    fitted = Bootstrap(folds=0).fit(planted.X, planted.Y, planted.pairs)
    back = fitted.inverse_transform(fitted.transform(planted.source))
    torch.testing.assert_close(back, planted.source, rtol=0, atol=1e-4)


def test_seeds_that_are_held_out_say_that_it_helped():
    planted = world(8, noise=0.05)
    check = Bootstrap().fit(planted.X, planted.Y, planted.pairs).check
    assert check.helped and check.among == len(planted.Y)
    assert len(check.alone) == len(check.bootstrapped) == 8
    assert check.bootstrapped.median() < 5 < check.alone.median()


@each
def test_it_warns_where_it_did_not_help(aligner):
    planted = world(8)
    # The pairs are of a world that the other rows do not show.
    shuffled = torch.stack([torch.arange(8), torch.arange(100, 108)], 1)
    said = r"does not find seeds that are held out clearly better .* \(mean rank .*\) - give more seeds, or fit"
    with pytest.warns(atlas.AtlasWarning, match=said):
        type(aligner)(**aligner.config()).fit(planted.X, planted.Y, shuffled)


def test_spaces_that_have_nothing_in_common_are_told():
    with pytest.warns(atlas.AtlasWarning, match="clearly better than the others alone do"):
        Bootstrap().fit(normal(300, 10, seed=1), normal(300, 10, seed=2), numbered(20))


@pytest.mark.parametrize(("seeds", "warns"), [(2, True), (3, False), (4, False)])
def test_too_few_seeds_to_hold_any_out_are_told(seeds, warns, recwarn):
    planted = world(seeds)
    fitted = Bootstrap().fit(planted.X, planted.Y, planted.pairs)
    said = [str(w.message) for w in recwarn if "cannot tell whether it helped from 2 seeds" in str(w.message)]
    assert bool(said) == warns
    if warns:
        with pytest.raises(AtlasError, match="has not looked whether it helped - call fit"):
            _ = fitted.check


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (Bootstrap, {"rows": 9}, "needs rows of at least 10, got 9"),
        (Bootstrap, {"rounds": 0}, "needs rounds of at least 1, got 0"),
        (Bootstrap, {"neighbours": 0}, "needs neighbours of at least 1, got 0"),
        (Bootstrap, {"folds": 1}, "needs folds of 0 or of 2 and more, got 1"),
        (Bootstrap, {"seed": -1}, "needs seed of at least 0, got -1"),
        (BootstrapAnchors, {"anchors": 0}, "needs anchors of at least 1, got 0"),
        (BootstrapAnchors, {"steps": 0}, "needs steps of at least 1, got 0"),
        (BootstrapAnchors, {"iterations": 0}, "needs iterations of at least 1, got 0"),
        (BootstrapAnchors, {"rate": 0.0}, "needs rate above 0, got 0.0"),
        (BootstrapAnchors, {"entropy": float("inf")}, "needs entropy above 0, got inf"),
    ],
)
def test_options_that_cannot_be_are_refused(cls, options, message):
    with pytest.raises(AtlasError, match=f"Aligner '{cls.name}' {message}"):
        cls(**options)


def test_what_cannot_be_fitted_is_told():
    planted = world(6, n=40, m=30)
    X, Y, pairs = planted.X, planted.Y, planted.pairs
    with pytest.raises(AtlasError, match="is given the partner of each of the 30 vectors of the target - name the few"):
        Bootstrap().fit(X, Y, numbered(30))
    with pytest.raises(AtlasError, match="needs vectors that differ, got 40 times the same of the source"):
        Bootstrap().fit(torch.ones(40, 3), Y, pairs)
    with pytest.raises(AtlasError, match="needs an affine aligner that fits on pairs, got 'relative' - try 'linear'"):
        Bootstrap(method="relative").fit(X, Y, pairs)
    with pytest.raises(AtlasError, match="needs an affine aligner that fits on pairs, got 'bootstrap' - try 'linear'"):
        Bootstrap(method="bootstrap").fit(X, Y, pairs)
    with pytest.raises(AtlasError, match="Unknown aligner 'procrustse'"):
        Bootstrap(method="procrustse").fit(X, Y, pairs)
    with pytest.raises(AtlasError, match="needs more anchors than the 6 seeds, got 6"):
        BootstrapAnchors(anchors=6, folds=0).fit(X, Y, pairs)


def test_optimised_anchors_are_rows_of_what_was_given():
    planted = world(8, n=300, m=300)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    Y, pairs = (planted.X @ planted.rotation)[order], torch.stack([torch.arange(8), order.argsort()[:8]], 1)
    fitted = BootstrapAnchors(anchors=100, steps=200, folds=0, rows=280).fit(planted.X, Y, pairs)
    found = fitted.found
    assert torch.equal(found[:8], pairs) and len(found) == 100 and len(found[:, 0].unique()) == 100
    assert (order[found[:, 1]] == found[:, 0]).double().mean() > 0.9
    with pytest.raises(AtlasError, match="knows no anchors, which are not stored - call fit"):
        _ = BootstrapAnchors().load_state_dict(fitted.state_dict()).found


def test_it_is_fitted_by_name_and_used_without_the_plugin(tmp_path):
    planted = world(6, n=60, m=50)
    ids = [f"both-{i}" for i in range(6)]
    source = atlas.Vectors.of(planted.X, "here", ids=[*ids, *(f"a-{i}" for i in range(54))])
    target = atlas.Vectors.of(planted.Y, "there", ids=[*ids, *(f"b-{i}" for i in range(44))])
    source.save_pretrained(tmp_path / "here")
    target.save_pretrained(tmp_path / "there")
    common = [sys.executable, "-m", "atlas"]
    fit = [*common, "fit", "bootstrap", "--source", "here", "--target", "there", "-o", "folds", "0", "--out", "map"]
    done = subprocess.run(fit, cwd=tmp_path, capture_output=True, text=True, check=False)
    said = "'here__there__bootstrap' (12 to 12 dimensions, fitted on 6 items, 98 vectors had no known partner)"
    assert done.returncode == 0 and said in done.stdout + done.stderr
    environment = {**os.environ, "ATLAS_PLUGINS": "builtin"}
    apply = [*common, "apply", "map", "here", "--out", "mapped.npy"]
    subprocess.run(apply, cwd=tmp_path, env=environment, check=True, capture_output=True)
    expected = Bootstrap(folds=0).fit(planted.X, planted.Y, planted.pairs).transform(planted.X)
    torch.testing.assert_close(torch.from_numpy(np.load(tmp_path / "mapped.npy")), expected, rtol=0, atol=1e-5)
