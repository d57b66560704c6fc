"""Large files: Git LFS (basic and multipart) and Xet."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from .httpd import HttpError, Request, Response, json_response
from .hub import Hub, Repo
from .routing import check_can_commit, check_gate, route, storage_base
from .storage import DigestMismatchError

# ------------------------------------------------------------------------- LFS


@route("POST", "/{kind}/{ns}/{name}.git/info/lfs/objects/batch")
def lfs_batch(hub: Hub, request: Request, repo: Repo) -> Response:
    payload = request.json() or {}
    upload = payload.get("operation") == "upload"
    if upload:
        if request.user is None:
            raise HttpError(401, "Invalid username or password.", "RepoNotFound")
        if request.user.role == "read":
            raise HttpError(403, "Forbidden: this token has the role read and cannot be used to write")
    else:
        check_gate(repo, request.user)
    storage, objects = storage_base(hub, request), []
    for item in payload.get("objects") or []:
        oid, size = item["oid"], int(item["size"])
        row: dict[str, Any] = {"oid": oid, "size": size}
        objects.append(row)
        try:
            stored = hub.blobs.size(oid)
        except ValueError:
            row["error"] = {"code": 422, "message": "Invalid oid"}
            continue
        if not upload:
            if stored is None:
                row["error"] = {"code": 404, "message": "Object does not exist"}
            else:
                href = f"{storage}/-/lfs/{oid}?{urlencode({'sig': hub.sign('get', oid)})}"
                row["actions"] = {"download": {"href": href, "expires_in": hub.config.url_ttl}}
            continue
        if stored is not None:
            continue
        if size > hub.config.max_file_size:
            row["error"] = {"code": 413, "message": "File too large"}
            continue
        verify = {"href": f"{repo.url(request.base)}.git/info/lfs/objects/verify", "header": {}}
        action = {"href": f"{storage}/-/lfs/{oid}?{urlencode({'sig': hub.sign('put', oid)})}", "header": {}}
        row["actions"] = {"upload": {**action, "expires_in": hub.config.url_ttl}, "verify": verify}
    body = {"transfer": "basic", "objects": objects, "hash_algo": "sha256"}
    return json_response(body, headers={"Content-Type": "application/vnd.git-lfs+json"})


@route("POST", "/{kind}/{ns}/{name}.git/info/lfs/objects/verify")
def lfs_verify(hub: Hub, request: Request, repo: Repo) -> Response:
    payload = request.json() or {}
    if hub.blobs.size(payload.get("oid", "")) != payload.get("size"):
        raise HttpError(404, "Object was not uploaded correctly")
    return json_response({"success": True})


@route("PUT", "/-/lfs/{oid}")
def lfs_put(hub: Hub, request: Request, oid: str) -> Response:
    hub.check_signature(request.arg("sig"), "put", oid)
    try:
        hub.blobs.put(oid, request.body_chunks())
    except DigestMismatchError as exc:
        raise HttpError(400, f"BadDigest: {exc}") from None
    return Response(200, {"ETag": f'"{oid}"'})


@route("GET", "/-/lfs/{oid}")
def lfs_get(hub: Hub, request: Request, oid: str) -> Response:
    hub.check_signature(request.arg("sig"), "get", oid)
    try:
        path = hub.blobs.path(oid)
    except ValueError:
        raise HttpError(400, "Bad oid") from None
    if not path.is_file():
        raise HttpError(404, "NoSuchKey")
    headers = {"ETag": f'"{oid}"', "Content-Type": "application/octet-stream"}
    if request.arg("filename"):
        name = (request.arg("filename") or "").encode("ascii", "replace").decode()
        headers["Content-Disposition"] = f'inline; filename="{name}";'
    return request.file_response(path, headers)


# ------------------------------------------------------------------------- Xet


def _xet_token(hub: Hub, request: Request, repo: Repo, scope: str) -> Response:
    if not hub.config.xet:
        raise HttpError(404, "Xet is not enabled on this server")
    signature = hub.sign("xet", scope)
    expires = signature.partition("-")[0]
    cas_url = storage_base(hub, request)
    headers = {
        "X-Xet-Cas-Url": cas_url,
        "X-Xet-Access-Token": f"xet_{scope}_{signature}",
        "X-Xet-Token-Expiration": expires,
    }
    body = {"casUrl": cas_url, "accessToken": headers["X-Xet-Access-Token"], "exp": int(expires)}
    return json_response(body, headers=headers)


@route("GET", "/api/{kind}/{ns}/{name}/xet-read-token/{rev}")
def xet_read_token(hub: Hub, request: Request, repo: Repo, rev: str) -> Response:
    check_gate(repo, request.user)
    repo.git.resolve(rev)
    return _xet_token(hub, request, repo, "read")


@route("GET", "/api/{kind}/{ns}/{name}/xet-write-token/{rev}")
def xet_write_token(hub: Hub, request: Request, repo: Repo, rev: str) -> Response:
    check_can_commit(hub, request, repo)
    if not request.flag("create_pr"):
        repo.git.branch_ref(rev)
    return _xet_token(hub, request, repo, "write")


def _check_xet_token(hub: Hub, request: Request, scope: str) -> None:
    token = (request.headers.get("Authorization") or "").partition(" ")[2]
    match = re.fullmatch(r"xet_(read|write)_(\d+-[0-9a-f]+)", token)
    if not match:
        raise HttpError(401, "Missing or malformed Xet token")
    try:
        hub.check_signature(match.group(2), "xet", match.group(1))
    except HttpError:
        raise HttpError(401, "Expired or invalid Xet token") from None
    if scope == "write" and match.group(1) != "write":
        raise HttpError(403, "This Xet token does not have the write scope")


@route("POST", "/v1/xorbs/default/{name}")
def cas_put_xorb(hub: Hub, request: Request, name: str) -> Response:
    _check_xet_token(hub, request, "write")
    return json_response({"was_inserted": hub.xet.add_xorb(name, request.body())})


@route("POST", "/v1/shards")
def cas_put_shard(hub: Hub, request: Request) -> Response:
    _check_xet_token(hub, request, "write")
    return json_response({"result": 1 if hub.xet.add_shard(request.body()) else 0})


@route("GET", "/v1/reconstructions/{name}")
def cas_reconstruction(hub: Hub, request: Request, name: str) -> Response:
    _check_xet_token(hub, request, "read")
    base = storage_base(hub, request)

    def url(xorb: str) -> str:
        return f"{base}/-/xorbs/{xorb}?{urlencode({'sig': hub.sign('xorb', xorb)})}"

    return json_response(hub.xet.reconstruction(name, request.headers.get("Range"), url))


@route("GET", "/-/xorbs/{name}")
def cas_get_xorb(hub: Hub, request: Request, name: str) -> Response:
    hub.check_signature(request.arg("sig"), "xorb", name)
    return request.file_response(hub.xet.xorb_path(name), {"Content-Type": "application/octet-stream"})


@route("POST", "/v1/telemetry")
def cas_telemetry(hub: Hub, request: Request) -> Response:
    request.drain()
    return Response(200)
