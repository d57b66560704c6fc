"""Publish an artefact with figures that others can measure again."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from atlas.artefacts.artefact import Artefact
from atlas.artefacts.loading import load, save
from atlas.cards.folder import CARD, dump_card, read_card
from atlas.cards.kinds import DOMAIN
from atlas.cards.names import slug
from atlas.components.encoder import Encoder
from atlas.errors import AtlasError
from atlas.hub.cache import Cache
from atlas.hub.pushing import push_folder, sound_card
from atlas.hub.repository import Push
from atlas.sharing.measuring import measured
from atlas.storage.files import write_text
from atlas.storage.registry import find_local
from atlas.verbs.parameters.arguments import MomentsLike, moments_of


def push(
    artefact: str | Path | Artefact | Encoder,
    repo: str,
    *,
    evaluated_on: str | Sequence[str] = (),
    head: str = "",
    fitted_on: Sequence[str] = (),
    private: bool | None = None,
    revision: str | None = None,
    tag: str = "",
    create_pr: bool = False,
    commit_message: str = "",
    token: str | bool | None = None,
    dry_run: bool = False,
    license: str = "",
    language: Sequence[str] = (),
    with_items: str | Path | None = None,
    with_moments: MomentsLike | None = None,
    few: bool = False,
    collection: str = "",
) -> Push:
    """Publish an artefact as one commit, measured before on public data, and return it.

    Figures take the place of those on the card of the same name, data set and split; the others stay. Where a folder is
    published, its own card gets the figures, too.

    Args:
        artefact: an artefact, an encoder (as the card of its space), or the folder or registry id of either.
        repo: owner/name; it is made if it is not there.
        evaluated_on: references to the Hub, to vectors that figures are measured on. For an alignment, those of its
            source and of its target; for a head, those of its space; for an atlas, those of one or more of its spaces.
            The commits they mean now are written into the card.
        head: a reference to a head of an alignment's target or of an atlas's space, to measure its accuracy.
        fitted_on: vectors of the source and of the target that an alignment was fitted on: paths, ids or references.
            The same method is fitted on fewer and fewer of them, to show how few would do; nothing else is published.
        private: whether to make it private.
        revision: the branch to commit to, which is made if it is not there; None: main.
        tag: a name for the commit; it must be new.
        create_pr: open a pull request instead.
        commit_message: '': one made of kind and id.
        token: None for the one you are logged in with.
        dry_run: change nothing, and return the publication that would be made.
        license: to publish it under, such as cc-by-4.0; '': the one that the card names.
        language: of the items, such as en; none: those that the card names.
        with_items: a .txt, .csv, .tsv, .jsonl or .parquet file of raw items to publish, as items.txt and so on.
        with_moments: moments to publish beside an alignment, from which others can fit it again with their own pairs.
        few: publish moments, or the domain of a map, of under 10 rows for each dimension, though they reveal the rows.
        collection: add the repository to this collection of its owner, by its title, which is made if it is not there,
            or by its name, owner/title-and-number.

    Raises:
        CardError: the folder is not sound, or would publish a local path.
        AtlasError: it cannot be measured, the Hub refuses, or the connection is lost.
    """
    artefact = find_local(artefact) if isinstance(artefact, (str, Path)) else artefact
    how: dict[str, Any] = {"private": private, "revision": revision, "tag": tag, "create_pr": create_pr}
    how |= {"commit_message": commit_message, "token": token, "dry_run": dry_run, "with_items": with_items}
    how |= {"collection": collection}
    on = [evaluated_on] if isinstance(evaluated_on, str) else [*evaluated_on]
    on += [head] * bool(head)
    found = _published(artefact, few)
    with tempfile.TemporaryDirectory() as temporary:
        how["moments"] = _beside(found, with_moments, few, license, Path(temporary) / "beside")
        if isinstance(artefact, Path) and found.kind != "moments":
            return _push(artefact, repo, on, fitted_on, (license, language), how)
        folder = Path(temporary) / slug(repo.split("/")[-1])
        save(found, folder)
        return replace(_push(folder, repo, on, fitted_on, (license, language), how), told="")


def _published(artefact: str | Path | Artefact | Encoder, few: bool) -> Any:
    """Return the public part of an artefact, as it is where its folder is; refuse one that gives rows away."""
    if isinstance(artefact, (str, Path)):
        card = read_card(artefact)
        if card.kind != "moments" and not any(name.startswith(DOMAIN) for name in card.tensors):
            return card
        artefact = load(artefact)
    return artefact.published(few) if isinstance(artefact, Artefact) else artefact


def _beside(found: Any, given: MomentsLike | None, few: bool, license: str, folder: Path) -> Path | None:
    """Return the folder of moments that are to be published beside an alignment."""
    if given is None:
        return None
    if found.kind != "alignment":
        raise AtlasError("Moments are published beside an alignment alone - publish them by themselves")
    m = moments_of(given)
    for name in ("source", "target"):
        getattr(found, name).require(getattr(m, name), f"Alignment '{found.id}' has the {name}", "the moments")
    save(m.published(few), folder, license=license or found.license)
    return folder


def _push(
    folder: Path, repo: str, on: Sequence[str], fitted_on: Sequence[str], said: tuple[Any, ...], how: dict[str, Any]
) -> Push:
    license, language = said
    card = sound_card(folder, license, language=language)
    if fitted_on and (len(fitted_on) != 2 or not on or card.kind != "alignment"):
        raise AtlasError(
            "A learning curve is that of an alignment, and needs vectors of the source and of the target that it was "
            "fitted on, and others to measure on"
        )
    if not on:
        return push_folder(folder, repo, card=card, **how)
    card, made = measured(folder, card, on, fitted_on, how["token"])
    done = push_folder(folder, repo, card=card, made=made, **how)
    return done if how["dry_run"] else replace(done, told=_tell(folder, card, Cache(done.ref).root))


def _tell(folder: Path, measured: Any, cache: Path) -> str:
    """Write the figures into a folder's own card, and return the folder; '' where nothing was written."""
    own: Any = read_card(folder)
    card = replace(own, metrics=measured.metrics, evaluation=measured.evaluation)
    # Artefacts in the Hub's cache stay as they were pulled.
    if card == own or cache.resolve() in folder.resolve().parents:
        return ""
    write_text(folder / CARD, dump_card(card))
    return str(folder)
