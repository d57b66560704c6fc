from __future__ import annotations

import csv
import json

import pytest
import torch
from conftest import Planted, planted

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.head import Head
from atlas.artefacts.loading import read_vectors
from atlas.artefacts.vectors import Vectors
from atlas.components.encoder import Encoder
from atlas.errors import AtlasError, SpaceMismatchError
from atlas.items.batches import Items, as_items
from atlas.models.heads import create_head
from atlas.plugins.catalogue import create
from atlas.verbs.encode import encode
from atlas.verbs.fit import fit
from atlas.verbs.parameters.arguments import items_of
from atlas.verbs.stitch import Stitched, predict, stitch
from atlas.verbs.train import train


class Model:
    """The pixels of 'a', the map to 'b' and the head of 'b', of planted vectors."""

    def __init__(self, pair: Planted) -> None:
        self.pair = pair
        self.encoder = create(Encoder, "precomputed", model="a")
        self.items = items_of(pair.source)
        self.made = encode(self.encoder, self.items)
        self.alignment: Alignment = fit("procrustes", source=self.made, target=pair.target)
        self.head: Head = train("nearest-mean", pair.target)
        self.parts = (self.encoder, self.alignment, self.head)
        self.stitched: Stitched = stitch(*self.parts)


@pytest.fixture
def model(pair: Planted) -> Model:
    return Model(pair)


def test_a_stitched_model_is_encoder_map_and_head_in_turn(model):
    X = model.pair.source.data
    expected = model.head(model.alignment(X))
    assert torch.equal(model.stitched(X), expected)
    assert isinstance(model.stitched, torch.nn.Module)
    names = [model.head.classes[i] for i in expected.argmax(1)]
    assert model.stitched.predict(X) == names
    truth = [model.pair.source.classes[i] for i in model.pair.source.labels]
    assert sum(a == b for a, b in zip(names, truth, strict=True)) > 110


def test_batches_do_not_change_what_it_says(model):
    parts = torch.cat(list(model.stitched.batches(model.pair.source.data, batch_size=7)))
    assert torch.allclose(parts, model.stitched(model.pair.source.data), atol=1e-6)


def test_encoder_and_head_of_one_space_need_no_map(model):
    head = train("nearest-mean", model.made)
    assert torch.equal(stitch(model.encoder, None, head)(model.pair.source.data), head(model.made))


def test_what_does_not_meet_is_not_stitched(model):
    with pytest.raises(SpaceMismatchError, match="Head 'b__nearest-mean' reads 'b', but the encoder's vectors are of"):
        stitch(model.encoder, None, model.head)
    with pytest.raises(SpaceMismatchError, match=r"Alignment '.*' maps from 'b', but the encoder's vectors are of"):
        stitch(model.encoder, model.alignment.inverse(), model.head)
    head = train("nearest-mean", model.made)
    with pytest.raises(
        SpaceMismatchError, match=r"Head '.*' reads '.*', but the vectors alignment '.*' makes are of 'b'"
    ):
        stitch(model.encoder, model.alignment, head)


def test_a_head_without_classes_names_none(model):
    stitched = stitch(model.encoder, model.alignment, model.head.with_card(classes=()))
    with pytest.raises(AtlasError, match="Head 'b__nearest-mean' names no classes - call the model for its scores"):
        stitched.predict(model.pair.source.data)


def test_predictions_are_measured_against_labels_and_no_alignment(model):
    [metric] = predict(*model.parts, model.items, batch_size=50)
    truth = model.pair.source.labels
    right = (model.stitched(model.pair.source.data).argmax(1) == truth).double().mean()
    straight = (model.head(model.pair.source.data).argmax(1) == truth).double().mean()
    assert (metric.name, metric.n, metric.dataset) == ("accuracy", 120, "toy")
    assert metric.value == pytest.approx(float(right)) and metric.floor == pytest.approx(float(straight))
    assert metric.low is not None and metric.high is not None and metric.low <= metric.value <= metric.high
    assert metric.value > 0.9 > 0.7 > metric.floor


def labelled(data: torch.Tensor, labels: list[str]) -> Items:
    items = as_items(data)
    items.labels = labels
    return items


def test_items_of_unknown_class_do_not_count_and_those_the_head_does_not_know_are_missed(model):
    data = model.pair.source.data[:6]
    said = model.stitched.predict(data)
    labels = [said[0], said[1], "", "dog", "", said[5]]
    [metric] = predict(*model.parts, labelled(data, labels))
    assert metric.n == 4 and metric.value == pytest.approx(0.75)


def test_without_labels_there_is_no_figure(model):
    assert predict(*model.parts, as_items(model.pair.source.data)) == ()
    assert predict(*model.parts, labelled(model.pair.source.data[:2], ["", ""])) == ()


def test_classes_of_another_kind_are_told(model):
    items = labelled(model.pair.source.data[:2], ["0", "1"])
    with pytest.raises(
        AtlasError, match=r"The head knows none of the items' classes \(0, 1\) - its own are ant, bee, cat"
    ):
        predict(*model.parts, items)


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_predictions_are_written(model, tmp_path, ending):
    path = tmp_path / f"p{ending}"
    predict(*model.parts, model.items, out=path)
    text = path.read_text()
    rows = list(csv.DictReader(text.splitlines())) if ending == ".csv" else [json.loads(x) for x in text.splitlines()]
    assert [row["id"] for row in rows] == list(model.pair.source.ids)
    assert [row["predicted"] for row in rows] == model.stitched.predict(model.pair.source.data)
    assert [row["label"] for row in rows] == [model.pair.source.classes[i] for i in model.pair.source.labels]
    scores = model.stitched(model.pair.source.data).max(1).values
    assert torch.allclose(torch.tensor([float(row["score"]) for row in rows]), scores, atol=1e-6)


def test_predictions_are_written_whole_or_not_at_all(model, tmp_path):
    class Broken(Items):
        kind = "arrays"

        def _batch(self, rows: range) -> torch.Tensor:
            if rows.start >= 50:
                raise KeyboardInterrupt
            return torch.zeros(len(rows), 8)

    with pytest.raises(KeyboardInterrupt):
        predict(*model.parts, Broken(100), out=tmp_path / "p.csv", batch_size=50)
    assert list(tmp_path.iterdir()) == []


def test_where_predictions_cannot_be_written_is_told_first(model, tmp_path):
    (tmp_path / "p.csv").write_text("old")
    with pytest.raises(AtlasError, match=r"'.*p\.csv' exists - choose another name"):
        predict(*model.parts, model.items, out=tmp_path / "p.csv")
    with pytest.raises(AtlasError, match=r"'.*p\.txt' must end in \.csv or \.jsonl - predictions are a table"):
        predict(*model.parts, model.items, out=tmp_path / "p.txt")


def test_what_a_decoder_says_is_vectors(tmp_path):
    model = Model(planted(60))
    decoder = create_decoder(model)
    stitched = stitch(model.encoder, model.alignment, decoder)
    assert predict(model.encoder, model.alignment, decoder, model.items, out=tmp_path / "d.safetensors") == ()
    written = read_vectors(tmp_path / "d.safetensors")
    assert list(written.ids) == list(model.pair.source.ids)
    assert torch.allclose(written.data, stitched(model.pair.source.data), atol=1e-6)
    with pytest.raises(AtlasError, match="is no classifier: its output is vectors - give a place to write them"):
        predict(model.encoder, model.alignment, decoder, model.items)


def create_decoder(model: Model) -> Head:
    """Return a head of 'b' that says where an item lies in 'a'."""
    target = model.pair.target
    fitted = create_head("linear", {"loss": "ridge"}).fit(target.data, model.made.of_items(target.ids).data)
    return Head.of(fitted, target.space, "b__decoder")


def test_items_that_are_vectors_keep_their_ids(pair):
    items = items_of(pair.source)
    assert list(items.ids) == list(pair.source.ids) and items.labels is not None
    assert isinstance(items, Items) and isinstance(pair.source, Vectors)
