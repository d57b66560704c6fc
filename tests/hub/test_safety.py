"""Everything downloaded is hostile: it is refused with a sentence, runs nothing, touches nothing, and takes no time.

The promises are those of docs/safety.md. `tests/data/corpus` holds hostile and sound files; fuzzing begins from them.
"""

from __future__ import annotations

import json
import logging
import pickle
import struct
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hubtools import CLIENT_WARNS, TOKEN, make_alignment, upload
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import atlas
from atlas.cards.folder import CARD, MODEL, dump_card, read_card
from atlas.cards.kinds import Card
from atlas.cards.yaml import parse_yaml
from atlas.errors import AtlasError, CardError
from atlas.hub.pulling import copy, pull
from atlas.recipes.locking import lock
from atlas.sharing.publishing import push
from atlas.storage.files import sha256_file
from atlas.storage.header import TensorFile
from atlas.storage.tensors import load_tensors, save_tensors

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS
CORPUS = Path(__file__).parents[1] / "data" / "corpus"
CARDS = sorted((CORPUS / "cards").iterdir())
TENSORS = sorted((CORPUS / "tensors").iterdir())
FUZZ = settings(max_examples=150, deadline=2000, derandomize=True, database=None)
FUZZ_FILES = settings(FUZZ, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_anything(text: str) -> Card | None:
    """Read a card; the only way to fail is a `CardError` of one short line."""
    try:
        card = Card.from_dict(parse_yaml(text, "card"))
    except CardError as error:
        assert "\n" not in str(error)
        return None
    assert Card.from_dict(parse_yaml(dump_card(card), "again")) == card
    return card


def read_any_tensors(path: Path) -> dict[str, torch.Tensor] | None:
    """Read a file of tensors; the only way to fail is a `CardError`, and what is read fills the file exactly."""
    try:
        infos, starts = (file := TensorFile(path)).infos, file.starts
        tensors = load_tensors(path)
    except CardError:
        return None
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    begin = 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]
    assert held + begin == path.stat().st_size
    assert set(infos) == set(starts) == set(tensors)
    return tensors


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.name)
def test_the_corpus_of_cards(path: Path) -> None:
    begin = time.monotonic()
    tracemalloc.start()
    card = read_anything(path.read_bytes().decode("utf-8", "surrogateescape"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (card is not None) == path.name.startswith("good-")
    assert time.monotonic() - begin < 5
    assert peak < 64e6


@pytest.mark.parametrize("path", TENSORS, ids=lambda path: path.name)
def test_the_corpus_of_tensors(path: Path) -> None:
    tracemalloc.start()
    tensors = read_any_tensors(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tensors is not None) == path.name.startswith("good-")
    assert peak < 64e6


def mutated(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Return seeds with a few pieces replaced, removed, repeated or put elsewhere."""
    piece = st.one_of(
        st.binary(max_size=12),
        st.sampled_from(
            [b"&a ", b"*a", b"!!python/object:os.system ", b"---\n", b"[" * 40, b"1" * 80, b"\0", b"\x1b["]
        ),
        st.sampled_from([b"9" * 19, b"-1", b"1e999", b".nan", b"null", b"true", b'"F32"', b"18446744073709551615"]),
    )
    edit = st.tuples(st.floats(0, 1), st.integers(0, 9), piece)

    def apply(seed: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
        for where, cut, new in edits:
            at = int(where * len(seed))
            seed = seed[:at] + new + seed[at + cut :]
        return seed

    return st.builds(apply, st.sampled_from(seeds), st.lists(edit, min_size=1, max_size=4))


@FUZZ
@given(mutated([path.read_bytes() for path in CARDS if path.stat().st_size < 5000]))
def test_no_card_breaks_the_reader(data: bytes) -> None:
    read_anything(data.decode("utf-8", "replace"))


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)


@FUZZ
@given(st.sampled_from([p for p in CARDS if p.name.startswith("good-")]), st.data())
def test_no_value_of_a_field_breaks_a_card(path: Path, data: st.DataObject) -> None:
    plain = parse_yaml(path.read_text(), "card")
    where = plain
    key = data.draw(st.sampled_from(sorted(where)))
    while isinstance(where[key], dict) and where[key] and data.draw(st.booleans()):
        where = where[key]
        key = data.draw(st.sampled_from(sorted(where)))
    where[key] = data.draw(VALUES)
    try:
        card = Card.from_dict(plain)
    except CardError:
        return
    assert Card.from_dict(card.to_dict()) == card


@FUZZ_FILES
@given(mutated([path.read_bytes() for path in TENSORS if path.stat().st_size < 5000]))
def test_no_file_of_tensors_breaks_the_reader(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    read_any_tensors(tmp_path / "x")


ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.one_of(st.sampled_from(["F32", "F64", "U8", "BOOL", "F8_E4M3", "f32", ""]), VALUES),
        "shape": st.one_of(st.lists(st.one_of(st.integers(-1, 5), st.integers(), VALUES), max_size=4), VALUES),
        "data_offsets": st.one_of(st.lists(st.one_of(st.integers(0, 40), VALUES), max_size=3), VALUES),
    }
)


@FUZZ_FILES
@given(
    st.dictionaries(st.one_of(st.sampled_from(["a", "b"]), st.text(max_size=4)), ENTRY, max_size=3),
    st.binary(max_size=40),
)
def test_no_header_breaks_the_reader(tmp_path: Path, header: dict, body: bytes) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(text)) + text + body)
    read_any_tensors(tmp_path / "x")


def publish(repo: str, folder: Path, **changed: bytes) -> None:
    """Upload an alignment with some of its files changed: card=, model=."""
    files = {
        CARD: changed.get("card", (folder / CARD).read_bytes()),
        MODEL: changed.get("model", (folder / MODEL).read_bytes()),
    }
    upload(repo, files)


def refused_before_the_tensors(hub, repo: str, message: str) -> None:
    hub.clear_requests()
    with pytest.raises(CardError, match=message) as caught:
        pull(repo)
    assert str(caught.value).startswith(f"hf://{repo}@")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    assert not [r.path for r in hub.requests if r.path.endswith(MODEL)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format: 1", "format: 99", "Format 99 is newer than this Atlas reads"),
        ("id: left__right__ridge", "id: ../../evil", "must be at most 96 lower-case letters"),
        ("license: mit", "license: !!python/object/apply:os.system [id]", "tags such as .* are not allowed"),
        ("license: mit", 'license: "\\e[2J\\e[31mred"', "characters that cannot be printed are not allowed"),
        ("license: mit", '"\\u202Elicense": mit', "characters that cannot be printed are not allowed"),
        ("license: mit", "licence: mit", "did you mean 'license'"),
        ("license: mit", "license: mit\nlicense: isc", "key 'license' is given twice"),
        ("n_pairs: 50", "n_pairs: 5000000000000000000000000000000", "must be from 0 to"),
        ("n_pairs: 50", "n_pairs: " + "9" * 5000, "a number of 5000 digits is too long"),
        ("n_pairs: 50", "n_pairs: [" + "x, " * 2000 + "x]", "must be int, got"),
        ("dim: 6", "dim: 0", "at least 1 dimension"),
        ("[6, 4]", "[281474976710655, 4]", r"has \d+ bytes, the card lists tensors of 4503599627370496"),
        ("[6, 4]", "[" + "9, " * 40 + "4]", "which Atlas does not read"),
        ("dtype: F32", "dtype: OBJECT", "which Atlas does not read"),
    ],
    ids=range(14),
)
def test_a_hostile_card_is_refused_before_tensors_are_asked_for(
    hub, repo: str, tmp_path: Path, old: str, new: str, message: str
) -> None:
    folder = make_alignment(tmp_path / "a")
    text = (folder / CARD).read_text()
    assert old in text
    publish(repo, folder, card=text.replace(old, new, 1).encode())
    refused_before_the_tensors(hub, repo, message)


def test_a_bomb_of_aliases_is_refused(hub, repo: str, tmp_path: Path) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(20)
    )
    publish(repo, make_alignment(tmp_path / "a"), card=bomb.encode())
    refused_before_the_tensors(hub, repo, "aliases are not allowed")


def test_a_huge_card_is_not_downloaded(hub, repo: str, tmp_path: Path) -> None:
    publish(repo, make_alignment(tmp_path / "a"), card=b"#" * 1_000_001)
    hub.clear_requests()
    with pytest.raises(CardError, match=r"config.yaml of 1000001 bytes is too large - the limit is 1000000"):
        pull(repo)
    assert not [r.path for r in hub.requests if "/resolve/" in r.path]


def test_tensors_of_another_hash_are_not_downloaded(hub, repo: str, tmp_path: Path) -> None:
    publish(repo, make_alignment(tmp_path / "a"), model=(make_alignment(tmp_path / "b", seed=1) / MODEL).read_bytes())
    refused_before_the_tensors(hub, repo, "does not match its card: sha256 is")


class Bomb:
    """Something whose unpickling leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_by_another_name_is_never_opened(hub, repo: str, tmp_path: Path, legacy: bool) -> None:
    folder, trace = make_alignment(tmp_path / "a"), tmp_path / "trace"
    if legacy:
        (folder / MODEL).write_bytes(pickle.dumps(Bomb(trace)) + b"\0" * 100)
    else:
        torch.save({"weight": torch.zeros(6, 4), "x": Bomb(trace)}, folder / MODEL)
    size = (folder / MODEL).stat().st_size
    card = read_card(folder)
    infos = {"weight": replace(card.tensors["weight"], dtype="U8", shape=(size - 40,))}
    (folder / CARD).write_text(dump_card(replace(card, tensors=infos, sha256=sha256_file(folder / MODEL))))
    upload(repo, folder)
    with pytest.raises(CardError, match="not a safetensors file"):
        atlas.load(f"hf://{repo}")
    assert not trace.exists()


def test_only_the_two_files_are_ever_downloaded(hub, repo: str, tmp_path: Path) -> None:
    folder = make_alignment(tmp_path / "a")
    names = [
        "CONFIG.YAML",
        "Model.safetensors",
        "modeling.py",
        "setup.py",
        "a/config.yaml",
        "pytorch_model.bin",
        "x\\..\\y",
        "items.csv",
    ]
    upload(repo, {**{path.name: path.read_bytes() for path in folder.iterdir()}, **dict.fromkeys(names, b"evil")})
    found = pull(repo)
    assert {path.name for path in found.folder.rglob("*")} == {CARD, MODEL}
    assert found.card == read_card(folder)


def test_a_copy_replaces_links_and_does_not_follow_them(hub, repo: str, tmp_path: Path) -> None:
    upload(repo, make_alignment(tmp_path / "a"))
    outside = tmp_path / "outside"
    outside.write_text("mine")
    target = make_alignment(tmp_path / "b")
    (target / MODEL).unlink()
    (target / MODEL).symlink_to(outside)
    copy(pull(repo), target, overwrite=True)
    assert outside.read_text() == "mine"
    assert not (target / MODEL).is_symlink()


def test_a_link_in_the_cache_that_leads_outside_is_not_purged(hub, repo: str, tmp_path: Path) -> None:
    upload(repo, make_alignment(tmp_path / "a"))
    path = pull(repo).folder / MODEL
    outside = tmp_path / "outside"
    outside.write_text("mine")
    path.unlink()
    path.symlink_to(outside)
    assert pull(repo).card.id == "left__right__ridge"
    assert outside.read_text() == "mine"


def test_a_missing_plugin_is_named_and_not_installed(hub, repo: str, tmp_path: Path, monkeypatch) -> None:
    folder = make_alignment(tmp_path / "a", aligner="transport", plugin="latent-atlas-pot 1.2")
    card = read_card(folder)
    infos = save_tensors(folder / MODEL, {"map": torch.zeros(6, 4)})
    (folder / CARD).write_text(dump_card(replace(card, tensors=infos, sha256=sha256_file(folder / MODEL))))
    upload(repo, folder)
    with pytest.raises(
        AtlasError, match=r"Aligner 'transport' is not installed - it comes with latent-atlas-pot 1.2: .*ins"
    ):
        atlas.load(f"hf://{repo}")


def test_no_token_is_left_anywhere(hub, repo: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    folder = make_alignment(tmp_path / "a")
    push(folder, repo, private=True, token=TOKEN, tag="v1")
    copy(pull(repo, token=TOKEN), tmp_path / "b")
    lock([f"hf://{repo}@v1"], tmp_path / "atlas.lock", token=TOKEN)
    with pytest.raises(AtlasError) as caught:
        pull(f"{repo}-not", token=TOKEN)
    assert TOKEN not in str(caught.value)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("atlas", "huggingface_hub"))]
    assert not [text for text in ours if TOKEN in text]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]
