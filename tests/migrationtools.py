"""A migration of any store, for tests of plugins: done, taken back, cut off as a server goes away, and made final."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import atlas
from atlas.artefacts.sources.stores import batches, opened
from atlas.components.store import SHADOW, VECTORS
from atlas.errors import AtlasError
from atlas.migration.acting.plan import planned

N, D, K, QUERIES = 300, 6, 9, 40
_random = np.random.default_rng(0)
OLD = _random.normal(size=(N, D)).astype("float32")
NEW = (OLD @ _random.normal(size=(D, K)) + 1).astype("float32")


def plan_for(url: str, folder: Path, ids: list[str]) -> Path:
    """Advise on a store that holds OLD, with queries near its documents, and write the plan."""
    pytest.importorskip("ir_measures", reason="needs latent-atlas[migrate]")
    space = atlas.Space("new", K, "planted", {"model": "new"})
    some = range(0, N, 2)
    atlas.Vectors.of(NEW[::2], space, ids=[ids[i] for i in some]).save_pretrained(folder / "new.safetensors")
    queries = atlas.Vectors.of(NEW[:QUERIES] * 1.01, space, ids=[f"q{i}" for i in range(QUERIES)])
    queries.save_pretrained(folder / "queries.safetensors")
    given = {"old": url, "new": str(folder / "new.safetensors"), "queries_new": str(folder / "queries.safetensors")}
    given["gate"] = "ndcg@10>=0.9"
    plan = planned(atlas.advise(**given, aligners=["linear"]), given)
    assert plan is not None and plan.way == "convert"
    plan.write(folder / "plan.yaml")
    return folder / "plan.yaml"


def content(url: str, place: str = VECTORS) -> dict[str, bytes]:
    """Return the vectors of a place by id."""
    with opened(url) as store:
        if not store.dim(place):
            return {}
        return {
            i: v.tobytes() for batch in batches(store, place) for i, v in zip(batch.ids, batch.vectors, strict=True)
        }


def check_migration(url: str, ids: list[str], folder: Path) -> None:
    """Carry out a plan, take it back, carry it out with native vectors, and make it final."""
    plan, before = plan_for(url, folder, ids), content(url)
    found = atlas.Migration(plan).run()
    assert (found.stage, found.rows, found.total, found.native) == ("switched", N, N, 0)
    assert content(url) != before and content(url, SHADOW) == before
    assert atlas.Migration(plan).rollback().stage == "planned"
    assert content(url) == before and not content(url, SHADOW)
    atlas.Migration(plan).add(folder / "new.safetensors")
    assert atlas.Migration(plan).run().native == N // 2
    assert atlas.Migration(plan).commit().stage == "committed"
    assert not content(url, SHADOW)
    kept = atlas.read_vectors(url)
    due = dict(zip(ids, NEW, strict=True))
    cosines = [
        float(v @ due[i] / np.linalg.norm(v) / np.linalg.norm(due[i]))
        for i, v in zip(kept.ids, kept.data.numpy(), strict=True)
    ]
    assert min(cosines) > 0.999


def check_that_it_goes_on(url: str, ids: list[str], folder: Path, cut: Callable[[], Any], monkeypatch: Any) -> None:
    """Cut a run off after the first batches, and see that nothing was switched to, and that the next one ends it.

    Args:
        url: of a store that holds OLD.
        ids: of its rows.
        folder: an empty one.
        cut: takes the server away, or raises as a driver does.
        monkeypatch: of pytest.
    """
    plan, before, puts = plan_for(url, folder, ids), content(url), []
    with opened(url) as store:
        cls = type(store)
    put = cls.put

    def interrupted(self: Any, batch: Any) -> None:
        if len(puts) == 2:
            puts.append(0)
            cut()
        puts.append(len(batch))
        put(self, batch)

    monkeypatch.setattr(cls, "rows", 50)
    monkeypatch.setattr(cls, "put", interrupted)
    with pytest.raises((AtlasError, OSError)):
        atlas.Migration(plan).run()
    assert content(url) == before
    assert atlas.Migration(plan).status().stage == "mapping"
    assert atlas.Migration(plan).resume().stage == "switched"
    assert content(url, SHADOW) == before
