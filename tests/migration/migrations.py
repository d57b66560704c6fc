"""A folder of .parquet files whose best way is to be converted, and a plan for it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet
from worlds import World, world

import atlas
from atlas.migration.acting.plan import Plan, planned
from atlas.migration.advice import Advice
from atlas.migration.advising import advise

NAMES = ("new", "queries_old", "queries_new")
GATE = "ndcg@10>=0.95"


def write_index(folder: Path, vectors: atlas.Vectors, files: int = 4) -> None:
    """Write vectors to the files of a folder, with a column of titles."""
    folder.mkdir()
    for k, part in enumerate(np.array_split(np.arange(len(vectors)), files)):
        data = vectors.data[torch.from_numpy(part)].numpy()
        ids = [vectors.ids[i] for i in part]
        lists = pa.array(list(data), pa.list_(pa.float32()))
        table = pa.table({"id": ids, "embedding": lists, "title": [f"title of {one}" for one in ids]})
        parquet.write_table(table, folder / f"docs-{k}.parquet")


def inputs(folder: Path, one: World) -> dict[str, Any]:
    """Write what `advise` is given to a folder, and return where it is."""
    for name in NAMES:
        getattr(one, name).save_pretrained(folder / f"{name}.safetensors")
    lines = [f"{q} 0 {d} {grade}" for q, grades in one.judgements.items() for d, grade in grades.items()]
    (folder / "judged.qrels").write_text("\n".join(lines))
    given = {name: str(folder / f"{name}.safetensors") for name in NAMES}
    return {**given, "judgements": str(folder / "judged.qrels")}


@functools.cache
def advice(gate: str, noise: tuple[tuple[str, float], ...]) -> Advice:
    """Return what is advised in a world."""
    return advise(**world(**(dict(noise) or {"queries": 1.5})).given(gate=gate))


def make_plan(folder: Path, *, index: str = "", gate: str = GATE, **noise: float) -> tuple[Path, World]:
    """Advise on a folder 'docs', or on the store at a URL, and write the plan."""
    one = world(**(noise or {"queries": 1.5}))
    if not index:
        write_index(folder / "docs", one.old)
    given = {"old": index or str(folder / "docs"), **inputs(folder, one), "gate": gate}
    plan = planned(advice(gate, tuple(noise.items())), given)
    assert isinstance(plan, Plan)
    plan.write(folder / "plan.yaml")
    return folder / "plan.yaml", one


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files of a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def vectors_in(folder: Path) -> dict[str, tuple[np.ndarray, str | None]]:
    """Return vectors and marks in the files of a folder by id."""
    table = parquet.read_table(folder).to_pydict()
    marks = table.get("embedding__mark", [None] * len(table["id"]))
    return {one: (np.array(v), m) for one, v, m in zip(table["id"], table["embedding"], marks, strict=True)}
