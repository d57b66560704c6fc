"""The text of a model card, between the marks of a README."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from atlas.cards.kinds import FIRST_RESULT, Card
from atlas.cards.space import Space
from atlas.errors import in_a_line
from atlas.hub.model_card import paper, spaces_of

_NAME = re.compile(r"[A-Za-z0-9_.@:/+-]*")
# Characters that Markdown or HTML would not read as text, wherever they stand.
_MARKUP = {**{char: f"\\{char}" for char in "\\|`*_[]~$"}, "&": "&amp;", "<": "&lt;", ">": "&gt;"}
# The beginning of a heading, a list or a line across.
_LEADING = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|(?=#|[-+=](?:[-+=\s]|$)))")
_PLUGIN = re.compile(r"(latent-atlas-[a-z0-9-]+)( .*)?")
# The packages that bring the weights of an encoder, as its options name them.
_PACKAGE = re.compile("package:([A-Za-z0-9][A-Za-z0-9._-]*)/")
_ITEMS = {"text": '["A first sentence.", "And another one."]', "images": "torch.rand(3, 3, 32, 32)"}


def body(
    card: Card, repo: str, extras: Mapping[str, str] = {}, items: Sequence[str] = (), moments: Card | None = None
) -> str:
    """Return the text between the marks.

    Args:
        card: of the artefact.
        repo: owner/name.
        extras: text of the optional files beside the card, by name: 'curve.csv', 'recipe.yaml'; a picture has ''.
        items: names of the files of raw items that the repository holds.
        moments: the card of moments beside an alignment.
    """
    curve = [line.split(",") for line in extras.get("curve.csv", "").strip().splitlines()]
    about = {"config": getattr(card, "config", {}), "dataset": getattr(card, "dataset", ""), "parts": spaces_of(card)}
    metrics = getattr(card, "metrics", ())
    about |= {"sure": [one for one in metrics if one.name == FIRST_RESULT]}
    about |= {"figures": [one for one in metrics if one.name != FIRST_RESULT]}
    about |= {"measures": hasattr(card, "metrics"), "fitted": card.kind in ("alignment", "atlas", "head")}
    about |= {"plain_map": card.plain, "only_map": card.plain or not card.tensors}
    about |= {"domain": "domain.root" in card.tensors, "moments": moments}
    files = {"extras": extras, "items": items, "curve": curve, "recipe": extras.get("recipe.yaml", "")}
    about |= {"install": _installed(card), "paper": paper(card)}
    return str(_template().render(card=card, repo=repo, code=example(card, repo), **about, **files))


def _installed(card: Any) -> list[str]:
    """Return the names that pip must be given: of Atlas, of the plugin, and of packages that bring weights."""
    plugin = None if card.plain else _PLUGIN.fullmatch(card.plugin)
    names = ["latent-atlas", plugin[1]] if plugin else ["latent-atlas"]
    options = getattr(card, "config", {}).values() if card.kind == "space" else ()
    found = [_PACKAGE.match(value) for value in options if isinstance(value, str)]
    return [*names, *sorted({match[1] for match in found if match})]


def example(card: Any, repo: str) -> str:
    """Return Python that loads an artefact and uses it, and runs as it is."""
    name = {"atlas": "merged", "space": "encoder"}.get(card.kind, card.kind)
    lines = ["", f'{name} = atlas.load("hf://{repo}")', *_used(card)]
    return "\n".join(["import atlas", *["import torch"] * any("torch." in line for line in lines), *lines])


def _used(card: Any) -> list[str]:
    if card.kind == "alignment":
        mapped = f"mapped = alignment(vectors)  # (n, {card.source.dim}) to (n, {card.target.dim})"
        return [f"vectors = {_vectors(card, 'source', card.source)}", mapped]
    if card.kind == "atlas":
        own = f"atlas.Vectors.of(torch.randn(3, {card.charts[0].dim}), merged.charts[0])  # in place of yours"
        return [f"vectors = {_published(card, 'vectors') or own}", "shared = merged(vectors)  # and those of others"]
    if card.kind == "head":
        named = ["classes = [head.classes[i] for i in head.predict(vectors)]"] if card.classes else []
        return [f"vectors = {_vectors(card, 'vectors', card.space)}", "scores = head(vectors)", *named]
    if card.kind == "space":
        shape = card.space.identity.get("shape") or card.config.get("input_shape")
        sound = isinstance(shape, (list, tuple)) and shape and all(type(n) is int and n > 0 for n in shape)
        rows = f"torch.rand(3, {', '.join(map(str, shape if sound else [card.space.dim]))})"
        items = rows if sound else _ITEMS.get(card.takes, rows)
        return [f"items = {items}  # in place of yours", "vectors = torch.cat(list(encoder.encode(items)))"]
    if card.kind == "moments":
        return ["alignment = atlas.fit('linear', moments=moments)"]
    shape = [] if card.kind == "anchors" else ["print(vectors.data.shape)"]
    return [f"print(len({card.kind}), {card.kind}.ids[:3])", *shape]


def _vectors(card: Any, part: str, space: Space) -> str:
    return _published(card, part) or f"torch.randn(3, {space.dim})  # in place of yours, of {space.id}"


def _published(card: Any, part: str) -> str:
    """Return the code that loads the data a card was measured on; '' where the card names none."""
    ref = card.evaluation.get(part, "")
    return f'atlas.load("{ref}")' if ref.startswith("hf://") and _NAME.fullmatch(ref) else ""


@functools.cache
def _template() -> Any:
    from jinja2 import Environment

    environment = Environment(autoescape=True, finalize=plain, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "name": _name,
        "short": _short,
        "number": _number,
        "count": "{:,}".format,
        "fenced": _fenced,
    }
    return environment.from_string(Path(__file__).with_name("model_card.md.jinja").read_text(encoding="utf-8"))


def plain(value: Any) -> Any:
    """Return text that Markdown and HTML show as it is, on one line; earlier escapes stay."""
    if isinstance(value, Markup):
        return value
    text = "".join(_MARKUP.get(char, char) for char in in_a_line(value, 10_000))
    # Addresses are not turned into links, either.
    return Markup(_LEADING.sub(r"\1\\", text).replace("://", ":&#47;&#47;").replace("www.", "www&#46;"))


def _name(value: str) -> Any:
    """Return a name that stands in code, where nothing can be escaped; anything else is escaped as text."""
    return Markup(value) if _NAME.fullmatch(value) else plain(value.replace("`", "'"))


def _short(value: Any) -> Any:
    return plain(in_a_line(value, 200))


def _number(value: float | None) -> Any:
    return Markup("" if value is None else f"{value:.4g}")


def _fenced(text: str, language: str) -> Any:
    """Return a block of code, between marks that are longer than any in it."""
    fence = "`" * max(4, *(len(run) + 1 for run in re.findall("`+", text)), 0)
    return Markup(f"{fence}{language}\n{text.strip()}\n{fence}")
