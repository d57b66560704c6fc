"""Verbs with a device to compute on: the same code runs on the CPU, and torch's 'meta' stands for another device."""

from __future__ import annotations

import pytest
import torch
from conftest import space_of
from torch.testing import assert_close

import atlas
from atlas.errors import AtlasError
from atlas.testing.devices import ELSEWHERE, watched
from atlas.testing.promises import paired_data
from atlas.verbs import compare as comparing
from atlas.verbs import evaluate as evaluating
from atlas.verbs import fit as fitting
from atlas.verbs import moments as summing

ROWS = paired_data(n=90, d_source=6, d_target=4)
LABELS = [i % 3 for i in range(90)]
SOURCE, TARGET = (
    atlas.Vectors.of(rows.float(), space_of(name, rows.shape[1]), labels=LABELS)
    for rows, name in zip(ROWS, "ab", strict=True)
)
# Without a domain, whose small products may run anywhere.
MAP = atlas.fit("linear", source=SOURCE, target=TARGET, confidence=False)
HEAD = atlas.train("linear", SOURCE)
READER = atlas.train("nearest-mean", TARGET)
FIGURES = ["accuracy", "cosine", "r2", "self-recall@1", "mrr", "jaccard@10"]
PAIR = {"source": SOURCE, "target": TARGET}

VERBS = {
    "fit": lambda **how: atlas.fit("procrustes", **PAIR, **how).tensors(),
    "fit, confidence": lambda **how: atlas.fit("linear", **PAIR, confidence=True, **how).tensors(),
    "moments": lambda **how: atlas.moments(**PAIR, **how).tensors(),
    "apply": lambda **how: atlas.apply(MAP, SOURCE, **how).data,
    "apply backwards": lambda **how: atlas.apply(MAP, TARGET, inverse=True, **how).data,
    "evaluate": lambda **how: [m.value for m in atlas.evaluate(MAP, **PAIR, head=READER, metrics=FIGURES, **how)],
    "evaluate a head": lambda **how: atlas.evaluate(HEAD, vectors=SOURCE, **how)[0].value,
    "compare": lambda **how: (
        atlas.compare(SOURCE, TARGET, metrics=["cka", "mutual-knn", "cca", "separability"], **how)[0].value
    ),
}


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_gives_the_same_on_a_device_named(name):
    assert_close(VERBS[name](device="cpu"), VERBS[name](), rtol=0, atol=0)


@pytest.mark.parametrize("name", VERBS)
def test_a_device_without_numbers_is_refused(name):
    with pytest.raises(AtlasError, match=r"^Device 'meta' cannot be used: .* - use 'cpu'$"):
        VERBS[name](device="meta")


# An inverse itself is taken on the CPU, in float64.
@pytest.mark.parametrize("name", [name for name in VERBS if name != "apply backwards"])
def test_all_products_of_rows_are_computed_on_the_device(name, monkeypatch):
    for module in (fitting, summing, evaluating, comparing):
        monkeypatch.setattr(module, "check_device", lambda *given: None)
    monkeypatch.setattr(atlas.Aligner, "to", moved)
    _, watch = watched(lambda: VERBS[name](device=ELSEWHERE))
    assert not watch.products and not watch.mixed


def moved(self, device):
    made = type(self).from_config(self.config())
    made._device, made._state = device, {name: t.to(device) for name, t in self.state.items()}
    return made


@pytest.mark.parametrize(
    ("verb", "message"),
    [
        (lambda: atlas.fit("mlp", **PAIR, device="cuda"), r"Aligner 'mlp' fits on the CPU alone, got device 'cuda' - "),
        (
            lambda: atlas.apply(atlas.aggregate("relative-mean", SOURCE, TARGET), SOURCE, device="cpu"),
            r"Atlas '.*' maps on the CPU alone - apply one of its charts, or leave out device",
        ),
    ],
)
def test_work_for_the_cpu_alone_takes_no_device(verb, message):
    with pytest.raises(AtlasError, match=message):
        verb()


def test_a_map_on_a_device_is_inverted_and_composed_on_the_cpu(monkeypatch):
    back = atlas.fit("linear", source=TARGET, target=SOURCE)
    assert_close(atlas.compose(MAP.to("cpu"), back)(ROWS[0]), atlas.compose(MAP, back)(ROWS[0]), rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", VERBS)
def test_a_verb_gives_all_but_the_same_on_a_gpu(name):
    assert_close(VERBS[name](device="cuda"), VERBS[name](), rtol=1e-4, atol=1e-5)
