"""Accounts, repositories, repository metadata and listings, branches and tags."""

from __future__ import annotations

import json
from typing import Any

from . import cards
from .gitstore import FileEntry, InvalidReferenceError, RevisionNotFoundError, check_ref_name
from .httpd import HttpError, Request, Response, json_response
from .hub import REPO_TYPES, URL_PREFIX, Hub, Repo
from .routing import check_gate, needs_write, paginate, route

LIST_FIELDS = (
    "_id",
    "id",
    "modelId",
    "likes",
    "private",
    "downloads",
    "tags",
    "pipeline_tag",
    "library_name",
    "createdAt",
)
FULL_FIELDS = (*LIST_FIELDS, "author", "sha", "lastModified", "gated", "disabled", "siblings", "trendingScore")
SORT_KEYS = {"lastModified", "createdAt", "downloads", "likes", "trendingScore"}
KNOWN_LIST_PARAMS = {
    "filter", "author", "search", "pipeline_tag", "gated", "sort", "direction", "limit", "full", "config", "cardData",
    "expand", "expand[]", "cursor", "num_parameters", "tags", "library",
}  # fmt: skip


# --------------------------------------------------------------------- general


@route("GET", "/api/whoami-v2")
def whoami(hub: Hub, request: Request) -> Response:
    user = hub.require_user(request.user)
    return json_response(
        {
            "type": "user",
            "id": user.name.encode().hex().ljust(24, "0")[:24],
            "name": user.name,
            "fullname": user.name,
            "orgs": [
                {"type": "org", "name": o, "fullname": o, "roleInOrg": "write", "isEnterprise": False}
                for o in user.orgs
            ],
            "auth": {
                "type": "access_token",
                "accessToken": {"displayName": "test", "role": user.role, "createdAt": "2024-01-01T00:00:00.000Z"},
            },
        }
    )


@route("GET", "/api/agent-harnesses")
def agent_harnesses(hub: Hub, request: Request) -> Response:
    return json_response({"standardEnvVars": [], "harnesses": {}})


@route("POST", "/api/validate-yaml")
def validate_yaml(hub: Hub, request: Request) -> Response:
    payload = request.json() or {}
    _, errors, warnings = cards.validate(payload.get("content") or "", payload.get("repoType") or "model")
    body: dict[str, Any] = {"errors": [{"message": e} for e in errors], "warnings": [{"message": w} for w in warnings]}
    if errors:
        body["error"] = "Invalid metadata"
    if "text/plain" in (request.headers.get("Accept") or ""):
        lines = [f"- Error: {e}" for e in errors] + [f"- Warning: {w}" for w in warnings]
        return Response(
            400 if errors else 200, {"Content-Type": "text/plain; charset=utf-8"}, "\n".join(lines).encode()
        )
    return json_response(body, 400 if errors else 200)


# ---------------------------------------------------------------- repositories


def _visibility(payload: dict) -> str | None:
    value = payload.get("visibility")
    if value is None and payload.get("private") is not None:
        value = "private" if payload["private"] else "public"
    if value not in (None, "public", "private", "protected"):
        raise HttpError(400, f"Invalid visibility: {value}")
    return value


def _target(hub: Hub, request: Request, payload: dict) -> tuple[str, str]:
    repo_type = payload.get("type") or "model"
    if repo_type not in URL_PREFIX:
        raise HttpError(400, f"Unsupported repo type: {repo_type}")
    namespace = payload.get("organization") or hub.require_user(request.user).name
    return repo_type, f"{namespace}/{payload.get('name')}"


@route("POST", "/api/repos/create")
def create_repo(hub: Hub, request: Request) -> Response:
    payload = request.json() or {}
    repo_type, repo_id = _target(hub, request, payload)
    hub.check_namespace(request.user, repo_id.split("/")[0], repo_type)
    extra = {"sdk": payload["sdk"]} if payload.get("sdk") else {}
    repo = hub.create_repo(request.user, repo_type, repo_id, _visibility(payload) or "public", request.base, **extra)
    return json_response({"url": repo.url(request.base), "name": repo.id, "id": repo.meta["_id"]})


@route("DELETE", "/api/repos/delete")
def delete_repo(hub: Hub, request: Request) -> Response:
    repo_type, repo_id = _target(hub, request, request.json() or {})
    hub.delete_repo(hub.repo(repo_type, repo_id, request.user, write=True))
    return json_response({"success": True})


@route("PUT", "/api/{kind}/{ns}/{name}/settings")
@needs_write
def update_settings(hub: Hub, request: Request, repo: Repo) -> Response:
    payload = request.json() or {}
    visibility = _visibility(payload)
    if visibility:
        repo.meta["visibility"] = visibility
    if "gated" in payload:
        if payload["gated"] not in ("auto", "manual", False):
            raise HttpError(400, f"Invalid gated value: {payload['gated']}")
        repo.meta["gated"] = payload["gated"]
    if "disabled" in payload:  # not in the public API: lets tests disable a repository
        repo.meta["disabled"] = bool(payload["disabled"])
    repo.save()
    return json_response({"visibility": repo.meta["visibility"], "private": repo.private, "gated": repo.meta["gated"]})


@route("GET", "/api/{kind}/{ns}/{name}/auth-check")
def auth_check(hub: Hub, request: Request, repo: Repo) -> Response:
    check_gate(repo, request.user)
    return json_response({"status": "ok"})


@route("GET", "/api/{kind}/{ns}/{name}/auth-check/write")
@needs_write
def auth_check_write(hub: Hub, request: Request, repo: Repo) -> Response:
    return json_response({"status": "ok"})


# ------------------------------------------------------------------- repo info


def repo_info(repo: Repo, commit: str, blobs: bool = False) -> dict:
    files = repo.git.files(commit)
    card = repo.card(files)
    info: dict[str, Any] = {
        "_id": repo.meta["_id"],
        "id": repo.id,
        "author": repo.namespace,
        "sha": commit,
        "lastModified": repo.meta["lastModified"],
        "createdAt": repo.meta["createdAt"],
        "private": repo.private,
        "gated": repo.meta["gated"],
        "disabled": repo.meta["disabled"],
        "downloads": repo.meta["downloads"],
        "downloadsAllTime": repo.meta["downloads"],
        "likes": repo.meta["likes"],
        "trendingScore": repo.meta["likes"],
        "tags": cards.repo_tags(repo.type, card, list(files)),
        "siblings": [_sibling(e, blobs) for e in files.values()],
        "usedStorage": sum(e.size for e in files.values()),
        "spaces": [],
    }
    if card is not None:
        info["cardData"] = card
    if repo.type == "model":
        info["modelId"] = repo.id
        for key in ("pipeline_tag", "library_name", "mask_token"):
            if card and card.get(key):
                info[key] = card[key]
        if card and card.get("model-index"):
            info["model-index"] = card["model-index"]
        config = repo.read_text(files, "config.json")
        try:
            parsed = json.loads(config) if config else None
        except ValueError:
            parsed = None
        if isinstance(parsed, dict):
            info["config"] = {k: parsed[k] for k in ("architectures", "model_type", "auto_map") if k in parsed}
        safetensors = repo.safetensors(files)
        if safetensors:
            info["safetensors"] = safetensors
    elif repo.type == "space":
        info["sdk"] = (card or {}).get("sdk") or repo.meta.get("sdk")
        info["models"], info["datasets"] = [], []
    return info


def _sibling(entry: FileEntry, blobs: bool) -> dict:
    out: dict[str, Any] = {"rfilename": entry.path}
    if blobs:
        out.update(size=entry.size, blobId=entry.blob)
        if entry.lfs_oid:
            out["lfs"] = {"size": entry.lfs_size, "sha256": entry.lfs_oid, "pointerSize": entry.blob_size}
    return out


@route("GET", "/api/{kind}/{ns}/{name}")
def get_repo(hub: Hub, request: Request, repo: Repo) -> Response:
    return get_repo_revision(hub, request, repo, "main")


@route("GET", "/api/{kind}/{ns}/{name}/revision/{rev}")
def get_repo_revision(hub: Hub, request: Request, repo: Repo, rev: str) -> Response:
    info = repo_info(repo, repo.git.resolve(rev), request.flag("blobs"))
    if request.flag("securityStatus"):
        info["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
    expand = request.args("expand")
    if expand:
        info = {k: v for k, v in info.items() if k in ("_id", "id", "modelId", *expand)}
    return json_response(info)


@route("GET", "/api/{kind}")
def list_repos(hub: Hub, request: Request, kind: str) -> Response:
    unknown = set(request.query) - KNOWN_LIST_PARAMS
    if unknown:
        raise HttpError(400, f"Unsupported by this server: {', '.join(sorted(unknown))}")
    rows = []
    for repo in hub.repos(REPO_TYPES[kind]):
        if not repo.can_read(request.user):
            continue
        try:
            info = repo_info(repo, repo.git.resolve("main"))
        except RevisionNotFoundError:
            continue
        if _listed(request, info):
            rows.append(info)
    sort = request.arg("sort") or "trendingScore"
    if sort not in SORT_KEYS:
        raise HttpError(400, f"Invalid sort: {sort}")
    rows.sort(key=lambda i: (i[sort], i["lastModified"], i["id"]), reverse=request.arg("direction") != "1")

    expand = request.args("expand")
    fields: tuple[str, ...] = FULL_FIELDS if request.flag("full") else LIST_FIELDS
    if expand:
        fields = ("_id", "id", "modelId", *expand)
    if request.flag("cardData"):
        fields += ("cardData",)
    if request.flag("config"):
        fields += ("config",)
    if kind != "models" and not expand:
        fields += ("author", "sha", "lastModified", "gated", "disabled", "sdk")
    limit = min(int(request.arg("limit") or hub.config.page_size), hub.config.page_size)
    rows, headers = paginate(request, rows, limit)
    return json_response([{k: i[k] for k in fields if k in i} for i in rows], headers=headers)


def _listed(request: Request, info: dict) -> bool:
    wanted = [t for value in request.args("filter") + request.args("tags") for t in value.split(",") if t]
    if request.arg("library"):
        wanted.append(request.arg("library") or "")
    if any(tag not in info["tags"] for tag in wanted):
        return False
    if request.arg("author") and info["author"].lower() != (request.arg("author") or "").lower():
        return False
    if request.arg("search") and (request.arg("search") or "").lower() not in info["id"].lower():
        return False
    if request.arg("pipeline_tag") and info.get("pipeline_tag") != request.arg("pipeline_tag"):
        return False
    if request.arg("gated") is not None and bool(info["gated"]) != request.flag("gated"):
        return False
    if request.arg("num_parameters"):
        total = (info.get("safetensors") or {}).get("total")
        bounds = dict(part.split(":") for part in (request.arg("num_parameters") or "").split(","))
        low, high = _count(bounds.get("min", "0")), _count(bounds.get("max", "1e30"))
        if total is None or not low <= total <= high:
            return False
    return True


def _count(text: str) -> float:
    units = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
    return float(text[:-1]) * units[text[-1].upper()] if text[-1:].upper() in units else float(text)


# ------------------------------------------------------------------------ refs


@route("GET", "/api/{kind}/{ns}/{name}/refs")
def list_refs(hub: Hub, request: Request, repo: Repo) -> Response:
    def rows(prefix: str) -> list[dict]:
        return [
            {"name": ref[len(prefix) + 1 :], "ref": ref, "targetCommit": repo.git.peel(sha)}
            for ref, sha in repo.git.list_refs(prefix).items()
        ]

    body = {"branches": rows("refs/heads"), "converts": rows("refs/convert"), "tags": rows("refs/tags")}
    body["branches"].sort(key=lambda b: (b["name"] != "main", b["name"]))
    if request.flag("include_prs"):
        body["pullRequests"] = [{**r, "name": r["ref"]} for r in rows("refs/pr")]
    return json_response(body)


def _new_ref(repo: Repo, ref: str, name: str, what: str) -> None:
    try:
        check_ref_name(name)
    except InvalidReferenceError:
        raise HttpError(400, f"Invalid reference for a {what}: {name}") from None
    if repo.git.read_ref(ref):
        raise HttpError(409, f"Reference {ref} already exists")


@route("POST", "/api/{kind}/{ns}/{name}/branch/{branch}")
@needs_write
def create_branch(hub: Hub, request: Request, repo: Repo, branch: str) -> Response:
    start = (request.json() or {}).get("startingPoint") or "main"
    with repo.lock:
        _new_ref(repo, f"refs/heads/{branch}", branch, "branch")
        repo.git.update_ref(f"refs/heads/{branch}", repo.git.resolve(start))
    return json_response({"success": True})


@route("DELETE", "/api/{kind}/{ns}/{name}/branch/{branch}")
@needs_write
def delete_branch(hub: Hub, request: Request, repo: Repo, branch: str) -> Response:
    if branch == "main":
        raise HttpError(403, "Cannot delete refs/heads/main")
    if not repo.git.read_ref(f"refs/heads/{branch}"):
        raise RevisionNotFoundError(branch)
    repo.git.delete_ref(f"refs/heads/{branch}")
    return json_response({"success": True})


@route("POST", "/api/{kind}/{ns}/{name}/tag/{rev}")
@needs_write
def create_tag(hub: Hub, request: Request, repo: Repo, rev: str) -> Response:
    payload = request.json() or {}
    with repo.lock:
        target = repo.git.resolve(rev)
        _new_ref(repo, f"refs/tags/{payload.get('tag')}", payload.get("tag") or "", "tag")
        repo.git.create_tag(payload["tag"], target, request.user.name, payload.get("message"))
    return json_response({"success": True})


@route("DELETE", "/api/{kind}/{ns}/{name}/tag/{tag}")
@needs_write
def delete_tag(hub: Hub, request: Request, repo: Repo, tag: str) -> Response:
    if not repo.git.read_ref(f"refs/tags/{tag}"):
        raise RevisionNotFoundError(tag)
    repo.git.delete_ref(f"refs/tags/{tag}")
    return json_response({"success": True})
