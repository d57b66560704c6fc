"""Routes over published maps: the best is found, told of before it is applied, and applied as one alignment."""

from __future__ import annotations

import itertools
import json
import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hubtools import CLIENT_WARNS

import atlas
from atlas.cards.kinds import AlignmentCard, Metric
from atlas.cards.space import Space
from atlas.errors import AtlasError, AtlasWarning, NotFoundError, SpaceMismatchError
from atlas.routes.edges import Edge, edges
from atlas.routes.noise import figure_of, noise_of
from atlas.routes.paths import Graph
from atlas.storage.registry import FOLDERS
from atlas.verbs.aggregate import chart
from atlas.verbs.route import find_route, followed, scaled

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS
FIGURES = Path(__file__).parents[2] / "docs" / "zoo"
DIMS = {"a": 8, "b": 10, "c": 9, "d": 8}
FIT, TEST = torch.arange(400), torch.arange(400, 600)


@pytest.fixture(scope="module")
def views() -> dict[str, Any]:
    """Vectors of the same items in four spaces, each with noise of its own."""
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(600, 6, generator=generator, dtype=torch.float64)
    made = {}
    for noise, (name, dim) in zip((0.2, 0.05, 0.3, 0.1), DIMS.items(), strict=True):
        X = latent @ torch.randn(6, dim, generator=generator, dtype=torch.float64)
        X = X + noise * X.std() * torch.randn(600, dim, generator=generator, dtype=torch.float64)
        space = atlas.Space(name, dim, "planted", {"name": name})
        made[name] = atlas.Vectors.of(X, space, ids=[f"i{i}" for i in range(600)], dataset="planted")
    return made


def put(root: Path, made: Any, **fields: Any) -> Any:
    made = made.with_card(**fields)
    made.save_pretrained(root / FOLDERS[made.kind] / made.id)
    return made


def measured(made: Any, views, source: str, target: str, **fields: Any) -> Any:
    held = {"source": views[source].take(TEST), "target": views[target].take(TEST)}
    return made.with_card(metrics=atlas.evaluate(made, **held, metrics=["r2"]), **fields)


def fitted(views, source: str, target: str, method: str = "linear", rows: torch.Tensor = FIT, **fields: Any) -> Any:
    made = atlas.fit(method, source=views[source].take(rows), target=views[target].take(rows))
    return measured(made, views, source, target, **fields)


@pytest.fixture
def zoo(views, tmp_path: Path, monkeypatch) -> Path:
    """A registry: good maps a to b and b to c, a bad one from a to c, one from d to c, and vectors of a."""
    root = tmp_path / "zoo"
    put(root, fitted(views, "a", "b", license="mit"))
    put(root, fitted(views, "b", "c", license="cc-by-4.0"))
    put(root, fitted(views, "a", "c", rows=FIT[:12]))
    put(root, fitted(views, "d", "c", method="procrustes", license="mit"))
    views["a"].take(TEST).save_pretrained(root / "vectors" / "mine")
    monkeypatch.setenv("ATLAS_REGISTRY", str(root))
    return root


def way(found) -> list[str]:
    return [edge.name for edge in found[0].edges]


def test_a_bad_map_loses_to_two_good_ones(zoo: Path, views) -> None:
    made = atlas.route("a", "c")
    assert way(find_route("a", "c")) == ["a__b__linear", "b__c__linear"]
    held = {"source": views["a"].take(TEST), "target": views["c"].take(TEST)}
    through = atlas.evaluate(made, **held, metrics=["r2"])[0].value
    direct = atlas.evaluate("a__c__linear", **held, metrics=["r2"])[0].value
    [estimated] = made.metrics
    assert direct < through
    assert (estimated.name, estimated.dataset) == ("estimated r2", "planted")
    assert estimated.value == pytest.approx(through, abs=0.06)
    assert [part.id for part in made.parts] == ["a__b__linear", "b__c__linear"]
    assert all(part.sha256 for part in made.parts)
    assert (made.license, made.n_pairs) == ("cc-by-4.0 AND mit", 400)
    # It is one map, and the same as the two after one another.
    both = atlas.load("b__c__linear")(atlas.load("a__b__linear")(views["a"]))
    torch.testing.assert_close(made(views["a"]).data, both.data, rtol=1e-4, atol=1e-4)


def test_a_figure_of_items_fitted_on_does_not_count(zoo: Path, views) -> None:
    bad = atlas.load("a__c__linear")
    own = {"source": views["a"].take(FIT[:12]), "target": views["c"].take(FIT[:12])}
    [figure] = atlas.evaluate(bad, **own, metrics=["r2"])
    assert (figure.value > 0.95, figure.overlap) == (True, 12)
    bad.with_card(metrics=(figure,)).save_pretrained(zoo / "alignments" / bad.id, overwrite=True)
    assert len(way(find_route("a", "c"))) == 2
    # A card can hide it, and is believed until it is verified.
    lies = (replace(figure, overlap=0),)
    bad.with_card(metrics=lies).save_pretrained(zoo / "alignments" / bad.id, overwrite=True)
    assert way(find_route("a", "c")) == ["a__c__linear"]


def test_maps_are_run_backwards_where_they_can_be(zoo: Path, views) -> None:
    assert way(find_route("a", "d")) == ["a__b__linear", "b__c__linear", "d__c__procrustes, backwards"]
    made = atlas.route("a", "d", id="there")
    assert (made.id, [part.inverse for part in made.parts]) == ("there", [False, False, True])
    assert made(views["a"]).space.id == "d"
    # One that cannot be is found out when it is loaded; the next best way is taken.
    put(zoo, fitted(views, "b", "d", method="mlp", id="curved"))
    put(
        zoo,
        atlas.fit("mlp", source=views["d"].take(FIT), target=views["a"].take(FIT), steps=5),
        metrics=(Metric("r2", 1.0),),
    )
    assert way(find_route("a", "d")) == ["d__a__mlp, backwards"]
    assert [part.id for part in atlas.route("a", "d").parts] == ["a__b__linear", "curved"]


def test_relative_halves_make_a_route(views, tmp_path: Path, monkeypatch) -> None:
    for name in "ad":
        put(tmp_path, atlas.fit("relative", source=views[name].take(FIT[:100])))
    monkeypatch.setenv("ATLAS_REGISTRY", str(tmp_path))
    made = atlas.route("a", "d")
    assert [(part.method, part.inverse) for part in made.parts] == [("relative", False), ("relative", True)]
    assert made.metrics == ()
    assert made(views["a"]).space.id == "d"


def test_charts_make_a_route(views, tmp_path: Path, monkeypatch) -> None:
    made = atlas.aggregate("generalized-procrustes", *(views[name].take(FIT) for name in "abd"), id="three")
    figures = tuple(Metric("r2", value, split=name) for name, value in (("a", 0.9), ("d", 0.8)))
    put(tmp_path, made, metrics=figures)
    monkeypatch.setenv("ATLAS_REGISTRY", str(tmp_path))
    found, _ = find_route("a", "d")
    assert found.keeps == pytest.approx(0.9 * (2 - 1 / 0.8), abs=0.06)
    assert find_route("a", "b")[0].keeps is None
    there = atlas.route("a", "d")
    assert [(part.id, part.chart, part.inverse) for part in there.parts] == [
        ("three", "a", False),
        ("three", "d", True),
    ]
    by_hand = atlas.compose(chart(made, "a"), chart(made, "d").inverse())
    assert torch.allclose(there(views["a"]).data, by_hand(views["a"]).data, atol=1e-5)


def test_spaces_are_matched_by_fingerprint(zoo: Path, views, tmp_path: Path, monkeypatch) -> None:
    # The same space under another name, and another space under the same name.
    renamed = replace(views["c"].space, id="another-c")
    put(
        zoo,
        fitted({**views, "c": replace(views["c"], card=replace(views["c"].card, space=renamed))}, "d", "c", id="d-c"),
    )
    assert atlas.route("b", "another-c").target.id == "c"
    other = atlas.Space("a", 8, "planted", {"name": "other"})
    put(zoo, atlas.Alignment.of(atlas.load("d__c__procrustes").aligner, other, views["c"].space, "other"))
    with pytest.raises(AtlasError, match="'a' is the id of 2 spaces - give the folder of vectors of the one you mean"):
        atlas.route("a", "c")
    for given in (zoo / "vectors" / "mine", views["a"], views["a"].space, "mine"):
        assert len(way(find_route(given, "c"))) == 2
    assert way(find_route(other, "c")) == ["other"]


def test_what_there_is_not_is_told(zoo: Path, views) -> None:
    with pytest.raises(NotFoundError, match="No map is from or to a space 'digits-konv' - did you mean 'digits-conv'"):
        atlas.route("digits-konv", "c")
    with pytest.raises(NotFoundError, match="No maps lead from 'a' to 'digits-conv' - fit one, or look on the Hub"):
        atlas.route("a", "digits-conv")
    with pytest.raises(AtlasError, match="'a' and 'a' are the same space - no map is needed"):
        atlas.route("a", "mine")
    with pytest.raises(AtlasError, match="is of kind alignment - give the id of a space, or vectors of it"):
        atlas.route(atlas.load("a__b__linear"), "b")


def test_other_figures_and_data_sets_can_be_gone_by(zoo: Path, views) -> None:
    one = atlas.load("a__c__linear")
    figures = (Metric("recall@10", 0.9, dataset="rare"), *one.metrics)
    one.with_card(metrics=figures).save_pretrained(zoo / "alignments" / one.id, overwrite=True)
    assert find_route("a", "c", metric="recall@10")[0].keeps == 0.9
    assert find_route("c", "a", metric="recall@10")[0].keeps == 0.9
    assert find_route("a", "c", dataset="rare")[0].keeps is None
    assert atlas.route("a", "c", metric="recall@10").metrics[0].name == "estimated recall@10"


def test_an_encoder_and_a_head_that_do_not_meet_are_joined_by_a_route(zoo: Path, views) -> None:
    words = atlas.create(atlas.Encoder, "precomputed", {"model": "mine"}).fit(views["a"].data)
    space = words.space()
    labels = (views["c"].data[:, 0] > 0).long()
    labelled = atlas.Vectors.of(views["c"].data, views["c"].space, labels=labels, classes=["no", "yes"])
    head = atlas.train("linear", labelled)
    with pytest.raises(SpaceMismatchError, match="Head 'c__linear' reads 'c', but the encoder's vectors are of 'mine'"):
        atlas.stitch(words, None, head)
    source = replace(views["a"], card=replace(views["a"].card, space=space))
    put(zoo, fitted({**views, "a": source}, "a", "b", id="mine-b"))
    said = r"'mine' is mapped to 'c' by mine-b, then b__c__linear: estimated r2 0\.[789]\d"
    with pytest.warns(AtlasWarning, match=said):
        model = atlas.stitch(words, None, head)
    right = [model.classes[label] == found for label, found in zip(labels, model.predict(views["a"].data), strict=True)]
    assert sum(right) / len(right) > 0.85
    assert torch.equal(atlas.stitch(words, atlas.route(words, "c"), head)(views["a"].data), model(views["a"].data))


def test_the_command_tells_and_writes(zoo: Path, views, tmp_path: Path, atlas_command) -> None:
    said = atlas_command("route", "mine", "c").stdout.splitlines()
    assert said[0].split() == ["from", "to", "by", "method", "r2", "license", "ref"]
    assert [line.split()[:3] for line in said[1:3]] == [["a", "b", "a__b__linear"], ["b", "c", "b__c__linear"]]
    assert said[-1].startswith("Estimated r2: 0.")
    wrote = atlas_command("route", "a", "d", "--out", tmp_path / "ad", "--json")
    found = json.loads(wrote.stdout)
    assert [step["backwards"] for step in found["steps"]] == [False, False, True]
    assert f"Wrote alignment 'a__d__linear' of 3 maps to {tmp_path / 'ad'}" in wrote.stderr.replace("affine", "linear")
    assert atlas.load(tmp_path / "ad").metrics[0].value == pytest.approx(found["estimated"])
    assert "exists - choose another name" in atlas_command("route", "a", "d", "--out", tmp_path / "ad", status=1).stderr
    unknown = atlas_command("route", "a", "c", "--metric", "mrr").stderr
    assert "has no mrr of held-out items on its card, so the share it keeps is unknown" in unknown


def test_a_listing_tells_what_can_be_done_with_vectors(zoo: Path, views, atlas_command) -> None:
    put(zoo, atlas.aggregate("mean", views["a"].take(FIT), views["d"].take(FIT), id="two"))
    said = atlas_command("list", "--for", "mine", "--registry", zoo).stdout
    lines = [line.rsplit("  ", 1) for line in said.splitlines()]
    assert {line[0].split()[1]: line[1] for line in lines[1:]} == {
        "a__b__linear": "maps them to b",
        "a__c__linear": "maps them to c",
        "two": "maps them to two",
        "mine": "has more of them",
    }
    back = atlas_command("list", "--for", zoo / "vectors" / "mine", "--kind", "head").stderr
    assert "Nothing found" in back
    listed = json.loads(atlas_command("list", "two", "--for", "mine", "--registry", zoo, "--json").stdout)
    assert [card["use"] for card in listed] == ["maps them to two"]


def test_moments_of_the_ends_tell_what_is_kept(zoo: Path, views, atlas_command) -> None:
    rough = atlas.route("a", "c").metrics[0].value
    put(zoo, atlas.moments(source=views["c"].take(TEST), target=views["a"].take(TEST)))
    held = {"source": views["a"].take(TEST), "target": views["c"].take(TEST)}
    made = atlas.route("a", "c")
    real = atlas.evaluate(made, **held, metrics=["r2"])[0].value
    assert made.metrics[0].value == pytest.approx(real, abs=1e-5)
    assert abs(rough - real) > 1e-3
    said = atlas_command("route", "a", "c").stdout.splitlines()[-1]
    assert said == f"Estimated r2: {real:.4f}, by moments 'c__a__moments' of 200 pairs"
    # They tell of R², and of affine maps alone.
    assert find_route("a", "c", metric="recall@10")[0].keeps is None


def test_a_route_is_tried_on_anchors_that_its_ends_share(zoo: Path, views) -> None:
    rough = atlas.route("a", "c", metric="r2").metrics[0].value
    # Fewer tell too little.
    put(zoo, atlas.Anchors.of("few", views["a"].ids[500:550], views["a"], views["c"]))
    assert atlas.route("a", "c").metrics[0].value == rough
    put(zoo, atlas.Anchors.of("shared", views["a"].ids[300:500], views["a"], views["c"]))
    at = torch.arange(300, 500)
    held = {"source": views["a"].take(at), "target": views["c"].take(at)}
    found = followed(find_route("a", "c"))[0]
    real = atlas.evaluate(atlas.route("a", "c"), **held, metrics=["r2"])[0].value
    assert found.keeps == pytest.approx(real, abs=1e-6)
    said = re.fullmatch(r"r2 of the 200 anchors 'shared', of which about (\d+) were fitted on", found.told_by)
    assert said and 50 < int(said[1]) < 150
    # A single map has a figure of its own on its card.
    assert followed(find_route("d", "c"))[0].told_by == "the figures on the cards"


def test_the_nearest_of_a_few_anchors_stand_for_as_large_a_share_of_many() -> None:
    assert scaled("self-recall@10", 256, 3080) == "self-recall@1"
    assert scaled("recall@10", 1000, 3080) == "recall@3"
    assert scaled("recall@10", 1000, 500) == "recall@10"
    assert scaled("r2", 256, 3080) == "r2"


def test_a_route_over_the_hub(hub, repo: str, views, tmp_path: Path, monkeypatch, atlas_command) -> None:
    monkeypatch.setenv("ATLAS_REGISTRY", str(tmp_path / "registry"))
    mark = repo.rpartition("-")[2]
    mine = {
        name: replace(v, card=replace(v.card, space=replace(v.space, identity={"name": name, "of": mark})))
        for name, v in views.items()
    }
    mine["b"].take(TEST).save_pretrained(tmp_path / "registry" / "mine")
    ends = mine["a"].space, mine["c"].space
    pushed = [fitted(mine, *pair).push_to_hub(f"{repo}-{'-'.join(pair)}") for pair in (("a", "b"), ("b", "c"))]
    with pytest.raises(NotFoundError, match="fit one, or look on the Hub"):
        atlas.route(*ends)
    # Maps of any owner are listed by their use for vectors, whose space is known by its fingerprint alone.
    listed = json.loads(atlas_command("list", "--hub", "--for", "mine", "--json").stdout)
    uses = {f"{repo}-a-b": "maps a to them", f"{repo}-b-c": "maps them to c"}
    assert {one["repo"]: one["use"] for one in listed} == uses
    one = atlas_command("list", "--hub", "--for", "mine", "--limit", 1, "--sort", "modified").stdout
    assert one.splitlines()[1].endswith(tuple(uses.values())) and len(one.splitlines()) == 2
    made = atlas.route(*ends, hub=True)
    assert [f"hf://{part.hub}" for part in made.parts] == [one.pinned for one in pushed]
    assert made.metrics[0].value > 0.7
    # Moments that lie beside a map of the ends tell, too.
    few = fitted(mine, "c", "a", rows=FIT[:20])
    about = {"with_moments": atlas.moments(source=mine["c"], target=mine["a"]), "few": True}
    atlas.push(few, f"{repo}-back", **about)
    whole = {"source": mine["a"], "target": mine["c"]}
    again = atlas.route(*ends, hub=True)
    assert again.metrics[0].value == pytest.approx(atlas.evaluate(again, **whole, metrics=["r2"])[0].value, abs=1e-4)
    with pytest.raises(NotFoundError, match=r"No maps lead from 'a' to 'away' - fit one$"):
        atlas.route(ends[0], atlas.Space("away", 8, "planted"), hub=True)


def test_of_many_routes_the_estimates_rank_what_is_measured(views, tmp_path: Path, monkeypatch) -> None:
    """Every route of up to three maps between four spaces, estimated from the cards of its maps, and measured."""
    maps = {pair: fitted(views, *pair) for pair in itertools.permutations(DIMS, 2)}
    steps = {
        (edge.source.id, edge.target.id): edge
        for edge in edges((m.card, "") for m in maps.values())
        if not edge.inverse
    }
    graph = Graph(list(steps.values()))
    estimated, real = [], []
    for n in (2, 3, 4):
        for stops in itertools.permutations(DIMS, n):
            parts = [maps[pair] for pair in itertools.pairwise(stops)]
            estimated.append(graph.keeps([steps[pair] for pair in itertools.pairwise(stops)]))
            made = measured(atlas.compose(*parts), views, stops[0], stops[-1])
            real.append(made.metrics[0].value)
    assert max(abs(a - b) for a, b in zip(estimated, real, strict=True)) < 0.12
    ranks = [torch.tensor(values).argsort().argsort().double() for values in (estimated, real)]
    assert float(torch.corrcoef(torch.stack(ranks))[0, 1]) > 0.9


@pytest.mark.parametrize("metric", ["r2", "self-recall@10"])
def test_the_figures_of_single_maps_rank_the_routes_of_real_encoders(metric: str) -> None:
    """Over the zoo, and over the routes that the rule was chosen on."""
    predicted = runpy.run_path(str(FIGURES / "strangers.py"))["predicted"]
    rows = json.loads((FIGURES / "results.json").read_text(encoding="utf-8"))["rows"]
    measured = [{tuple(row["stops"]): row[metric]["measured"] for row in rows}]
    for found in json.loads((FIGURES / "strangers.json").read_text(encoding="utf-8")).values():
        measured.append({tuple(stops.split()): figures[metric != "r2"] for stops, figures in found.items()})
    for figures in measured:
        pairs = predicted(figures, metric).values()
        ranks = [torch.tensor(values).argsort().argsort().double() for values in zip(*pairs, strict=True)]
        assert float(torch.corrcoef(torch.stack(ranks))[0, 1]) > 0.87


@pytest.mark.parametrize("metric", ["r2", "accuracy"])
def test_noise_is_a_figure_again(metric: str) -> None:
    for figure in (1e-6, 0.2, 0.5, 0.9, 0.9999):
        assert figure_of(noise_of(figure, metric), metric) == pytest.approx(figure, rel=1e-6)
    assert figure_of(noise_of(1.0, metric), metric) == pytest.approx(1.0)


@pytest.mark.parametrize("metric", ["r2", "accuracy"])
def test_a_figure_of_a_route_is_a_share_however_unlike_its_maps_are(metric: str) -> None:
    figures = {"ab": 0.008, "ae": 0.9999, "ba": 0.07, "bc": 0.0098, "bd": 0.26, "be": 0.0064, "db": 0.999, "cb": 0.5}
    spaces = {name: Space(name, 4) for name in "abcde"}
    card = AlignmentCard("x", source=spaces["a"], target=spaces["b"], aligner="linear")
    ways = [Edge(spaces[a], spaces[b], "x", card, keeps=keeps) for (a, b), keeps in figures.items()]
    graph = Graph(ways, metric=metric)
    routes = [(one, two) for one, two in itertools.permutations(ways, 2) if one.target == two.source]
    assert len(routes) > 10 and all(0 < (graph.keeps(route) or 0) <= 1 for route in routes)
