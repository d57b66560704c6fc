"""The pages of a registry: a list of all artefacts, a page for each and for each space, and the graph."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.cards.kinds import Metric, best
from atlas.cards.space import Space
from atlas.cards.yaml import dump_yaml
from atlas.errors import AtlasError
from atlas.hub.cache import Ref
from atlas.hub.model_card import LIBRARY, spaces_of
from atlas.hub.model_card_text import example
from atlas.routes.edges import edges, node
from atlas.routes.uses import use
from atlas.site import graph
from atlas.storage.files import as_path, check_target, explained
from atlas.storage.places import remove, take_place, temporary_name
from atlas.storage.registry import Entry, Registry

NAMES = {"index.html", "graph.html", "index.json", "site.js", "style.css", "artefacts", "spaces"}
README = "README.md"
HERE = Path(__file__).parent
# The figures a listing shows, the first that a card has.
SHOWN = ("accuracy", "self-recall@10", "r2", "cosine")


@dataclass(frozen=True)
class Page:
    """An artefact, and the name of the file that shows it."""

    entry: Entry
    file: str

    @property
    def card(self) -> Any:
        """The text to show."""
        return self.entry.card

    @property
    def figure(self) -> Metric | None:
        """The figure that a listing shows."""
        found = (best(getattr(self.card, "metrics", ()), name) for name in SHOWN)
        return next((figure for figure in found if figure is not None), None)

    @property
    def ends(self) -> tuple[str, str]:
        """The ids of the spaces it is from and to."""
        spaces = self.entry.spaces
        return spaces.get("source", spaces.get("space", "")), spaces.get("target", "")

    @property
    def ref(self) -> str:
        """The reference it is loaded by."""
        return f"hf://{self.card.hub}" if self.card.hub else self.card.id

    @property
    def code(self) -> str:
        """Python that loads and uses it."""
        code = example(self.card, self.card.hub or "OWNER/NAME")
        return code if self.card.hub else code.replace("hf://OWNER/NAME", self.card.id)


def site(registries: Sequence[str | Path], out: str | Path, *, space: str = "", overwrite: bool = False) -> int:
    """Write the pages of registries to a folder, whole or not at all, and return how many artefacts they show.

    Args:
        registries: folders; none: those of ATLAS_REGISTRY and the shipped one.
        out: the folder of the pages.
        space: owner/name of a Space of static pages on the Hub, whose card is then among them.
        overwrite: replace an existing folder.
    """
    path, where = as_path(out), Ref(space) if space else None
    # A site is replaced where it is the whole of a folder.
    mine = path.is_dir() and {one.name for one in path.iterdir()} - {README} == NAMES
    if mine and not overwrite:
        raise AtlasError(f"'{path}' exists - choose another name, or pass --overwrite (overwrite=True) to replace it")
    if not mine:
        check_target(path, overwrite)
    pages = [Page(entry, _file(entry)) for entry in Registry(*registries).entries()]
    temporary = temporary_name(path)
    try:
        with explained(path):
            temporary.mkdir(parents=True)
            _write(temporary, pages)
            if where:
                (temporary / README).write_text(_card(where, pages), encoding="utf-8")
            take_place(temporary, path)
    finally:
        remove(temporary)
    return len(pages)


def _card(space: Ref, pages: Sequence[Page]) -> str:
    """Return the card of a Space of static pages."""
    about = {"title": space.repo.partition("/")[2], "sdk": "static", "app_file": "index.html", "tags": [LIBRARY]}
    text = (
        f"{len(pages):,} artefacts of a registry of latent-space alignments, as pages, with the graph of their spaces."
    )
    return f"---\n{dump_yaml(about)}---\n\n{text}\n"


def _write(folder: Path, pages: list[Page]) -> None:
    for name in ("style.css", "site.js"):
        shutil.copyfile(HERE / name, folder / name)
    (folder / "artefacts").mkdir()
    (folder / "spaces").mkdir()
    spaces = {node(space): space for page in pages for space in named(page.card)}
    links = {key: f"spaces/{_digest(key)}.html" for key in spaces}
    render = functools.partial(_render, folder, links)
    render("index.html", "home.html.jinja", pages=pages)
    for page in pages:
        render(page.file, "artefact.html.jinja", page=page, spaces=named(page.card), root="../")
    for key, space in spaces.items():
        uses = [(page, does) for page in pages if (does := use(page.card, space))]
        render(links[key], "space.html.jinja", space=space, uses=uses, root="../")
    found = [*edges((page.card, page.entry.folder) for page in pages)]
    places = graph.nodes(found)
    drawn = graph.lines(found, places)
    ways = graph.ways(found, places, drawn)
    render("graph.html", "graph.html.jinja", places=places, lines=drawn, ways=ways, size=graph.SIZE)
    listed = [{"name": p.entry.name, "page": p.file, "ref": p.ref, "card": p.card.to_dict()} for p in pages]
    (folder / "index.json").write_text(json.dumps(listed, indent=1), encoding="utf-8")


def named(card: Any) -> Iterable[Space]:
    """Return the spaces that a card names."""
    if card.kind == "moments":
        return [card.source, card.target]
    if card.kind == "anchors":
        return list(card.spaces)
    return [space for part in spaces_of(card).values() for space in part]


def _render(folder: Path, links: dict[str, str], name: str, template: str, root: str = "", **about: Any) -> None:
    text = _environment().get_template(template).render(root=root, links=links, node=node, **about)
    (folder / name).write_text(text, encoding="utf-8")


@functools.cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader

    made = Environment(autoescape=True, loader=FileSystemLoader(HERE), trim_blocks=True, lstrip_blocks=True)
    made.filters["number"] = lambda value: "" if value is None else f"{value:.4g}"
    return made


def _file(entry: Entry) -> str:
    owner = f"-{_digest(entry.owner)}" if entry.owner else ""
    return f"artefacts/{entry.card.kind}-{entry.card.id}{owner}.html"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
