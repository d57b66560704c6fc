"""Moments on a Hub: by themselves and beside a map, which a stranger fits again with pairs of their own."""

from __future__ import annotations

import pytest
import torch
from conftest import space_of
from hubtools import CLIENT_WARNS, upload

from atlas import Moments, Vectors, fit, load, moments, pull, push
from atlas.cards.folder import CARD, MODEL
from atlas.errors import AtlasError, CardError, NotFoundError
from atlas.hub.cache import MOMENTS
from atlas.sharing.verifying import verify
from atlas.testing.promises import paired_data

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS


@pytest.fixture
def views():
    X, Y = paired_data(n=500, d_source=6, d_target=4)
    ids = [f"item {i}" for i in range(len(X))]
    return Vectors.of(X, space_of("a", 6), ids=ids, dataset="toy"), Vectors.of(
        Y, space_of("b", 4), ids=ids, dataset="toy"
    )


def part(views, start, stop):
    return {name: v.take(torch.arange(start, stop)) for name, v in zip(("source", "target"), views, strict=True)}


def test_moments_come_back_from_a_hub_without_the_hashes_of_their_rows(hub, repo, views, tmp_path):
    made = moments(**part(views, 0, 500))
    made.save_pretrained(tmp_path / "m")
    done = push(tmp_path / "m", repo)
    assert {*done.files} == {CARD, MODEL, "README.md"}
    found = Moments.from_pretrained(done.pinned)
    assert found.n == found.n_public == found.sums.n_distinct == 500 and len(found.sums.rows) == 0
    assert torch.equal(found.sums.xy, made.sums.xy)
    # What lies here is as it was.
    assert len(load(tmp_path / "m").sums.rows) == 500
    assert push(made, repo).changed == push(tmp_path / "m", repo).changed == made.push_to_hub(repo).changed == ()
    assert [check.ok for check in verify(done.pinned)] == [True] * 5
    assert "in sums over 500 pairs of vectors of toy" in done.readme
    assert "atlas.fit('linear', moments=moments)" in done.readme


def test_moments_that_give_rows_away_are_pushed_only_if_asked_for(hub, repo, views, tmp_path):
    few = moments(**part(views, 0, 30))
    few.save_pretrained(tmp_path / "m")
    for given in (few, tmp_path / "m"):
        with pytest.raises(AtlasError, match=r"would give away the 30 distinct rows .* - publish them with --few"):
            push(given, repo)
    with pytest.raises(AtlasError, match="would give away the 30 distinct rows"):
        few.push_to_hub(repo)
    with pytest.raises(NotFoundError):
        pull(repo)
    assert push(tmp_path / "m", repo, few=True).commit


def test_a_map_whose_domain_gives_rows_away_is_pushed_only_if_asked_for(hub, repo, views, tmp_path):
    made = fit("linear", **part(views, 0, 30), confidence=True)
    made.save_pretrained(tmp_path / "map")
    with pytest.raises(AtlasError, match="The domain of alignment 'a__b__linear' would give away the 30 distinct rows"):
        push(tmp_path / "map", repo)
    assert push(tmp_path / "map", repo, few=True).commit


def test_a_stranger_fits_a_map_again_with_pairs_of_their_own(hub, repo, views, tmp_path):
    theirs = part(views, 0, 400)
    known = moments(**theirs)
    fit("linear", moments=known, id="theirs").save_pretrained(tmp_path / "map")
    done = push(tmp_path / "map", repo, with_moments=known, license="mit")
    assert {*done.files} == {CARD, MODEL, "README.md", *MOMENTS}
    assert f"atlas fit linear --moments hf://{repo} --source YOUR_SOURCE" in done.readme
    assert "sums over 400 pairs" in done.readme
    found = fit("linear", moments=f"hf://{repo}", **part(views, 400, 500))
    whole = fit("linear", **part(views, 0, 500))
    for name, t in whole.aligner.state.items():
        torch.testing.assert_close(found.aligner.state[name], t, rtol=1e-6, atol=1e-6)
    assert found.n_pairs == 500
    assert ("moments", True, "those beside it are of 400 pairs") in [
        (c.name, c.ok, c.said) for c in verify(done.pinned)
    ]
    # The map itself is pulled as before, without them; a later push of the map alone leaves them there.
    assert load(f"hf://{repo}").id == "theirs" and not (pull(repo).folder / "moments" / "model.md").exists()
    again = push(tmp_path / "map", repo, license="mit")
    assert again.changed == () and "sums over 400 pairs" in again.readme
    assert fit("procrustes", moments=done.pinned).n_pairs == 400


def test_moments_beside_a_map_are_pulled_once_and_used_without_a_network(hub, repo, views, tmp_path, monkeypatch):
    known = moments(**part(views, 0, 400))
    push(fit("linear", moments=known), repo, with_moments=known)
    fit("linear", moments=f"hf://{repo}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert fit("linear", moments=f"hf://{repo}").n_pairs == 400


def test_a_copy_of_a_map_brings_the_moments_beside_it(hub, repo, views, tmp_path, atlas_command):
    known = moments(**part(views, 0, 400))
    push(fit("linear", moments=known), repo, with_moments=known)
    atlas_command("pull", f"hf://{repo}", "--to", tmp_path / "copy")
    assert load(tmp_path / "copy").n_pairs == 400
    assert fit("procrustes", moments=tmp_path / "copy" / "moments").n_pairs == 400
    push(fit("linear", moments=known), f"{repo}-alone")
    atlas_command("pull", f"hf://{repo}-alone", "--to", tmp_path / "alone")
    assert sorted(path.name for path in (tmp_path / "alone").iterdir()) == sorted([CARD, MODEL])


def test_moments_that_are_not_those_of_the_map_are_not_published_beside_it(hub, repo, views):
    made = fit("linear", **part(views, 0, 500))
    with pytest.raises(AtlasError, match="Alignment 'a__b__linear' has the source 'a', but the moments are of 'b'"):
        push(made, repo, with_moments=moments(source=views[1], target=views[0]))
    with pytest.raises(AtlasError, match="Moments are published beside an alignment alone - publish them by themselve"):
        push(views[0], repo, with_moments=moments(**part(views, 0, 500)))
    with pytest.raises(AtlasError, match="would give away the 30 distinct rows"):
        push(made, repo, with_moments=moments(**part(views, 0, 30)))


def test_a_map_without_moments_beside_it_says_so(hub, repo, views):
    push(fit("linear", **part(views, 0, 500)), repo)
    with pytest.raises(NotFoundError, match="is an alignment without moments beside it - ask who published it"):
        fit("linear", moments=f"hf://{repo}")


def test_hostile_moments_beside_a_map_are_refused(hub, repo, views, tmp_path):
    known = moments(**part(views, 0, 400))
    push(fit("linear", moments=known), repo, with_moments=known)
    other = moments(**part(views, 0, 100))
    other.save_pretrained(tmp_path / "m")
    upload(repo, {MOMENTS[1]: (tmp_path / "m" / MODEL).read_bytes()})
    with pytest.raises(CardError, match="does not match its card"):
        fit("linear", moments=f"hf://{repo}")
    assert next(check.said for check in verify(f"hf://{repo}") if check.ok is False).startswith(f"hf://{repo}")
    upload(repo, {MOMENTS[0]: b"kind: moments\n"})
    with pytest.raises(CardError, match="Field 'format' must be"):
        fit("linear", moments=f"hf://{repo}")
