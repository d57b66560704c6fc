"""Exporters: what is written where, what is refused, and heads and networks that encoders bring along."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from plugintools import look_again
from torch import nn

import atlas
from atlas import AtlasError

pytest_plugins = ["plugin_fixtures"]

PLUGIN = '''
import json
from dataclasses import dataclass
import atlas

@dataclass
class Shape(atlas.Exporter):
    """Write the shape of a map."""
    name = "shape"
    writes = (".json",)
    stitched = True

    indent: int = atlas.option(1, help="Spaces before a line")

    def _export(self, model, path):
        if isinstance(model, atlas.Alignment):
            found = [model.source.dim, model.target.dim]
        else:
            found = [model.encoder.dim, len(model.classes)]
            model.encoder.module()
        if self.indent < 0:
            path.write_text("half a")
            raise self.fail(f"needs an indent of 0 or more, got {self.indent}")
        path.write_text(json.dumps(found, indent=self.indent))

@dataclass
class Pages(Shape):
    """Write a folder."""
    name = "pages"
    writes = ()
    stitched = False

    def _export(self, model, path):
        super()._export(model, path / "page.json")

@dataclass
class Own(atlas.Encoder):
    """Take arrays as they are, and carry a head."""
    name = "own"
    width: int = atlas.option(2, help="Width")

    @property
    def dim(self):
        return self.width

    def _encode(self, batch, device):
        return batch.float()

    def _head(self):
        from atlas.models.heads import HEADS
        import torch
        if self.width != 2:
            raise self.fail("carries a head of 2 dimensions - set width to 2")
        return HEADS["linear"]().load_state_dict({"weight": torch.eye(2), "bias": torch.zeros(2)}), ["left", "right"]

@atlas.hookimpl
def register_exporters():
    return [Shape, Pages]

@atlas.hookimpl
def register_encoders():
    return [Own]
'''
MAP = "digits-conv__digits-mlp-s0__procrustes"


@pytest.fixture
def exporting(plant: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, with a plugin of exporters installed."""
    plant("exporting", PLUGIN)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def test_an_alignment_is_written_where_it_was_asked_for(exporting, atlas_command):
    said = atlas_command("export", "shape", MAP, "--out", "new/map.json", "-o", "indent", "0")
    assert said.stderr == f"Wrote alignment '{MAP}' for shape to new/map.json\n"
    assert json.loads(Path("new/map.json").read_text()) == [64, 32]
    assert [path.name for path in exporting.rglob("*")] == ["new", "map.json"]


def test_a_folder_is_written_whole(exporting):
    assert atlas.export("pages", atlas.load(MAP), "folder") == Path("folder")
    assert [path.name for path in Path("folder").iterdir()] == ["page.json"]
    with pytest.raises(AtlasError, match="'folder' exists - choose the name of a new folder"):
        atlas.export("pages", atlas.load(MAP), "folder", overwrite=True)


def test_a_stitched_model_is_written(exporting, atlas_command):
    parts = ("digits-conv", MAP, "digits-mlp-s0__linear")
    said = atlas_command("export", "shape", *parts, "--out", "model.json")
    assert said.stderr == f"Wrote stitched model with alignment '{MAP}' for shape to model.json\n"
    assert json.loads(Path("model.json").read_text()) == [64, 10]


def test_two_parts_are_wrong_usage(exporting, atlas_command):
    said = atlas_command("export", "shape", "digits-conv", MAP, "--out", "model.json", status=2)
    assert "Expected ALIGNMENT alone, or ENCODER ALIGNMENT HEAD, got 2 arguments" in said.stderr


def test_what_fails_leaves_nothing(exporting):
    with pytest.raises(AtlasError, match="needs an indent of 0 or more, got -1"):
        atlas.export("shape", atlas.load(MAP), "map.json", indent=-1)
    assert list(exporting.iterdir()) == []


def test_a_file_is_replaced_where_that_is_asked_for(exporting, atlas_command):
    Path("map.json").write_text("kept")
    said = atlas_command("export", "shape", MAP, "--out", "map.json", status=1)
    assert said.stderr == "Error: 'map.json' exists - choose another name, or pass --overwrite (overwrite=True)\n"
    assert Path("map.json").read_text() == "kept"
    atlas_command("export", "shape", MAP, "--out", "map.json", "--overwrite")
    assert json.loads(Path("map.json").read_text()) == [64, 32]


@pytest.mark.parametrize(
    ("exporter", "out", "sentence"),
    [
        ("shape", "map.txt", "Exporter 'shape' writes a file, got 'map.txt' - give it the ending .json"),
        ("shape", "map", "Exporter 'shape' writes a file, got 'map' - give it the ending .json"),
        ("shapes", "map.json", "Unknown exporter 'shapes' - did you mean 'shape'?"),
    ],
)
def test_a_wrong_name_is_told(exporting, atlas_command, exporter, out, sentence):
    assert sentence in atlas_command("export", exporter, MAP, "--out", out, status=1).stderr


def test_a_folder_in_place_of_the_file_is_told(exporting):
    Path("map.json").mkdir()
    with pytest.raises(AtlasError, match=r"'map\.json' is a folder, not a file"):
        atlas.export("shape", atlas.load(MAP), "map.json", overwrite=True)


def test_stitched_models_are_refused_by_what_writes_alignments(exporting):
    head = atlas.load("digits-mlp-s0__linear")
    with pytest.raises(AtlasError, match="Exporter 'pages' writes alignments, not stitched models"):
        atlas.export("pages", atlas.stitch(atlas.load("digits-conv"), atlas.load(MAP), head), "folder")


def test_exporters_are_listed(exporting, atlas_command):
    assert "Write the shape of a map." in atlas_command("exporters").stdout
    assert "Spaces before a line" in atlas_command("exporters", "show", "shape").stdout
    assert "exporter shape and pages" in atlas_command("plugins").stdout


def test_without_exporters_a_listing_says_so(plant, atlas_command, monkeypatch):
    monkeypatch.setenv("ATLAS_PLUGINS", "")
    look_again()
    assert atlas_command("exporters").stderr == "No exporter is installed\n"


def test_a_network_is_a_module_that_gives_the_vectors_of_its_encoder():
    encoder = atlas.load("digits-conv")
    items = atlas.read_vectors("digits-test").data[:5].float()
    assert isinstance(encoder.module(), nn.Module)
    torch.testing.assert_close(encoder.module()(items), torch.cat(list(encoder.encode(items))), rtol=0, atol=0)


def test_an_encoder_that_is_no_network_says_so():
    with pytest.raises(AtlasError, match="Encoder 'pixels' is no network from tensors to vectors"):
        atlas.create(atlas.Encoder, "pixels").module()


def test_a_head_that_an_encoder_carries_is_stitched_by_the_name_of_its_space(exporting, atlas_command):
    atlas.save(atlas.create(atlas.Encoder, "own"), "own")
    X, classes = torch.tensor([[2.0, 1.0], [1.0, 2.0], [3.0, 0.0]]), ["left", "right"]
    items = atlas.Vectors.of(X, "items", labels=[0, 1, 0], classes=classes)
    atlas.save(items, "items")
    atlas_command("stitch", "own", "own", "items", "--out", "said.csv")
    predicted = [line.split(",")[1] for line in Path("said.csv").read_text().splitlines()[1:]]
    assert predicted == ["left", "right", "left"]
    head = atlas.Head.of_encoder(atlas.load("own"))
    assert (head.id, head.classes, head.space.fingerprint) == (
        "own__own",
        ("left", "right"),
        atlas.load("own").space().fingerprint,
    )


def test_a_recipe_takes_the_head_of_an_encoders_space(exporting, atlas_command):
    items = atlas.Vectors.of(torch.tensor([[2.0, 1.0], [1.0, 2.0]]), "items", labels=[0, 1], classes=["left", "right"])
    atlas.save(items, "items")
    Path("recipe.yaml").write_text("""
format: 1
steps:
  vectors: {verb: encode, encoder: own, input: ./items}
  same: {verb: fit, aligner: identity, source: {step: vectors}, target: {step: vectors}}
  said: {verb: stitch, encoder: {step: vectors}, head: {step: vectors}, input: ./items}
  measured: {verb: evaluate, alignment: {step: same}, source: {step: vectors}, target: {step: vectors},
    head: {step: vectors}, metrics: [accuracy]}
""")
    atlas_command("run", "recipe.yaml", "--out", "results")
    found = json.loads(Path("results/results.json").read_text())["results"]
    assert [one["value"] for one in found] == [1.0, 1.0]


def test_an_encoder_without_a_head_says_so(atlas_command):
    said = atlas_command("stitch", "digits-conv", "digits-conv", "digits-test", status=1)
    assert said.stderr == ("Error: Encoder 'network' carries no head - train one with 'atlas train', or give another\n")
