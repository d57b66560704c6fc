"""The base of all artefacts: a card, and the tensors it describes; saved to a folder, loaded from one, published."""

from __future__ import annotations

import hashlib
import html
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, overload

from torch import Tensor

from atlas.cards.folder import CARD, MODEL, dump_card, read_card
from atlas.cards.kinds import Card, Part
from atlas.cards.names import slug
from atlas.components.options import Component
from atlas.errors import AtlasError, in_a_line
from atlas.hub.cache import SCHEME, Ref
from atlas.hub.pulling import locate
from atlas.hub.pushing import push_folder
from atlas.hub.repository import Push
from atlas.numerics.arrays import check_finite
from atlas.plugins.catalogue import provider
from atlas.storage.checks import check_file
from atlas.storage.files import check_target, whole_folder
from atlas.storage.hashes import known_sha256
from atlas.storage.header import TensorFile
from atlas.storage.registry import find_local
from atlas.storage.tensors import load_tensors, save_tensors

T = TypeVar("T")


class OnCard(Generic[T]):
    """An attribute of an artefact that stands on its card."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, artefact: None, owner: type) -> Self: ...
    @overload
    def __get__(self, artefact: Artefact, owner: type) -> T: ...
    def __get__(self, artefact: Artefact | None, owner: type) -> Self | T:
        return self if artefact is None else getattr(artefact.card, self.name)


@dataclass(frozen=True)
class Artefact:
    """An artefact: a card, and the tensors it describes.

    Attributes:
        card: everything about it but its tensors.
        id: its name.
        method: name of the component that made it; it is kept where the artefact is loaded without that plugin.
        plugin: the distribution and version which that component came from; '' if it needs none.
        license: as the Hub spells it; '' if none was named.
        description: a sentence or more, in Markdown.
        origin: where its tensors are from, if they were loaded: owner/name@commit, or '', and their sha256.
    """

    kind: ClassVar[str] = ""
    id = OnCard[str]()
    method = OnCard[str]()
    plugin = OnCard[str]()
    license = OnCard[str]()
    description = OnCard[str]()
    dataset = OnCard[str]()

    card: Any
    origin: tuple[str, str] = field(default=("", ""), kw_only=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Fields that describe a file are known once there is one: two artefacts are equal wherever they came from.
        if self.card.sha256 or self.card.hub:
            object.__setattr__(self, "origin", (self.card.hub, self.card.sha256))
            object.__setattr__(self, "card", replace(self.card, sha256="", tensors={}, hub=""))

    def with_card(self, **fields: Any) -> Self:
        """Return the same artefact with other values in some fields of its card, such as `id` or `license`."""
        return replace(self, card=replace(self.card, **fields))

    def as_parts(self) -> tuple[Part, ...]:
        """Return the parts that a chain with it has: its own parts, if it is a map that has some, else itself."""
        card, (hub, sha256) = self.card, self.origin
        if self.kind == "alignment" and card.parts:
            return tuple(card.parts)
        about = {name: getattr(card, name) for name in ("license", "dataset")}
        pairs = getattr(card, "n_pairs", 0)
        return (Part(self.kind, self.id, hub=hub, sha256=sha256, n_pairs=pairs, method=self.method, **about),)

    def _repr_html_(self) -> str:
        """Return its card as a notebook shows it; nothing of it becomes HTML."""
        rows = [
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(in_a_line(_told(value), 200))}</td></tr>"
            for name, value in self.card.to_dict().items()
            if name not in ("format", "tensors", "sha256")
        ]
        return f"<table><caption>{html.escape(in_a_line(repr(self)))}</caption>{''.join(rows)}</table>"

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to store."""
        raise NotImplementedError

    def published(self, few: bool = False) -> Artefact:
        """Return its public copy; `few` if it may be of so few rows that it gives them away."""
        return self

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the artefact to a folder, whole or not at all.

        Args:
            folder: where to.
            overwrite: replace the artefact that is there.

        Raises:
            AtlasError: something is there and `overwrite` was not asked for, or the file cannot be written.
        """
        write(self.card, self.tensors(), folder, overwrite=overwrite)

    @classmethod
    def from_card(cls, card: Any, file: TensorFile) -> Self:
        """Return the artefact of a card and its file of tensors, which has been checked against it."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls,
        ref: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> Self:
        """Load an artefact of this kind.

        Args:
            ref: a folder, the id of a registry entry, or a repository on the Hub: 'hf://owner/name[@revision]', or
                'owner/name' where there is no such folder.
            revision: a branch, tag or commit of the repository.
            token: for private repositories; None: the one you are logged in with; False: none.
            cache_dir: the folder for downloads; None: the Hub's cache.
            local_files_only: use earlier pulls, and no network.
            force_download: download it again.
        """
        ref = reference(ref, revision)
        keywords: dict[str, Any] = {"revision": revision, "token": token, "cache_dir": cache_dir}
        keywords |= {"local_files_only": local_files_only, "force_download": force_download}
        return cls.from_card(*opened(ref, (cls.kind,), **keywords))

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str = "",
        create_pr: bool = False,
        token: str | bool | None = None,
        tag: str = "",
        license: str = "",
        language: Sequence[str] = (),
        with_items: str | Path | None = None,
        few: bool = False,
        collection: str = "",
        dry_run: bool = False,
    ) -> Push:
        """Publish the artefact as one commit, and return it: `.commit`, and `.pinned` to load it by.

        The figures on its card are published as they are; `atlas.push` measures it first.

        Args:
            repo: owner/name; it is made if it is not there.
            private: whether to make it private.
            revision: the branch to commit to; None: main.
            commit_message: None: one made of kind and id.
            create_pr: open a pull request instead.
            token: None for the one you are logged in with.
            tag: a name for the commit; it must be new.
            license: to publish it under, such as cc-by-4.0; '': its own.
            language: of the items, such as en; none: those that the card names.
            with_items: a .txt, .csv, .tsv, .jsonl or .parquet file of raw items to publish, as items.txt...
            few: publish moments, or the domain of a map, of so few rows that they give these away.
            collection: add it to this collection, by the title of one of the owner, or by owner/title-and-number.
            dry_run: change nothing, and return the publication that would be made.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / slug(repo.split("/")[-1])
            found = self.published(few)
            (found.with_card(language=tuple(language)) if language else found).save_pretrained(folder)
            return push_folder(
                folder,
                repo,
                private=private,
                revision=revision,
                tag=tag,
                create_pr=create_pr,
                commit_message=commit_message,
                token=token,
                license=license,
                with_items=with_items,
                collection=collection,
                dry_run=dry_run,
            )


def made_with(component: Component) -> dict[str, Any]:
    """Return the fields of a card that name a component: under its kind, with its options and its plugin."""
    return {component.kind: component.name, "config": component.config(), "plugin": provider(type(component))}


def write(card: Card, tensors: dict[str, Tensor], folder: str | Path, *, overwrite: bool = False) -> None:
    """Write a card and the tensors it is of to a folder, whole or not at all."""
    path = check_target(folder, overwrite)
    with whole_folder(path, overwrite) as temporary:
        digest = hashlib.sha256()
        infos = save_tensors(temporary / MODEL, tensors, digest) if tensors else {}
        stored = replace(card, tensors=infos, sha256=digest.hexdigest() if tensors else "", hub="")
        (temporary / CARD).write_text(dump_card(stored), encoding="utf-8")


def opened(ref: str | Path, kinds: Sequence[str] = (), **hub: Any) -> tuple[Any, TensorFile]:
    """Return the card and the file of tensors of an artefact, checked against each other.

    A large file is hashed when it is first seen, and again if it was touched since (`atlas.storage.hashes`).

    Args:
        ref: a folder, the id of a registry entry, or 'hf://owner/name[@revision]'.
        kinds: the kinds that will do; none: any.
        **hub: how to pull from the Hub: revision, token, cache_dir, local_files_only, force_download.

    Raises:
        NotFoundError: nothing is there.
        CardError: the card is malformed, or the tensors are not the ones it describes.
    """
    folder = locate(ref, kinds, **{**hub, "tensors": True})
    card = read_card(folder)
    if kinds and card.kind not in kinds:
        raise AtlasError(f"'{folder}' is of kind {card.kind} - expected {' or '.join(kinds)}")
    # The pull above has checked the reference to the Hub, in this very call.
    if str(ref).startswith(SCHEME):
        commit = folder.parent.name if hub.get("inside") else folder.name
        return replace(card, hub=f"{Ref.parse(str(ref)).repo}@{commit}"), TensorFile(folder / MODEL)
    if not card.sha256:
        return card, TensorFile(folder / MODEL)
    return card, check_file(folder, card, known_sha256(folder / MODEL))


def finite_tensors(file: TensorFile) -> dict[str, Tensor]:
    """Return the tensors of an artefact's file, or raise `AtlasError` if any holds NaN or infinity."""
    tensors = load_tensors(file)
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            check_finite(tensor.reshape(len(tensor) if tensor.ndim else 1, -1), f"{file.path}: tensor '{name}'")
    return tensors


def _told(value: Any) -> Any:
    """Return a field of a card as a reader wants it: of a space its id, of a figure its name and value."""
    if isinstance(value, list):
        return ", ".join(str(_told(item)) for item in value)
    if isinstance(value, dict) and {"name", "value"} <= set(value):
        return f"{value['name']} {value['value']:.4g}"
    return f"{value['id']} ({value['dim']})" if isinstance(value, dict) and {"id", "dim"} <= set(value) else value


def reference(ref: str | Path, revision: str | None = None) -> str | Path:
    """Return the reference for `from_pretrained`: 'owner/name' is on the Hub, unless there is such a folder."""
    on_hub = not str(ref).startswith(SCHEME) and (revision or _like_a_repository(ref))
    return str(Ref.parse(str(ref), revision)) if on_hub else ref


def _like_a_repository(ref: str | Path) -> bool:
    """Whether a text is 'owner/name', and neither a path that is there nor owner/id of an entry of the registry."""
    text = str(ref)
    return (
        isinstance(ref, str)
        and text.count("/") == 1
        and not text.startswith((".", "~", "/"))
        and not find_local(ref).exists()
    )
