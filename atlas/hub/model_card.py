"""The model card: the README that a repository shows, made from an artefact's card.

Atlas's own text lies between two marks, and in the metadata at the top; everything else belongs to people and is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from atlas.cards.kinds import Card, Metric
from atlas.cards.space import Space
from atlas.cards.yaml import dump_yaml, parse_yaml
from atlas.errors import CardError

BEGIN, END = "<!-- atlas:begin - generated: write above or below these two marks -->", "<!-- atlas:end -->"
_MARKS = re.compile(r"<!-- atlas:begin\b[^>]*-->.*?<!-- atlas:end\b[^>]*-->", re.DOTALL)
_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?\n)?---[ \t]*(\r?\n|\Z)", re.DOTALL)
LIBRARY = "latent-atlas"
# Tags that publishers of alignments use, so that these appear beside theirs.
ALIGNMENT_TAGS = ("vector-alignment", "embedding-translation", "vector-conversion", "embeddings")
TAG = "atlas:"
# The paper of a method, by its number on arXiv.
PAPERS = {
    "relative": "2209.15430",
    **dict.fromkeys(("procrustes", "linear", "linear-orthogonal"), "2311.00664"),
    **dict.fromkeys(("relative-mean", "relative-concat"), "2311.06547"),
    "generalized-procrustes": "2602.06205",
}
_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]{0,95}")
# Licences the Hub knows by name; any other is declared as 'other' with its name beside it.
_LICENSES = (
    "apache-2.0 mit afl-3.0 agpl-3.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsl-1.0 cc cc0-1.0 cc-by-2.0 cc-by-3.0 "
    "cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 "
    "cc-by-nc-nd-4.0 cc-by-nd-4.0 cdla-permissive-2.0 epl-2.0 eupl-1.2 gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 "
    "lgpl-3.0 mpl-2.0 ms-pl ncsa odbl odc-by openrail pddl unlicense wtfpl zlib unknown other"
)
LICENSES = frozenset(_LICENSES.split())


def paper(card: Card) -> str:
    """Return the number on arXiv of the paper that a method is of, '' where it is of none."""
    return PAPERS.get(card.method, "") if card.kind in ("alignment", "atlas") else ""


def spaces_of(card: Card) -> dict[str, list[Space]]:
    """Return the spaces an artefact is about, by the part they play: source, target or space."""
    if card.kind in ("alignment", "moments"):
        return {"source": [card.source], "target": [card.target]}  # type: ignore[attr-defined]
    if card.kind == "atlas":
        return {"source": list(card.charts), "target": [card.space]}  # type: ignore[attr-defined]
    return {"space": list(getattr(card, "spaces", ())) or [card.space]}  # type: ignore[attr-defined]


def hub_models(card: Card) -> list[str]:
    """Return the models of the encoders of an artefact's spaces, where their names have the form of a Hub id."""
    spaces = [space for part in spaces_of(card).values() for space in part]
    named = [str(space.identity.get(key, "")) for space in spaces for key in ("model", "repo")]
    return sorted({name for name in named if _HUB_ID.fullmatch(name)})


def tags(card: Card) -> list[str]:
    """Return the tags an artefact is found by."""
    found = [
        *(ALIGNMENT_TAGS if card.kind in ("alignment", "atlas", "moments") else ("embeddings",)),
        f"{TAG}kind:{card.kind}",
    ]
    found += [f"{TAG}{part}:{space.id}" for part, spaces in spaces_of(card).items() for space in spaces]
    found += [f"arxiv:{paper(card)}"] if paper(card) else []
    pairs = getattr(card, "n_pairs", None)
    found += [f"{TAG}pairs:{pairs}"] if pairs else []
    return found + ([f"{TAG}method:{card.method}"] if card.method else [])


def metadata(card: Card, base_models: Sequence[str] = ()) -> dict[str, Any]:
    """Return the metadata of a model card, as the Hub spells it.

    Args:
        card: of the artefact.
        base_models: ids of models on the Hub that its spaces are made by.
    """
    found: dict[str, Any] = {"library_name": LIBRARY, "pipeline_tag": "feature-extraction"}
    if card.license in LICENSES:
        found["license"] = card.license
    elif card.license:
        found |= {"license": "other", "license_name": card.license}
    found["tags"] = tags(card)
    dataset = getattr(card, "dataset", "")
    datasets = dataset.split(", ")
    if all(re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) for name in datasets):
        found["datasets"] = datasets
    if card.language:
        found["language"] = list(card.language)
    metrics: Sequence[Metric] = getattr(card, "metrics", ())
    if metrics:
        found["metrics"] = list(dict.fromkeys(metric.name for metric in metrics))
        found["model-index"] = [{"name": card.id, "results": _results(metrics)}]
    if base_models:
        found |= {"base_model": list(base_models), "base_model_relation": "adapter"}
    return found


def _results(metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for m in metrics:
        figure: dict[str, Any] = {"type": m.name, "value": m.value, "name": m.name}
        if not m.held_out:
            figure["args"] = {"overlap": m.overlap}
        groups.setdefault((m.dataset or "unnamed", m.split), []).append(figure)
    return [
        {
            "task": {"type": "feature-extraction"},
            "dataset": {"name": name, "type": name, **({"split": split} if split else {})},
            "metrics": figures,
        }
        for (name, split), figures in groups.items()
    ]


def readme(old: str, before: Mapping[str, Any], after: Mapping[str, Any], body: str, where: str = "README.md") -> str:
    """Return a README with Atlas's part brought up to date, and every line that people wrote as it was.

    Args:
        old: the README as it is; '' for none.
        before: the metadata Atlas wrote into it; other values were written by people.
        after: the metadata to write.
        body: the text between the marks.
        where: the start of every message.

    Raises:
        CardError: metadata that is not YAML, or one mark without the other.
    """
    match = _FRONT.match(old)
    block, rest = (match.group(1) or "", old[match.end() :]) if match else ("", old)
    present = parse_yaml(block, f"{where}: the metadata") if block.strip() else {}
    if not isinstance(present, dict):
        raise CardError(f"{where}: the metadata must be a mapping, got {type(present).__name__}")
    for key, value in changes(present, before, after).items():
        block = _set(block, key, value)
    # A mark that stands in the text itself, as in a recipe, would be taken for Atlas's own by the next push.
    marked = f"{BEGIN}\n{body.strip().replace('<!-- atlas:', '<!--atlas:')}\n{END}"
    if _MARKS.search(rest):
        rest = _MARKS.sub(lambda _: marked, rest, count=1)
    elif "<!-- atlas:begin" in rest or "<!-- atlas:end" in rest:
        raise CardError(f"{where}: one of the marks atlas:begin and atlas:end is missing - put it back, or remove both")
    else:
        rest = f"{rest.rstrip()}\n\n{marked}\n" if rest.strip() else f"\n{marked}\n"
    return f"---\n{block}---\n{rest}"


def changes(present: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields to set (None: remove) so that Atlas's values are new and people's stay."""
    found: dict[str, Any] = {}
    for key in {**before, **after}:
        now, old, new = present.get(key), before.get(key), after.get(key)
        if now is None or now == old:
            wanted = new
        elif isinstance(new, list) or isinstance(old, list):
            listed = now if isinstance(now, list) else [now]
            wanted = [*(new or []), *(item for item in listed if item not in (old or []) and item not in (new or []))]
        else:
            continue  # a person's own value
        if wanted != now:
            found[key] = wanted
    return found


def _set(block: str, key: str, value: Any) -> str:
    """Return a YAML block with one top-level key replaced, added or removed, and every other line as it was."""
    text = "" if value is None else _line(key, value)
    # A key's lines: its own, and those after it that are indented, list items or blank.
    old = re.compile(
        rf"^(?:{re.escape(key)}|\"{re.escape(key)}\"|'{re.escape(key)}')[ \t]*:.*\n(?:[ \t-].*\n|[ \t]*\n)*", re.M
    )
    return old.sub(lambda _: text, block, count=1) if old.search(block) else block + text


def _line(key: str, value: Any) -> str:
    text = dump_yaml(value) if isinstance(value, list) else dump_yaml([value]).strip()[1:-1] + "\n"
    return f"{key}:\n{text}" if text.startswith("- ") else f"{key}: {text}"
