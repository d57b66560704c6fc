"""The table of docs/confidence.md, from the results of `run.py`."""

from __future__ import annotations

import json
from pathlib import Path

HEAD = (
    "| method | from | to | leverage: fit | like it | unlike "
    "| error, like it: predicted | true | unlike: predicted | true "
    "| cosine, like it | unlike | rank correlation, like it | unlike | both | outside, like it | unlike |"
)


def table() -> str:
    """Return the figures of every map, one a line."""
    data = json.loads((Path(__file__).parent / "results.json").read_text(encoding="utf-8"))
    _, like, unlike = data["sets"]
    return "\n".join(
        [HEAD, "|---" * HEAD.count(" | ") + "|---|", *(row(r, r[like], r[unlike]) for r in data["results"])]
    )


def row(r: dict, like: dict, unlike: dict) -> str:
    """Return the figures of one map."""
    cells = [r["method"], r["source"], r["target"]]
    cells += [f"{x:.3f}" for x in (r["level"], like["leverage"], unlike["leverage"])]
    cells += [f"{x:.2f}" for side in (like, unlike) for x in (side["predicted"], side["true"])]
    cells += [f"{x:.2f}" for x in (like["cosine"], unlike["cosine"])]
    cells += [f"{x:.2f}" for x in (like["correlation"], unlike["correlation"], r["both"])]
    cells += [f"{x:.1%}" for x in (like["outside"], unlike["outside"])]
    return f"| {' | '.join(cells)} |"
