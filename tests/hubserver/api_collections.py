"""Collections: named lists of repositories, kept in memory."""

from __future__ import annotations

import re
from typing import Any

from .httpd import HttpError, Request, Response, json_response
from .hub import Hub, now_iso
from .routing import route


def _found(hub: Hub, slug: str) -> dict[str, Any]:
    if slug not in hub.collections:
        raise HttpError(404, "Collection not found")
    return hub.collections[slug]


def _json(hub: Hub, request: Request, slug: str) -> dict[str, Any]:
    """Return a collection as the Hub does: items that a user may not see are left out."""
    made = _found(hub, slug)
    items = []
    for item in made["items"]:
        repo = hub.find(item["type"], item["id"])
        if repo is None or repo.can_read(request.user):
            items.append({**item, "position": len(items)})
    return {**made, "items": items}


@route("POST", "/api/collections")
def create_collection(hub: Hub, request: Request) -> Response:
    user = hub.require_user(request.user)
    body = request.json()
    owner, title = body["namespace"], body["title"]
    if not user.owns(owner) or user.role == "read":
        raise HttpError(403, "Forbidden: you cannot make a collection there")
    for slug, made in hub.collections.items():
        if made["title"] == title and made["owner"]["name"] == owner:
            raise HttpError(409, "A collection with this title exists", slug=slug)
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    slug = f"{owner}/{words}-{len(hub.collections):024x}"
    hub.collections[slug] = {
        "slug": slug,
        "title": title,
        "owner": {"name": owner, "type": "user"},
        "items": [],
        "lastUpdated": now_iso(),
        "position": 0,
        "private": bool(body.get("private")),
        "theme": "orange",
        "upvotes": 0,
    }
    return json_response(_json(hub, request, slug))


@route("GET", "/api/collections/{ns}/{slug}")
def get_collection(hub: Hub, request: Request, ns: str, slug: str) -> Response:
    return json_response(_json(hub, request, f"{ns}/{slug}"))


@route("POST", "/api/collections/{ns}/{slug}/items")
def add_item(hub: Hub, request: Request, ns: str, slug: str) -> Response:
    user, made = hub.require_user(request.user), _found(hub, f"{ns}/{slug}")
    if not user.owns(ns) or user.role == "read":
        raise HttpError(403, "Forbidden: you cannot change this collection")
    item = request.json()["item"]
    if item["type"] in ("model", "dataset", "space"):
        hub.repo(item["type"], item["id"], request.user)
    if any((one["id"], one["type"]) == (item["id"], item["type"]) for one in made["items"]):
        raise HttpError(409, "Item is already in the collection")
    made["items"].append({"_id": f"{len(made['items']):024x}", "id": item["id"], "type": item["type"]})
    return json_response(_json(hub, request, f"{ns}/{slug}"))
