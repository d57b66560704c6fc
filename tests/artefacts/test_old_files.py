"""Files that were written once are read for ever: one folder for each format, never written again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atlas import Moments, fit, load
from atlas.storage.registry import Registry

FORMAT_1 = Path(__file__).parents[1] / "data" / "format-1"
WEIGHT = torch.tensor([[1.0, 2], [0, -1], [3, 1]])


def test_every_folder_of_format_1_is_sound():
    found = Registry(FORMAT_1).check()
    assert {folder.name for folder in found} == {"vectors", "moments", "map", "map-with-domain"}
    assert set(map(len, found.values())) == {0}


@pytest.mark.parametrize("name", ["map", "map-with-domain"])
def test_maps_of_format_1_map_as_they_did(name):
    made, vectors = load(FORMAT_1 / name), load(FORMAT_1 / "vectors")
    torch.testing.assert_close(made.aligner.state["weight"], WEIGHT, rtol=0, atol=5e-3)
    torch.testing.assert_close(made(vectors).data, vectors.data @ WEIGHT + torch.tensor([1.0, -2]), rtol=0, atol=0.25)
    assert (made.domain is not None) == (name == "map-with-domain")


def test_moments_and_domains_of_format_1_say_what_they_said():
    m, made = Moments.from_pretrained(FORMAT_1 / "moments"), load(FORMAT_1 / "map-with-domain")
    assert (m.n, m.sums.n_distinct, m.source.id, m.dataset) == (60, 60, "golden-a", "golden")
    torch.testing.assert_close(fit("linear", moments=m).aligner.state["weight"], WEIGHT, rtol=0, atol=5e-3)
    assert made.domain.level == pytest.approx(3 / 60, rel=0.02) and made.domain.fresh == 60
    errors = made.confidence(load(FORMAT_1 / "vectors"))
    assert float(errors.square().mean().sqrt()) == pytest.approx(made.domain.error, rel=1e-4)
