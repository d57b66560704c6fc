"""What a model cannot make the encoder do: run code, read pickles, or fetch something else."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
from makers import edit, tiny
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Dense

from atlas import AtlasError
from atlas_sentence_transformers import SentenceTransformers

EVIL = """
from pathlib import Path
(Path(__file__).parent / "ran").write_text("code of a model was run")
from transformers import BertModel, BertConfig
class Evil(BertModel):
    pass
class EvilConfig(BertConfig):
    model_type = "evil"
"""


class Bomb:
    """A pickle of it writes a file where it is read."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return (Path.write_text, (self.place / "ran", "a pickle was read"))


@pytest.fixture
def hostile(small, tmp_path, monkeypatch) -> Path:
    """A copy of the small model with code of its own, also to be found from the working folder."""
    folder = Path(shutil.copytree(small, tmp_path / "hostile"))
    (folder / "evil.py").write_text(EVIL)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    return folder


def refused(folder: Path, sentence: str) -> None:
    """Check that a model is refused with a sentence, and that nothing of it was run."""
    with pytest.raises(AtlasError, match=sentence) as told:
        SentenceTransformers(str(folder)).space()
    assert not list(folder.rglob("ran"))
    assert str(told.value).startswith("Encoder 'sentence-transformers' ")
    assert "\n" not in str(told.value)


def set_type(folder: Path, kind: object) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = kind
    (folder / "modules.json").write_text(json.dumps(modules))


@pytest.mark.parametrize(
    "kind",
    [
        "evil.Evil",
        "os.system",
        "sentence_transformers.base.model.os.system",
        "sentence_transformers.base.model.pickle",
        "sentence_transformers.SentenceTransformer.load",
        "sentence_transformers.nothing.Here",
        "sentence_transformers",
        None,
    ],
)
def test_a_module_that_is_not_the_librarys_is_not_imported(hostile, kind):
    set_type(hostile, kind)
    refused(hostile, "does not load '.*modules.json', which names .* - it is no module of sentence-transformers, and")


def test_a_module_within_a_router_is_not_imported(hostile, tmp_path):
    model = SentenceTransformer(str(hostile), device="cpu", local_files_only=True)
    first, pooling = model.children()
    router = Router.for_query_document([first, pooling], [first, pooling], default_route="query")
    SentenceTransformer(modules=[router], device="cpu").save_pretrained(str(tmp_path / "routed"))
    (tmp_path / "routed" / "evil.py").write_text(EVIL)
    settings = json.loads((tmp_path / "routed" / "router_config.json").read_text())
    settings["types"] = dict.fromkeys(settings["types"], "evil.Evil")
    (tmp_path / "routed" / "router_config.json").write_text(json.dumps(settings))
    refused(tmp_path / "routed", "it asks for code of its own to be run, which Atlas never does")


def test_a_model_type_that_needs_code_is_refused(hostile):
    edit(
        hostile / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.Evil"}
    )
    refused(hostile, "it asks for code of its own to be run, which Atlas never does")


def test_settings_cannot_grant_trust(hostile):
    edit(
        hostile / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.Evil"}
    )
    granted = {"trust_remote_code": True}
    edit(hostile / "sentence_bert_config.json", model_args=granted, config_args=granted, model_kwargs=granted)
    refused(hostile, "it asks for code of its own to be run, which Atlas never does")


def test_code_beside_a_model_that_needs_none_is_left_alone(hostile):
    edit(hostile / "config.json", auto_map={"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.Evil"})
    edit(hostile / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})
    assert SentenceTransformers(str(hostile)).dim == 16
    assert not list(hostile.rglob("ran"))


@pytest.mark.parametrize("activation", ["evil.Evil", "os.system"])
def test_an_activation_that_is_not_torchs_is_not_imported(tmp_path, activation, monkeypatch):
    folder = Path(tiny(tmp_path / "dense", extra=[Dense(16, 8)]))
    (folder / "evil.py").write_text(EVIL)
    monkeypatch.syspath_prepend(folder)
    edit(folder / "2_Dense" / "config.json", activation_function=activation)
    refused(folder, f"does not load '.*config.json', whose activation is code, '{activation}' - use one of torch")


def test_weights_in_a_pickle_are_not_read(hostile):
    (hostile / "model.safetensors").unlink()
    (hostile / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(hostile)))
    refused(hostile, "does not load '.*pytorch_model.bin', which is a pickle - save the model with safetensors")


def test_weights_of_other_modules_in_a_pickle_are_not_read(tmp_path):
    folder = Path(tiny(tmp_path / "dense", extra=[Dense(16, 8)]))
    (folder / "2_Dense" / "model.safetensors").unlink()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(folder)))
    refused(folder, "does not load '.*2_Dense/pytorch_model.bin', which is a pickle - save the model with safetensors")


@pytest.mark.parametrize("name", ["config.json", "sentence_bert_config.json"])
def test_kernels_are_not_fetched(hostile, name):
    settings = {"attn_implementation": "you/kernel"}
    edit(hostile / name, **(settings if name == "config.json" else {"model_kwargs": settings}))
    refused(hostile, f"does not load '.*{name}', whose 'attn_implementation' is code on the Hub, 'you/kernel' - remove")


def test_tokenizers_of_other_models_are_not_fetched(hostile):
    edit(hostile / "sentence_bert_config.json", tokenizer_name_or_path="you/tokenizer")
    refused(
        hostile, "does not load '.*sentence_bert_config.json', whose tokenizer is elsewhere, 'you/tokenizer' - save"
    )


def test_adapters_are_refused(hostile):
    edit(hostile / "adapter_config.json", base_model_name_or_path="you/model")
    refused(hostile, "finds an adapter of another model in '.*hostile' - merge the two and save the result")


def test_models_of_another_kind_are_refused(hostile):
    edit(hostile / "config_sentence_transformers.json", model_type="CrossEncoder")
    refused(hostile, "finds a CrossEncoder in '.*hostile' - give a SentenceTransformer")


def test_modules_outside_of_the_folder_are_refused(hostile):
    modules = json.loads((hostile / "modules.json").read_text())
    modules[1]["path"] = "../elsewhere"
    (hostile / "modules.json").write_text(json.dumps(modules))
    refused(hostile, "cannot load '.*hostile': ValueError: Invalid model path '../elsewhere'")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("modules.json", "{", "cannot read '.*modules.json': Expecting property name"),
        ("modules.json", '{"a": 1}', "cannot read '.*modules.json': it is not a list of modules"),
        ("config.json", "\xff", "cannot read '.*config.json': "),
        ("model.safetensors", "short", "cannot load '.*hostile': SafetensorError: "),
    ],
)
def test_damaged_files_are_told(hostile, name, text, sentence):
    (hostile / name).write_bytes(text.encode("latin-1"))
    refused(hostile, sentence)
