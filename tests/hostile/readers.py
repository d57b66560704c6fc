"""Every reader of Atlas, with sound files to begin with: what each is given in the runs of `fuzz.py`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save, save_file

import atlas
from atlas.artefacts.sources.shards import read_bare
from atlas.cards.folder import CARD, MODEL, dump_card, read_card
from atlas.errors import AtlasError
from atlas.items.files import read_items
from atlas.recipes.locking import read_lock
from atlas.recipes.reading import read_recipe
from atlas.recipes.running import Runner
from atlas.storage import hashes
from atlas.storage import notes as notes_of
from atlas.storage.files import sha256_file
from atlas.storage.header import TensorFile


@dataclass(frozen=True)
class Reader:
    """One way in which Atlas reads bytes.

    Attributes:
        share: how many of a thousand runs it gets.
        name: of the file that it is given.
        seeds: sound contents.
        read: reads the file.
    """

    share: int
    name: str
    seeds: Sequence[bytes]
    read: Callable[[Path], Any]


def readers(folder: Path) -> dict[str, Reader]:
    """Return all of them by name, with sound files made in a folder."""
    stored = artefacts(folder / "sound")
    cards = [(one / CARD).read_bytes() for one in stored]
    models = [(one / MODEL).read_bytes() for one in stored if (one / MODEL).exists()]
    matrices = matrix_files(folder)
    recipes = [RECIPE.encode(), *(p.read_bytes() for p in sorted(Path(atlas.__file__).parents[1].glob("docs/*.yaml")))]
    found = {
        "vectors of .safetensors": Reader(190, "v.safetensors", [*matrices[".safetensors"], *models], vectors),
        "items of .safetensors": Reader(120, "i.safetensors", [*matrices[".safetensors"], *models], items),
        "vectors of .npy": Reader(130, "v.npy", matrices[".npy"], vectors),
        "items of .npy": Reader(60, "i.npy", matrices[".npy"], items),
        "vectors of .parquet": Reader(12, "v.parquet", parquets(), vectors),
        "items of .parquet": Reader(8, "i.parquet", parquets(), items),
        "items of .csv": Reader(120, "i.csv", TABLES, items),
        "items of .tsv": Reader(90, "i.tsv", [table.replace(b",", b"\t") for table in TABLES], items),
        "items of .jsonl": Reader(110, "i.jsonl", LINES, items),
        "items of .txt": Reader(40, "i.txt", [b"one\ntwo\n\nthree\r\n", "é\u2028ß\n".encode()], items),
        "cards": Reader(25, CARD, cards, lambda path: read_card(path.parent)),
        "recipes": Reader(10, "recipe.yaml", recipes, recipe),
        "locks": Reader(15, "atlas.lock", LOCKS, read_lock),
        "notes of hashes": Reader(20, "hashes.json", [b'{"/a/b": [40000000, 1, 2, 3, "%s"]}' % (b"a" * 64)], notes),
        "images": Reader(20, "i.png", pictures(), items),
    }
    found["stamps"] = Reader(10, "a.json", *stamps(folder))
    # A card that was changed beside its tensors, and tensors that were changed with a card made to fit.
    for name in (CARD, MODEL):
        read = changed_card if name == CARD else fitted_card
        for kind in sorted({one.name for one in stored}):
            seeds = [(one / name).read_bytes() for one in stored if one.name == kind and (one / name).exists()]
            if seeds:
                origin = folder / "sound" / kind
                found[f"{name} of {kind}"] = Reader(
                    1, name, seeds, lambda path, read=read, origin=origin: read(path, origin)
                )
    return found


def vectors(path: Path) -> None:
    """Read a bare file of vectors, and all rows, ids and classes in it."""
    made = read_bare(path)
    for batch in made.rows.batches():
        batch.sum()
    made.ids[-1], made.labels, made.classes


def items(path: Path) -> None:
    """Read a file of items, and a batch of them."""
    made = read_items(path)
    made[:4], made.ids[-1], made.classes


def recipe(path: Path) -> None:
    """Read a recipe and look for all that it names."""
    Runner(read_recipe(path), path.parent / "out")


def notes(path: Path) -> None:
    """Read what is known of hashes."""
    before, notes_of.notes_file = notes_of.notes_file, lambda name: path
    try:
        notes_of.read_notes("any")
        hashes.known_sha256(path)
    finally:
        notes_of.notes_file = before


def changed_card(path: Path, origin: Path) -> None:
    """Load and use an artefact whose card was changed."""
    if (origin / MODEL).exists():
        (path.parent / MODEL).unlink(missing_ok=True)
        (path.parent / MODEL).symlink_to(origin / MODEL)
    use(atlas.load(path.parent))


def fitted_card(path: Path, origin: Path) -> None:
    """Load and use an artefact whose tensors were changed, by somebody who can write a card."""
    card = replace(read_card(origin), sha256=sha256_file(path), tensors=TensorFile(path).infos)
    (path.parent / CARD).write_text(dump_card(card), encoding="utf-8")
    use(atlas.load(path.parent))


def use(made: Any) -> None:
    """Do with an artefact what it is for."""
    rows = torch.linspace(-1, 1, 18).reshape(3, 6)
    if isinstance(made, atlas.Alignment):
        made(rows)
    elif isinstance(made, atlas.Head):
        made.predict(rows)
    elif isinstance(made, atlas.Encoder):
        made.encode(["one two", "three"] if made.takes == "text" else torch.zeros(2, 3, 6, 6))
    elif isinstance(made, atlas.Vectors):
        made.take(torch.arange(2)), made.ids[-1]


def artefacts(folder: Path) -> list[Path]:
    """Write one artefact of every kind, and return their folders."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((24, 6))
    names = [f"item {i}" for i in range(24)]
    labels = [None if i % 5 == 0 else f"c{i % 3}" for i in range(24)]
    a = atlas.Vectors.of(X, "a", ids=names, labels=labels)
    b = atlas.Vectors.of(X @ rng.standard_normal((6, 6)), "b", ids=names)
    linear = atlas.fit("linear", source=a, target=b)
    made = {
        "vectors": a,
        "linear": linear,
        "mlp": atlas.fit("mlp", source=a, target=b, steps=2, width=4),
        "relative": atlas.fit("relative", source=a),
        "composed": atlas.compose(linear, linear.inverse()),
        "head": atlas.train("linear", a),
        "knn": atlas.train("knn", a),
        "kernel": atlas.train("kernel", a),
        "anchors": atlas.sample("uniform", a, 5, also=[b]),
        "atlas": atlas.aggregate("generalized-procrustes", a, b),
    }
    for name, artefact in made.items():
        artefact.save_pretrained(folder / name)
    texts = [f"some words of text {i} and {i % 4} more" for i in range(20)]
    atlas.save(atlas.create(atlas.Encoder, "tfidf-svd", dim=3, min_df=1).fit(texts), folder / "tfidf")
    layers = [
        *({"type": "conv", "in_channels": 3, "out_channels": 2, "kernel_size": 3, "padding": 1}, {"type": "relu"}),
        *({"type": "flatten"}, {"type": "linear", "in_features": 72, "out_features": 4}),
    ]
    save_file({"0.weight": torch.ones(2, 3, 3, 3), "0.bias": torch.zeros(2), **LAST}, folder / "w.safetensors")
    weights = str(folder / "w.safetensors")
    with_layers = atlas.create(atlas.Encoder, "network", layers=layers, weights=weights, input_shape=[3, 6, 6])
    atlas.save(with_layers, folder / "network")
    return [folder / name for name in (*made, "tfidf", "network")]


def matrix_files(folder: Path) -> dict[str, list[bytes]]:
    """Return the bytes of matrices of every dtype and layout, by ending."""
    X = np.arange(30, dtype=np.float64).reshape(10, 3)
    ends, text = torch.arange(2, 22, 2), torch.full((20,), 97, dtype=torch.uint8) + torch.arange(20).to(torch.uint8)
    side = {"ids": torch.arange(10), "labels": torch.arange(10) % 3 - 1}
    tensors = [
        {"vectors": torch.tensor(X)},
        {"vectors": torch.tensor(X).half(), **side},
        {"x": torch.tensor(X).bfloat16(), "ids.ends": ends, "ids.text": text},
    ]
    arrays = []
    for array in (X, X.astype("<f4"), X.astype(">f2"), np.asfortranarray(X), X.astype("u1"), X.reshape(5, 2, 3), X > 3):
        buffer = io.BytesIO()
        np.save(buffer, array)
        arrays.append(buffer.getvalue())
    buffer = io.BytesIO()
    np.savez(buffer, X)
    return {".safetensors": [save(one) for one in tensors], ".npy": [*arrays, buffer.getvalue()]}


def parquets() -> list[bytes]:
    """Return the bytes of tables of texts and of vectors."""
    import pyarrow as pa
    from pyarrow import parquet

    ids = [str(i) for i in range(10)]
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(30, dtype=np.float32)), 3)
    ragged = pa.array([[1.0, float(i)] for i in range(10)])
    found = []
    for columns in (
        {"id": ids, "vector": fixed},
        {"id": list(range(10)), "vector": ragged},
        {"text": ids, "label": [i % 3 for i in range(10)]},
    ):
        for how in ({"compression": "none"}, {"compression": "snappy", "use_dictionary": True}):
            buffer = io.BytesIO()
            parquet.write_table(pa.table(columns), buffer, **how)
            found.append(buffer.getvalue())
    return found


def pictures() -> list[bytes]:
    """Return the bytes of one picture in every format that Pillow writes here."""
    from PIL import Image

    colours = Image.fromarray((np.arange(300) % 256).astype(np.uint8).reshape(10, 10, 3))
    found = []
    for image, form, how in (
        *((colours, form, {}) for form in ("PNG", "JPEG", "GIF", "BMP", "PPM", "QOI", "TIFF")),
        *((colours.convert(mode), "PNG", {}) for mode in ("1", "L", "P", "RGBA", "LA")),
        (colours, "TIFF", {"compression": "tiff_lzw"}),
        (colours, "WEBP", {"lossless": True}),
        (colours, "JPEG2000", {}),
    ):
        buffer = io.BytesIO()
        try:
            image.save(buffer, form, **how)
        except (KeyError, OSError):
            continue
        found.append(buffer.getvalue())
    return found


def stamps(folder: Path) -> tuple[list[bytes], Callable[[Path], Any]]:
    """Return stamps of a run, and how they are read."""
    (folder / "recipe.yaml").write_text(STAMPED, encoding="utf-8")
    np.save(folder / "a.npy", np.random.default_rng(0).standard_normal((12, 3)))
    run = Runner(read_recipe(folder / "recipe.yaml"), folder / "run")
    run.run()
    sound = [run.stamp(job).read_bytes() for job in run.recipe.jobs]

    def read(path: Path) -> None:
        run.stamp = lambda job: path  # type: ignore[method-assign]
        for job in run.recipe.jobs:
            run.state(job)
        json.dumps(list(run.results()))

    return [*sound, *(one.replace(b'"figures": []', b'"figures": [{"value": 1.0}]') for one in sound)], read


LAST = {"3.weight": torch.ones(4, 72), "3.bias": torch.zeros(4)}
TABLES = [
    b'id,text,label\n1,"a, b",x\n2,"two\nlines",y\n3,three,\n',
    b"\xef\xbb\xbftext\r\none\r\ntwo\r\n",
    b"doc_id,sentence,extra\na,b,c\nd,e,f\n",
]
LINES = [
    b'{"id": 1, "text": "one", "label": "x"}\n{"id": 2, "text": "two", "label": null}\n',
    b'"one"\n"two"\n\n"three"\n',
    b'{"_id": "a", "body": "b", "class": 1.5}\n{"_id": "c", "body": "d", "class": true}\n',
]
_ENTRY = {"ref": "hf://owner/name", "commit": "a" * 40, "card": "b" * 64, "sha256": "c" * 64, "plugin": "p 1.0"}
LOCKS = [
    b"format: 1\natlas: 0.1.0\nplugins: [latent-atlas 0.1.0]\nentries:\n- "
    + "\n  ".join(f"{name}: {value}" for name, value in _ENTRY.items()).encode()
]
RECIPE = """\
format: 1
description: all that a recipe may hold
values:
  spaces: [a, b]
steps:
  v:
    each: {space: "${spaces}"}
    verb: encode
    encoder: precomputed
    options: {model: "${space}"}
    input: ${space}.npy
  pick:
    verb: sample
    sampler: uniform
    vectors: {step: v}
    n: 4
  fit:
    each: {"source, target": {pairs: "${spaces}"}, method: [procrustes, linear], n: {range: 2}}
    verb: fit
    aligner: ${method}
    source: {step: v, space: "${source}"}
    target: {step: v, space: "${target}"}
  measured:
    each: {step: fit}
    verb: evaluate
    alignment: {step: fit}
    source: {step: v, space: "${source}"}
    target: {step: v, space: "${target}"}
    metrics: [r2, cosine]
tables:
  figures: {step: measured, rows: [method], columns: [n]}
pictures:
  both: {one: {step: v, space: a}}
"""
STAMPED = """\
format: 1
steps:
  v: {verb: encode, encoder: precomputed, options: {model: m}, input: a.npy}
  fit: {verb: fit, aligner: procrustes, source: {step: v}, target: {step: v}}
  measured: {verb: evaluate, alignment: {step: fit}, source: {step: v}, target: {step: v}, metrics: [r2]}
"""


def refused(function: Callable[[], Any]) -> bool:
    """Whether something is refused in words; any other exception goes on."""
    try:
        function()
    except AtlasError:
        return True
    return False
