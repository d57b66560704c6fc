"""From a folder to the Hub: one commit that holds all of it, or none, and leaves others' files alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from atlas.cards.folder import CARD, MODEL, dump_card, read_card
from atlas.cards.kinds import Card, TensorInfo
from atlas.cards.yaml import parse_yaml
from atlas.errors import AtlasError, CardError, NotFoundError
from atlas.hub.cache import MOMENTS, Ref
from atlas.hub.client import patiently
from atlas.hub.collections import add
from atlas.hub.model_card import LICENSES, hub_models, metadata, readme
from atlas.hub.model_card_text import body
from atlas.hub.repository import EXTRAS, ITEMS, MAX_TEXT, README, Push, Target, same
from atlas.storage.checks import check_file

_LOCAL = re.compile(
    r"(^|[\s'\"=(:,])(/(home|Users|root|tmp|var|mnt|data|private|opt|srv|work)/|~/|[A-Za-z]:[\\/]|file:)"
)


def push_folder(
    folder: str | Path,
    repo: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    tag: str = "",
    create_pr: bool = False,
    commit_message: str = "",
    token: str | bool | None = None,
    dry_run: bool = False,
    license: str = "",
    with_items: str | Path | None = None,
    card: Card | None = None,
    made: Mapping[str, bytes] = {},
    moments: Path | None = None,
    collection: str = "",
) -> Push:
    """Publish an artefact's folder as one commit.

    The card, the tensors, a README and, if they are there, a learning curve, a picture and the recipe are published,
    nothing else unless it is asked for. Nothing is pushed if the repository holds the same already.

    Args:
        folder: the artefact.
        repo: owner/name; it is made if it is not there.
        private: whether to make it private.
        revision: the branch to commit to, which is made if it is not there; None: main.
        tag: a name for the commit; it must be new.
        create_pr: open a pull request instead.
        commit_message: '': one made of kind and id.
        token: None for the one you are logged in with.
        dry_run: change nothing, and return the publication that would be made.
        license: to publish it under, such as cc-by-4.0; '': the one that the card names.
        with_items: a .txt, .csv, .tsv, .jsonl or .parquet file of raw items to publish, as items.txt and so on. Its
            content is not looked at; all readers of the repository can read it, and a pull does not download it.
        card: to publish in place of that in the folder, of the same tensors.
        made: content of further files, by name, such as a learning curve.
        moments: the folder of moments to publish beside an alignment.
        collection: add it to this collection, by the title of one of the owner, or by owner/title-and-number.

    Raises:
        CardError: the folder is not sound, or would publish a local path.
        AtlasError: the Hub refuses, somebody else pushed in the meantime, or the connection is lost.
    """
    card = sound_card(Path(folder), license.strip(), card)
    items = {} if with_items is None else _items(Path(with_items))
    if moments is not None:
        sound_card(moments)
        items |= {name: moments / Path(name).name for name in MOMENTS}
    target = Target(Ref(repo.removeprefix("hf://"), revision or "main"), token)
    if tag:
        Ref(repo, tag)
    target.look(create_pr)
    plan = _plan(Path(folder), card, target, private, tag, made, items)
    if dry_run:
        return plan
    if target.prepare(private, create_pr):
        # Somebody else may have made it in the meantime, and may have pushed.
        plan = _plan(Path(folder), card, target, private, tag, made, items)
    if plan.changed:
        done = target.commit(plan, commit_message or f"Push {card.kind} {card.id}", create_pr)
    else:
        done = replace(plan, commit=target.head)
    if tag and not create_pr:
        target.tag(tag, done.commit)
    return replace(done, collection=add(done.ref, collection, token=token)) if collection else done


def sound_card(folder: Path, license: str = "", given: Card | None = None, language: Sequence[str] = ()) -> Card:
    """Return the card of a folder that may be published: whole, finite, true to its tensors, and without local paths.

    A licence and languages take the place of the card's; the Hub knows the licences it lists in lower case only. A card
    that is given takes the place of that in the folder.
    """
    card = replace(given or read_card(folder), hub="")
    if language:
        card = replace(card, language=tuple(language))
    if license:
        card = replace(card, license=license.lower() if license.lower() in LICENSES else license)
    if card.sha256:
        check_file(folder, card)
        if bad := not_finite(folder / MODEL):
            raise CardError(f"{folder / MODEL}: NaN or infinity in {', '.join(bad)} - publish finite numbers only")
    elif (folder / MODEL).exists():
        raise CardError(f"{folder / MODEL}: the card does not list it")
    for name, text in texts_in(card.to_dict()):
        if local := _local(text):
            raise CardError(f"{folder / CARD}: field '{name}' holds the local path '{local}' - publish no local paths")
    return card


def not_finite(path: Path) -> list[str]:
    """Return the names of the tensors of a file that hold NaN or infinity; it is read by batches."""
    from atlas.storage.header import TensorFile, size_of
    from atlas.storage.rows import Rows
    from atlas.storage.tensors import DTYPES

    file, found = TensorFile(path), []
    for name, info in file.infos.items():
        if (dtype := DTYPES[info.dtype]).is_floating_point:
            flat = TensorInfo(info.dtype, (size_of(info) // dtype.itemsize, 1))
            if not all(bool(batch.isfinite().all()) for batch in Rows.map(path, file.starts[name], flat).batches()):
                found.append(name)
    return found


def texts_in(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text in plain data, with where it stands."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts_in(item, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from texts_in(item, f"{name}.{i}")


def _local(text: str) -> str:
    """Return the line of a text that names a place on this computer; '' if none does."""
    home = str(Path.home())
    for line in text.splitlines():
        if _LOCAL.search(line) or (len(home) > 1 and home in line) or Path(line.strip()).is_absolute():
            return line.strip()[:80]
    return ""


def _check_place(target: Target, card: Card, private: bool | None) -> None:
    """Refuse to overwrite files that Atlas did not write, and to publish private ones."""
    if private and target.info is not None and target.info.private is False:
        raise AtlasError(f"'{target.ref}' is public already - make it private in its settings, or leave out --private")
    there = _remote_card(target)
    if there is None and (CARD in target.files or MODEL in target.files):
        name = CARD if CARD in target.files else MODEL
        raise AtlasError(f"'{target.ref}' holds a {name} that Atlas did not write - choose another repository")
    if there is not None and there.kind != card.kind:
        raise AtlasError(f"'{target.ref}' holds {there.kind} '{there.id}', not {card.kind} - choose another repository")


def _remote_card(target: Target) -> Card | None:
    if CARD not in target.files:
        return None
    try:
        return Card.from_dict(parse_yaml(target.text(CARD), CARD))
    except CardError:
        return None


def _items(path: Path) -> dict[str, Path]:
    """Return a file of raw items by the name it is published under."""
    name = f"items{path.suffix.lower()}"
    if name not in ITEMS or not path.is_file():
        endings = ", ".join(Path(known).suffix for known in ITEMS)
        raise AtlasError(f"'{path}' is not a file of items to publish - give one that ends in {endings}")
    return {name: path}


def _plan(
    folder: Path,
    card: Card,
    target: Target,
    private: bool | None,
    tag: str,
    made: Mapping[str, bytes] = {},
    items: Mapping[str, Path] = {},
) -> Push:
    """Return the files to publish, and which of them the branch lacks.

    A file beside the card comes before one of the same name that was made for this push.
    """
    _check_place(target, card, private)
    beside = {name: folder / name for name in EXTRAS if (folder / name).is_file()}
    extras = {name: _extra(path) for name, path in beside.items()}
    made = {name: data for name, data in made.items() if name not in beside}
    extras |= {name: "" if name.endswith(".png") else data.decode() for name, data in made.items()}
    there = _remote_card(target)
    if there is not None:
        # Named once, they stay until others are named.
        card = replace(card, license=card.license or there.license, language=card.language or there.language)
    before = metadata(there, _on_the_hub(there, target)) if there else {}
    after = metadata(card, _on_the_hub(card, target))
    # Items that were published before stay, and the card must not say that there are none.
    held = sorted({*items, *(name for name in ITEMS if name in target.files)} - {*MOMENTS})
    told = body(card, target.ref.repo, extras, held, _moments(items, target))
    text = readme(target.text(README), before, after, told, f"{target.ref}: {README}")
    files: dict[str, bytes | Path] = {CARD: dump_card(card).encode(), README: text.encode()}
    if card.sha256:
        files[MODEL] = folder / MODEL
    files |= {**made, **beside, **items}
    changed = tuple(n for n, data in files.items() if n not in target.files or not same(data, target.files[n]))
    if tag and tag in target.tags and (changed or target.tags[tag] != target.head):
        raise AtlasError(f"'{target.ref}' has a tag '{tag}' already, at {target.tags[tag][:12]} - choose another")
    sizes = {n: data.stat().st_size if isinstance(data, Path) else len(data) for n, data in files.items()}
    about: dict[str, Any] = {"license": card.license, "metrics": getattr(card, "metrics", ())}
    return Push(target.ref, files, changed, text, target.head, sizes=sizes, **about)


def _moments(beside: Mapping[str, Path], target: Target) -> Card | None:
    """Return the card of the moments that lie beside an alignment, or are to."""
    name = MOMENTS[0]
    text = beside[name].read_text(encoding="utf-8") if name in beside else target.text(name)
    return Card.from_dict(parse_yaml(text, f"{target.ref}: {name}")) if text else None


def _extra(path: Path) -> str:
    """Return the text of an optional file, '' for a picture; refuse one that names places on this computer."""
    if path.suffix == ".png":
        return ""
    if path.stat().st_size > MAX_TEXT:
        raise AtlasError(f"'{path}' is too large to be published with a card - the limit is {MAX_TEXT} bytes")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise AtlasError(f"'{path}' is not UTF-8 text - fix it, or remove it") from None
    if local := _local(text):
        raise AtlasError(f"'{path}' holds the local path '{local}' - publish no local paths")
    return text


def _on_the_hub(card: Card, target: Target) -> list[str]:
    """Return those models of an artefact's encoders that are really there."""
    found = []
    for name in hub_models(card):
        try:
            patiently(lambda name=name: target.api.model_info(name, expand=["sha"]), name, target.token)  # type: ignore[misc]
            found.append(name)
        except NotFoundError:
            continue
    return found
