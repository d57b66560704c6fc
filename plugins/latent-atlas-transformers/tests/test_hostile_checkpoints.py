"""What a checkpoint cannot make the encoders do: run code, read pickles, or fetch something else."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch

import atlas
from atlas import AtlasError
from atlas_transformers import TransformersImage, TransformersText
from atlas_transformers.checkpoint import CONFIG

EVIL = """
from pathlib import Path
(Path(__file__).parent / "ran").write_text("code of a model was run")
from transformers import BertConfig, BertModel, BertTokenizer, ViTImageProcessor
class EvilConfig(BertConfig):
    model_type = "evil"
class EvilModel(BertModel):
    config_class = EvilConfig
class EvilTokenizer(BertTokenizer):
    pass
class EvilProcessor(ViTImageProcessor):
    pass
"""
MAP = {
    "AutoConfig": "evil.EvilConfig",
    "AutoModel": "evil.EvilModel",
    "AutoModelForSequenceClassification": "evil.EvilModel",
    "AutoTokenizer": ["evil.EvilTokenizer", "evil.EvilTokenizer"],
    "AutoImageProcessor": "evil.EvilProcessor",
}


class Bomb:
    """A pickle of it writes a file where it is read."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return (Path.write_text, (self.place / "ran", "a pickle was read"))


@pytest.fixture
def hostile(made, tmp_path, monkeypatch) -> Path:
    """A copy of a small text model, with code of its own that can also be found from the working folder."""
    return prepared(made("bert")[0], tmp_path, monkeypatch)


@pytest.fixture
def hostile_images(made, tmp_path, monkeypatch) -> Path:
    return prepared(made("vit")[0], tmp_path, monkeypatch)


def prepared(folder: str, tmp_path: Path, monkeypatch) -> Path:
    copy = Path(shutil.copytree(folder, tmp_path / "hostile"))
    (copy / "evil.py").write_text(EVIL)
    monkeypatch.chdir(copy)
    monkeypatch.syspath_prepend(copy)
    return copy


def edit(path: Path, **settings: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def refused(folder: Path, sentence: str, kind: type = TransformersText) -> None:
    """Check that a model is refused with one sentence, and that nothing of it was run."""
    with pytest.raises(AtlasError, match=sentence) as told:
        kind(str(folder)).space()
    untouched(folder)
    assert str(told.value).startswith(f"Encoder '{kind.name}' ") and "\n" not in str(told.value)


def untouched(folder: Path) -> None:
    assert not list(folder.rglob("ran")) and "evil" not in sys.modules


def test_a_model_type_that_needs_code_is_refused(hostile):
    edit(hostile / CONFIG, model_type="evil", auto_map=MAP, trust_remote_code=True)
    refused(
        hostile, r"does not load '.*config\.json', which names 'evil' - it is no type of transformers, and Atlas runs"
    )


def test_a_model_type_that_nobody_knows_is_refused(hostile):
    edit(hostile / CONFIG, model_type="evil")
    refused(hostile, "which names 'evil' - it is no type of transformers, and give another model")


def test_code_beside_a_model_that_needs_none_is_left_alone(hostile):
    for name in (CONFIG, "tokenizer_config.json"):
        edit(hostile / name, auto_map=MAP, trust_remote_code=True)
    encoder = TransformersText(str(hostile), pooling="cls")
    assert encoder.dim == 32 and atlas.Head.of_encoder(encoder).classes
    assert [len(X) for X in encoder.encode(["a", "b"])] == [2]
    untouched(hostile)


def test_code_beside_an_image_processor_is_left_alone(hostile_images):
    for name in (CONFIG, "preprocessor_config.json"):
        edit(hostile_images / name, auto_map=MAP, trust_remote_code=True)
    encoder = TransformersImage(str(hostile_images), pooling="cls")
    assert encoder.dim == 32 and atlas.Head.of_encoder(encoder).classes
    untouched(hostile_images)


def test_a_processor_that_is_only_code_is_refused(hostile_images):
    edit(hostile_images / "preprocessor_config.json", image_processor_type="EvilProcessor", auto_map=MAP)
    refused(hostile_images, "cannot make an image processor with this model: ", TransformersImage)


def test_a_tokenizer_that_is_only_code_is_refused_or_read_as_data(hostile):
    edit(hostile / "tokenizer_config.json", tokenizer_class="EvilTokenizer", auto_map=MAP)
    try:
        TransformersText(str(hostile)).space()
    except AtlasError as told:
        assert "cannot make a tokenizer with this model" in str(told)
    untouched(hostile)


def test_weights_in_a_pickle_are_not_read(hostile):
    (hostile / "model.safetensors").unlink()
    (hostile / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(hostile)))
    refused(hostile, r"does not load '.*pytorch_model\.bin', which is a pickle - save the model with safetensors")


def test_a_pickle_beside_safe_weights_is_not_read(hostile):
    (hostile / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(hostile)))
    assert TransformersText(str(hostile)).dim == 32
    untouched(hostile)


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_kernels_are_not_fetched(hostile, name):
    edit(hostile / CONFIG, **{name: "you/kernel"})
    assert TransformersText(str(hostile)).dim == 32


def test_other_weights_than_those_of_the_model_are_not_fetched(hostile):
    edit(hostile / CONFIG, transformers_weights="pytorch_model.bin", use_pretrained_backbone=True)
    (hostile / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(hostile)))
    assert TransformersText(str(hostile)).dim == 32
    untouched(hostile)


def test_a_stored_space_of_a_stranger_is_read_as_a_folder_is(hostile, tmp_path):
    """What is hostile within a stored space, its hashes all right, is refused or left alone, too."""
    encoder = TransformersText(str(hostile))
    atlas.save(encoder, tmp_path / "space")
    source = encoder._source
    kept = {name.removeprefix("file:"): tensor for name, tensor in source.state().items()}
    settings = json.loads(kept[CONFIG].numpy().tobytes())
    evil = json.dumps({**settings, "model_type": "evil", "auto_map": MAP}).encode()
    state = {**source.state(), f"file:{CONFIG}": torch.frombuffer(bytearray(evil), dtype=torch.uint8)}
    from atlas_transformers.source import from_state

    revision = from_state("x", state, TransformersText.files).revision
    with pytest.raises(AtlasError, match="which names 'evil' - it is no type of transformers, and Atlas runs no code"):
        TransformersText("x", revision).load_state_dict(state).space()
    untouched(hostile)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        (CONFIG, b"{", "cannot read '.*config.json', which is no JSON object"),
        (CONFIG, b"[" * 100_000, "cannot read '.*config.json', which is no JSON object"),
        (CONFIG, b"\xff", "cannot read '.*config.json', which is no JSON object"),
        (CONFIG, b"[]", "cannot read '.*config.json', which is no JSON object"),
        (CONFIG, b"{}", "does not load '.*config.json', which names None - it is no type of transformers, and give"),
        (CONFIG, b'{"model_type": "bert", "quantization_config": {}}', "whose model is quantised - give the model it"),
        (CONFIG, b'{"model_type": "bert", "hidden_size": "many"}', "cannot make a model with this model: "),
        ("model.safetensors", b"short", "cannot read '.*model.safetensors': "),
        ("tokenizer.json", b"{}", "cannot make a tokenizer with this model: "),
    ],
)
def test_damaged_files_are_told(hostile, name, text, sentence):
    (hostile / name).write_bytes(text)
    refused(hostile, sentence)


def test_weights_of_another_shape_are_told(hostile):
    edit(hostile / CONFIG, intermediate_size=50)
    refused(hostile, "cannot make a model with this model: ")


def test_weights_that_are_missing_are_told(hostile):
    from safetensors.torch import load_file, save_file

    weights = load_file(hostile / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "layer.1." not in name}
    save_file(kept, hostile / "model.safetensors", {"format": "pt"})
    refused(hostile, r"lacks weights: the checkpoint does not hold 'encoder\.layer\.1\..*' and 15 more - give another")
