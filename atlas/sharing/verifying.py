"""Whether a published artefact keeps the promises of its card: hashes, numbers, requirements and figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.cards.folder import MODEL
from atlas.cards.kinds import Card, Metric
from atlas.errors import AtlasError, NotFoundError
from atlas.hub.cache import INSIDE, SCHEME
from atlas.hub.pulling import locate
from atlas.hub.pushing import not_finite
from atlas.sharing.measuring import measurable
from atlas.sharing.parts import check_measured, figures, load_parts, plays, required
from atlas.storage.checks import check_file
from atlas.verbs.evaluate import NEEDS, OPTIONS

TOLERANCE = 1e-3
ILL_CONDITIONED = 1e6


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `ok` is None where there was nothing to judge."""

    name: str
    ok: bool | None
    said: str


def verify(ref: str | Path, data: Mapping[str, str] | None = None, **keywords: Any) -> list[Check]:
    """Check everything that can be checked of an artefact.

    Args:
        ref: a folder, the id of a registry entry, or 'hf://owner/name[@revision]'.
        data: references to data to measure on, by role: `source` and `target` (and `head`) for an
            alignment, `vectors` for a head, `vectors`, `vectors-2`... and `head` for an atlas; None: those the card
            names.
        **keywords: of `atlas.hub.pull`.

    Raises:
        AtlasError: it could not be had, its card is malformed, its file is not the one the card describes, or it is not
            measured on the given data.
    """
    from atlas.cards.folder import read_card

    folder = locate(ref, **keywords)
    card = read_card(folder)
    _check_given(card, data or {})
    checks = [Check("format", True, f"{card.kind} '{card.id}', every field of the card is sound")]
    if card.sha256:
        check_file(folder, card)
        checks.append(Check("hashes", True, f"{MODEL} is the one the card describes, sha256 {card.sha256[:12]}..."))
        checks += _numbers(folder, card)
    checks.append(_plugin(folder, card))
    if card.kind == "alignment" and str(ref).startswith(SCHEME):
        checks += _beside(str(ref), card, keywords)
    if hasattr(card, "evaluation"):
        checks += _figures(folder, card, {**_named(card, data or {}), **(data or {})})
    return checks


def _check_given(card: Card, data: Mapping[str, str]) -> None:
    if data:
        check_measured(card)
    if not all(plays(card, part) for part in data):
        needs, options = NEEDS[card.kind], OPTIONS[card.kind]
        raise AtlasError(f"{card.kind.capitalize()} '{card.id}' is measured on {needs} - give {options}")


def _numbers(folder: Path, card: Card) -> Iterator[Check]:
    """Look for numbers that are none, and for a map that loses directions."""
    import torch

    from atlas.storage.tensors import DTYPES, load_tensors

    bad = not_finite(folder / MODEL)
    count = sum(math.prod(i.shape) for i in card.tensors.values() if DTYPES[i.dtype].is_floating_point)
    said = f"NaN or infinity in {', '.join(bad)}" if bad else f"all {count:,} are finite"
    yield Check("numbers", not bad, said)
    if card.kind == "moments" and not bad:
        yield _sums(folder, card)
    if card.kind == "alignment" and card.plain and not bad and len(card.tensors["weight"].shape) == 2:
        values = torch.linalg.svdvals(load_tensors(folder / MODEL)["weight"].double())
        condition = float(values[0] / values[-1]) if float(values[-1]) > 0 else float("inf")
        note = " - some directions are lost, do not run it backwards" if condition > ILL_CONDITIONED else ""
        yield Check("condition", None if note else True, f"condition number {condition:.3g}{note}")


def _beside(ref: str, card: Any, keywords: Mapping[str, Any]) -> Iterator[Check]:
    """Check the moments that lie beside an alignment on the Hub, if there are any."""
    from atlas.artefacts.loading import load

    try:
        found = load(ref, "moments", inside=INSIDE, **keywords)
    except NotFoundError:
        return
    except AtlasError as error:
        yield Check("moments", False, str(error))
        return
    same = card.source.matches(found.source) and card.target.matches(found.target)
    yield Check("moments", same, f"those beside it are of {found.n:,} pairs" + ("" if same else " of other spaces"))


def _sums(folder: Path, card: Any) -> Check:
    from atlas.artefacts.loading import load

    try:
        found = load(folder, "moments")
    except AtlasError as error:
        return Check("sums", False, str(error))

    return Check("sums", True, f"they can be those of {found.n:,} pairs")


def outdated(plugin: str) -> str:
    """Return the remedy for a plugin, 'name version', that is not installed or older than that; '' if nothing."""
    from atlas.plugins.provenance import installed_plugin, older, recorded

    said = recorded(plugin)
    if said is None:
        return "the card does not say which plugin it needs in a way that can be read"
    name, version = said
    installed = installed_plugin(name)
    if installed is None:
        return f"it comes with {name} {version}, which is not installed: pip install {name}"
    if older(installed.version, version):
        return f"it was made with {plugin}, installed is {installed.version}: pip install --upgrade {name}"
    return ""


def _plugin(folder: Path, card: Card) -> Check:
    if not card.plugin:
        return Check("plugin", True, "needs none")
    advice = outdated(card.plugin)
    if advice and card.plain:
        return Check("plugin", True, f"{card.plugin} is not needed: the map is a weight and a bias")
    return Check("plugin", not advice, advice or f"{card.plugin} is installed")


def _named(card: Any, data: Mapping[str, str]) -> dict[str, str]:
    """Return the data a card was measured on: nothing but the head where other vectors are given.

    Whatever it says, no path of this computer is looked at for it.
    """
    found = {part: ref for part, ref in card.evaluation.items() if plays(card, part) and ref.startswith(SCHEME)}
    return {part: ref for part, ref in found.items() if part == "head" or not set(data) - {"head"}}


def _figures(folder: Path, card: Any, data: dict[str, str]) -> Iterator[Check]:
    """Run the evaluation again, where its data can be reached, and compare with the card."""
    if not card.metrics:
        yield Check("figures", None, "the card has none")
        return
    if not {*required(card)} <= {*data}:
        yield Check("figures", None, f"the card does not say on which vectors - give {OPTIONS[card.kind]}")
        return
    try:
        views = load_parts(data)
        found = {metric.name: metric for metric in figures(folder, card, views, measurable(card.metrics, views))}
        yield _held_out(list(found.values()))
    except AtlasError as error:
        yield Check("figures", None, f"could not be measured again: {error}")
        return
    for metric in card.metrics:
        yield _compared(metric, found.get(metric.name), card.metrics)


def _held_out(found: Sequence[Metric]) -> Check:
    """Say how many of the items measured on were fitted on."""
    most = max(found, key=lambda one: -1 if one.overlap is None else one.overlap)
    if most.overlap is None:
        return Check("held out", None, "the card does not say on which items it was fitted")
    of = f"of the {most.n:,} items it is measured on"
    if most.held_out:
        return Check("held out", True, f"it was fitted on {most.overlap or 'none'} {of}")
    return Check("held out", False, f"it was fitted on {most.overlap:,} {of} - measure it on others")


def _compared(said: Metric, found: Metric | None, metrics: Sequence[Metric]) -> Check:
    """Compare a figure with the one measured now.

    A card may hold figures of several parts of a data set: those of as many items, if there are any, and of these the
    one that holds, are of the vectors measured on now, and the others are of others.
    """
    if found is None:
        return Check(said.name, None, "is not one that can be measured again")
    if not _same(said.dataset, found.dataset):
        return Check(said.name, None, f"the card says it of {said.dataset}, the vectors are of {found.dataset}")
    alike = [one for one in metrics if one.name == said.name and _same(one.dataset, found.dataset)]
    alike = [one for one in alike if one.n == found.n] or alike
    meant = [one for one in alike if _holds(one, found)] or alike
    if said not in meant:
        return Check(said.name, None, f"the card says it of other vectors: {said.n:,} items {said.split}".rstrip())
    ok = _holds(said, found)
    verdict = "holds" if ok else "does not hold"
    return Check(said.name, ok, f"{verdict}: the card says {said.value:.4f}, measured again {found.value:.4f}")


def _same(one: str, other: str) -> bool:
    """Whether two data sets may be the same; one without a name may be any."""
    return not one or not other or one == other


def _holds(said: Metric, found: Metric) -> bool:
    return abs(found.value - said.value) <= TOLERANCE * max(1.0, abs(said.value))
