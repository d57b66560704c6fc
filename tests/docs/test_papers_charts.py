"""Relative latent space aggregation, small: what the paper claims, what of it needs an oracle, and what does not."""

from __future__ import annotations

import pytest
from papertools import mean, shared_run, values

SETTINGS = ("shared samples", "shared classes", "nothing shared")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    pytest.importorskip("matplotlib")
    return shared_run("charts", tmp_path_factory)


@pytest.fixture(scope="module")
def results(ran):
    return ran[0]


def accuracy(results, row, setting, head="kernel", of="total"):
    return mean(results, step="settings", metric="accuracy", row=row, setting=setting, head=head, of=of)


def test_with_an_oracle_rlsa_beats_the_network_trained_on_everything(results):
    told = accuracy(results, "RLSA, told", "shared samples")
    assert told > accuracy(results, "end-to-end", "shared samples")


@pytest.mark.parametrize("setting", ["shared samples", "nothing shared"])
def test_what_the_oracle_tells_does_as_much_for_the_network_trained_on_everything(results, setting):
    told = accuracy(results, "end-to-end, told the group", setting)
    assert told > accuracy(results, "RLSA, told", setting) - 0.01
    assert told > accuracy(results, "end-to-end", setting)


@pytest.mark.parametrize("setting", ["shared samples", "nothing shared"])
def test_without_an_oracle_rlsa_falls_behind(results, setting):
    assert accuracy(results, "RLSA", setting) < accuracy(results, "end-to-end", setting) - 0.01
    assert accuracy(results, "RLSA, routing random", setting) < 0.8


@pytest.mark.parametrize("setting", SETTINGS)
def test_whitened_charts_match_the_network_trained_on_everything_without_an_oracle(results, setting):
    merged = accuracy(results, "whitened", setting)
    assert merged > accuracy(results, "end-to-end", setting) - 0.005
    assert merged > accuracy(results, "RLSA", setting) + 0.02


def test_the_chart_of_who_knows_an_item_weighs_most(results):
    for setting in ("shared samples", "nothing shared"):
        assert mean(results, metric="heaviest chart knows the item", setting=setting) > 0.85
    alone = {"metric": "weight", "setting": "shared samples"}
    assert all(mean(results, group=str(t), chart=t, **alone) > 0.6 for t in (1, 2, 3))
    assert all(abs(mean(results, group="123", chart=t, **alone) - 1 / 3) < 0.1 for t in (1, 2, 3))


def test_the_merged_space_is_like_that_of_the_network_trained_on_everything(results):
    about = {"metric": "unbiased-cka", "row": "RLSA, told", "setting": "shared samples"}
    assert mean(results, of="total", **about) > 0.85
    assert mean(results, of="shared", **about) > mean(results, of="novel", **about)


def test_separability_orders_as_in_the_paper(results):
    rows = ("RLSA, told", "end-to-end", "naive, told")
    found = [mean(results, metric="separability", row=row, setting="shared samples") for row in rows]
    assert found[0] > found[1] > found[2]


def test_one_network_forgets_and_charts_do_not(results):
    last = {"step": "tasks", "of": "classes so far", "task": 5}
    assert mean(results, row="one network, task after task", **last) < 0.4
    assert mean(results, row="heads of their own, weighed", **last) > 0.75
    assert mean(results, row="whitened, with a head on all items", **last) > 0.95


def test_sums_over_items_of_clients_do_as_well_as_the_items(results):
    rows = ("sums over items, added up", "the same on all items in one place")
    added, together = (mean(results, of="clients", row=row) for row in rows)
    assert added == pytest.approx(together, abs=0.003)
    assert added > mean(results, of="clients", row="a client alone") + 0.6


def test_pictures_are_drawn(ran):
    drawn = {"accuracy-digits.png", "weights-digits.png", "spaces-digits.png", "tasks.png"}
    assert drawn <= {path.name for path in ran[1].glob("*.png")}


@pytest.fixture(scope="module")
def controls(tmp_path_factory):
    return shared_run("controls", tmp_path_factory)[0]


def test_no_network_at_all_is_read_as_well_as_whitened_charts(controls):
    frozen = mean(controls, row="no network", setting="any")
    for setting in ("shared samples", "nothing shared"):
        assert frozen > mean(controls, row="whitened", setting=setting) - 0.02
        assert mean(controls, row="whitened, and no network", setting=setting) > mean(
            controls, row="end-to-end", setting="any"
        )


@pytest.fixture(scope="module")
def ensembles(tmp_path_factory):
    return shared_run("ensembles", tmp_path_factory)[0]


def test_several_networks_and_a_wide_one_are_ahead_of_one_network(controls, ensembles):
    alone = mean(controls, row="end-to-end", setting="any")
    assert mean(ensembles, row="as many networks, end-to-end, whitened") > alone
    assert mean(ensembles, row="end-to-end, as wide as all") > alone


def test_tasks_that_come_one_by_one_and_clients_need_no_trained_networks(controls):
    last = {"step": "tasks", "of": "classes so far", "task": 5}
    for row in ("untrained networks", "no network"):
        assert mean(controls, row=row, **last) > mean(controls, row="trained networks", **last) - 0.02
    assert mean(controls, row="untrained networks", of="clients") > mean(controls, row="trained networks", of="clients")


def test_the_networks_of_each_setting_and_of_the_controls_are_named_by_hash(results, controls, ensembles):
    for rows, networks in ((results, 5), (controls, 4), (ensembles, 2)):
        found = values(rows, metric="sha256")
        assert len(set(found)) == len(found) == networks
        assert all(len(digest) == 12 for digest in found)
