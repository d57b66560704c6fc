"""Routes, permissions shared by several routes, and the dispatch of requests to them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from .gitstore import RevisionNotFoundError
from .httpd import HttpError, Request, Response
from .hub import REPO_TYPES, Hub, Repo, User

ROUTES: list[tuple[str, list[str], Callable]] = []

# Paths that name a repository without its namespace: there is no such repository.
NO_NAMESPACE_RE = re.compile(
    r"/(api/(models|datasets|spaces)/[^/]+(/(revision|tree|refs|commits|like|preupload)\b.*)?|[^/]+/resolve/.*)"
)


def route(method: str, pattern: str) -> Callable:
    def register(function: Callable) -> Callable:
        ROUTES.append((method, pattern.strip("/").split("/"), function))
        return function

    return register


def match_route(method: str, segments: list[str]) -> tuple[Callable, dict] | None:
    for verb, pattern, function in ROUTES:
        if verb != method and not (verb == "GET" and method == "HEAD"):
            continue
        values: dict[str, Any] = {}
        rest = pattern[-1].endswith("*}")
        fixed = pattern[:-1] if rest else pattern
        if len(segments) < len(fixed) or (not rest and len(segments) != len(fixed)):
            continue
        for part, segment in zip(fixed, segments, strict=False):
            if part.startswith("{"):
                name, _, suffix = part[1:].partition("}")
                if not segment.endswith(suffix) or (name == "kind" and segment not in REPO_TYPES):
                    break
                values[name] = segment[: len(segment) - len(suffix)] if suffix else segment
            elif part != segment:
                break
        else:
            if rest:
                values[pattern[-1][1:-2]] = "/".join(s for s in segments[len(fixed) :])
            return function, values
    return None


class HubApp:
    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def __call__(self, request: Request) -> Response:
        segments = request.segments
        internal = segments[0] == "-"
        headers: dict[str, str] = {}
        if request.on_storage:
            if segments[0] not in ("-", "v1"):
                raise HttpError(404, "This port only serves files")
        elif not internal:
            request.user = self.hub.authenticate(request.headers.get("Authorization"))
            key = request.headers.get("Authorization") or "anonymous"
            headers = self.hub.check_rate(key)
        if not request.on_storage and segments[0] not in ("api", "-", "datasets", "spaces"):
            segments = ["models", *segments]
        found = match_route(request.method, segments)
        if found is None:
            if NO_NAMESPACE_RE.fullmatch(request.path):
                self.hub.repo("model", segments[-1], request.user)
            raise HttpError(404, f"Not implemented by this server: {request.method} {request.path}")
        function, values = found
        response = self._call(function, request, values)
        response.headers.update(headers)
        return response

    def _call(self, function: Callable, request: Request, values: dict) -> Response:
        if not {"kind", "ns", "name"} <= values.keys():
            return function(self.hub, request, **values)
        repo_type = REPO_TYPES[values.pop("kind")]
        repo_id = f"{values.pop('ns')}/{values.pop('name')}"
        try:
            repo = self.hub.repo(repo_type, repo_id, request.user, write=getattr(function, "needs_write", False))
            return function(self.hub, request, repo, **values)
        except RevisionNotFoundError as exc:
            raise HttpError(404, f"Invalid rev id: {exc}", "RevisionNotFound") from None


def needs_write(function: Callable) -> Callable:
    function.needs_write = True  # type: ignore[attr-defined]
    return function


def not_found(path: str, commit: str | None = None) -> HttpError:
    headers = {"X-Repo-Commit": commit} if commit else {}
    return HttpError(404, f"Entry not found: {path}" if path else "Entry not found", "EntryNotFound", headers)


def paginate(request: Request, rows: list, limit: int) -> tuple[list, dict[str, str]]:
    """One page of ``rows`` and the Link header to the next one."""
    try:
        start = int(request.arg("cursor") or 0)
    except ValueError:
        raise HttpError(400, "Invalid cursor") from None
    headers = {}
    if start + limit < len(rows):
        query = {k: v for k, v in request.query.items() if k != "cursor"}
        query["cursor"] = [str(start + limit)]
        headers["Link"] = f'<{request.base}{request.path}?{urlencode(query, doseq=True)}>; rel="next"'
    return rows[start : start + limit], headers


def check_gate(repo: Repo, user: User | None) -> None:
    if repo.can_download(user):
        return
    where = f"{repo.type} {repo.id}"
    if user is None:
        raise HttpError(401, f"Access to {where} is restricted. You must be authenticated to access it.", "GatedRepo")
    raise HttpError(403, f"Access to {where} is restricted and you are not in the authorized list.", "GatedRepo")


def check_can_commit(hub: Hub, request: Request, repo: Repo) -> None:
    """Opening a pull request only needs read access (and an account)."""
    if request.flag("create_pr") or (request.segments[-1].startswith("refs/pr/")):
        if request.user is None:
            raise HttpError(401, "Invalid username or password.", "RepoNotFound")
        if request.user.role == "read":
            raise HttpError(403, "Forbidden: this token has the role read and cannot be used to write")
        return
    hub.repo(repo.type, repo.id, request.user, write=True)


def storage_base(hub: Hub, request: Request) -> str:
    """Base URL of the file storage: another port and, on loopback, another host name than the API.

    The real Hub redirects to a CDN on another host. Clients decide by host name (huggingface_hub 1.x) or by
    origin (2.x) whether a redirect leaves the Hub, so both have to differ.
    """
    netloc = request.base.split("://", 1)[1]
    host = netloc.rpartition(":")[0] if re.search(r":\d+$", netloc) else netloc
    host = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}.get(host, host)
    return f"http://{host}:{hub.storage_netloc.rpartition(':')[2]}"
