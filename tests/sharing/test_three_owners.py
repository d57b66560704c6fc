"""Three owners who share no data: one publishes encoders and maps, one a head, and a third uses them in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hubtools import CLIENT_WARNS, environment
from processtools import Forked

import atlas

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS
YOU = "hf_you_write"
# The encoders of the first owner: random features of pixels, each of its own width.
WIDTHS = {"one": 40, "two": 44, "three": 48}


def random_features(name: str, width: int, folder: Path) -> atlas.Encoder:
    """Return a network of one layer of random weights."""
    from atlas.storage.tensors import save_tensors

    g = torch.Generator().manual_seed(width)
    tensors = {"0.weight": torch.randn(width, 64, generator=g) / 8, "0.bias": torch.randn(width, generator=g) / 4}
    save_tensors(folder / f"{name}.safetensors", tensors)
    layers = [{"type": "linear", "in_features": 64, "out_features": width}, {"type": "relu"}]
    encoder = atlas.create(atlas.Encoder, "network", layers=layers, weights=str(folder / f"{name}.safetensors"))
    encoder.stored_id = name
    return encoder


@pytest.fixture
def published(hub, tmp_path: Path) -> dict[str, Any]:
    """The Hub with three encoders and two maps of one owner, with moments, and the head of another; and its figures."""
    digits = atlas.read_vectors("digits-train")
    fit, held_out = torch.arange(900), torch.arange(900, len(digits))
    views = {}
    for name, width in WIDTHS.items():
        encoder = random_features(name, width, tmp_path)
        atlas.push(encoder, f"tester/{name}", license="mit")
        views[name] = atlas.encode(encoder, digits)
    for source, target in (("one", "two"), ("two", "three")):
        train = {"source": views[source].take(fit), "target": views[target].take(fit)}
        test = {"source": views[source].take(held_out), "target": views[target].take(held_out)}
        made = atlas.fit("linear", **train)
        made = made.with_card(metrics=atlas.evaluate(made, **test, metrics=["r2"]), license="mit")
        made.save_pretrained(tmp_path / made.id)
        atlas.push(tmp_path / made.id, f"tester/{source}-to-{target}", with_moments=atlas.moments(**train))
    head = atlas.train("linear", views["three"].take(fit))
    figures = atlas.evaluate(head, vectors=views["three"].take(held_out))
    head.with_card(metrics=figures, license="mit").push_to_hub("you/head", token=YOU)
    return {"own": figures[0].value}


def run(hub, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a command as somebody who has nothing but the program, and return its status and what it says."""
    home = folder / "elsewhere"
    home.mkdir(exist_ok=True)
    there = environment(hub, home, HF_TOKEN="", ATLAS_REGISTRY="")
    process = Forked([*arguments], cwd=home, env=there)
    return process.wait(), *process.communicate()


def test_one_line_joins_encoder_route_and_head_of_three_owners(hub, published, tmp_path: Path) -> None:
    line = "stitch", "hf://tester/one", "hf://you/head", "digits-test"
    status, stdout, stderr = run(hub, tmp_path, *line, "--hub", "--json")
    assert status == 0, stderr
    figures = {figure["name"]: figure for figure in json.loads(stdout)}
    predicted, measured = figures["estimated accuracy"]["value"], figures["accuracy"]["value"]
    assert measured > 0.7 > 0.4 > figures["accuracy"]["floor"]
    assert 0.5 < predicted <= measured + 0.02
    assert predicted < published["own"]
    assert "one__two__linear, then two__three__linear: estimated r2" in stderr

    # A table shows both side by side.
    rows = [row.split() for row in run(hub, tmp_path, *line, "--hub")[1].splitlines()]
    assert [row[0] for row in rows if row] == ["metric", "estimated", "accuracy"]
    assert len(rows[1]) == 3  # An estimate is of no items.

    # Without the Hub, nothing joins them.
    status, _, stderr = run(hub, tmp_path, *line)
    assert status == 1 and "Head 'three__linear' reads" in stderr
