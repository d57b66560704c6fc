"""Collections on the Hub: repositories that belong together, such as an encoder, a map and a head."""

from __future__ import annotations

import re
from typing import Any

from atlas.errors import AtlasError, NotFoundError
from atlas.hub.cache import Ref
from atlas.hub.client import clean, client, patiently

_SLUG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")


class Name(str):
    """The name of a collection: messages about it call it one."""

    noun = "collection"


def add(ref: Ref, collection: str, *, token: str | bool | None = None) -> str:
    """Add a repository to a collection, once, and return the collection's name, owner/title-and-number.

    Args:
        ref: the repository.
        collection: the name of a collection, or the title of one of the repository's owner, which is made if it is not
            there.
        token: None for the one you are logged in with.
    """
    api = client(token)
    slug: str = collection
    if "/" not in collection:
        made = patiently(
            lambda: api.create_collection(collection, namespace=ref.repo.split("/")[0], exists_ok=True),
            clean(collection),
            token,
        )
        slug = made.slug
    slug = checked(slug)
    patiently(lambda: api.add_collection_item(slug, ref.repo, "model", exists_ok=True), slug, token)
    return slug


def members(collection: str, *, token: str | bool | None = None) -> list[Ref]:
    """Return the repositories of models in a collection, in its order; anything else in it is left out.

    Raises:
        NotFoundError: there is no such collection, or it holds no models.
    """
    slug, api = checked(collection), client(token)
    found = patiently(lambda: api.get_collection(slug), slug, token)
    refs = [Ref(str(item.item_id)) for item in found.items if item.item_type == "model"]
    if not refs:
        raise NotFoundError(f"Collection '{slug}' holds no models")
    return refs


def rows(collection: str, fields: list[str], *, token: str | bool | None = None) -> list[Any]:
    """Return the metadata of each repository in a collection, as a listing of the Hub has it."""
    api = client(token)
    return [
        patiently(lambda ref=ref: api.model_info(ref.repo, expand=fields), ref, token)  # type: ignore[misc]
        for ref in members(collection, token=token)
    ]


def checked(slug: str) -> Name:
    """Return the name of a collection, or raise `AtlasError` if it is none."""
    if not _SLUG.fullmatch(slug) or ".." in slug:
        raise AtlasError(f"{clean(slug)!r} is not the name of a collection - write owner/title-and-number")
    return Name(slug)
