"""Trees, file downloads and commits."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any
from urllib.parse import quote, urlencode

from . import cards
from .gitstore import Commit, FileEntry, RevisionNotFoundError, make_pointer
from .httpd import HttpError, Request, Response, json_response
from .hub import Hub, Repo, now_iso, pattern_matches
from .routing import check_can_commit, check_gate, not_found, paginate, route, storage_base

# ------------------------------------------------------------- files and trees


def _commit_json(commit: Commit) -> dict:
    return {"id": commit.sha, "title": commit.title, "date": now_iso(commit.timestamp)}


def _file_json(hub: Hub, entry: FileEntry) -> dict:
    out: dict[str, Any] = {"type": "file", "oid": entry.blob, "size": entry.size, "path": entry.path}
    if entry.lfs_oid:
        out["lfs"] = {"oid": entry.lfs_oid, "size": entry.lfs_size, "pointerSize": entry.blob_size}
        xet_hash = hub.xet.file_hash(entry.lfs_oid) if hub.config.xet else None
        if xet_hash:
            out["xetHash"] = xet_hash
    return out


def _expand(repo: Repo, commit: str, rows: list[dict]) -> list[dict]:
    last = repo.git.last_commits(commit, [r["path"] for r in rows])
    for row in rows:
        if row["path"] in last:
            row["lastCommit"] = _commit_json(last[row["path"]])
        if row["type"] == "file":
            row["securityFileStatus"] = {
                "status": "safe",
                "avScan": {"virusFound": False, "virusNames": None},
                "pickleImportScan": None,
            }
    return rows


@route("GET", "/api/{kind}/{ns}/{name}/tree/{rev}/{path*}")
def list_tree(hub: Hub, request: Request, repo: Repo, rev: str, path: str) -> Response:
    commit = repo.git.resolve(rev)
    files, folders = repo.git.files(commit), repo.git.folders(commit)
    path = path.strip("/")
    if path and path not in folders:
        raise not_found(path, commit)
    prefix = f"{path}/" if path else ""
    rows: list[dict[str, Any]] = [
        {"type": "directory", "oid": sha, "size": 0, "path": p} for p, sha in folders.items() if p.startswith(prefix)
    ]
    rows += [_file_json(hub, e) for p, e in files.items() if p.startswith(prefix)]
    if not request.flag("recursive"):
        rows = [r for r in rows if "/" not in r["path"][len(prefix) :]]
    rows.sort(key=lambda r: (r["type"] != "directory", r["path"]))
    expand = request.flag("expand")
    limit = min(int(request.arg("limit") or hub.config.page_size), 50 if expand else hub.config.page_size)
    rows, headers = paginate(request, rows, limit)
    return json_response(_expand(repo, commit, rows) if expand else rows, headers=headers)


@route("POST", "/api/{kind}/{ns}/{name}/paths-info/{rev}")
def paths_info(hub: Hub, request: Request, repo: Repo, rev: str) -> Response:
    payload = request.form_or_json() or {}
    commit = repo.git.resolve(rev)
    files, folders = repo.git.files(commit), repo.git.folders(commit)
    wanted = payload.get("paths") or []
    if len(wanted) > 1000:
        raise HttpError(413, "too many parameters")
    expand = payload.get("expand")
    expand = (expand[0] if isinstance(expand, list) else str(expand)).lower() == "true" if expand is not None else False
    rows = []
    for path in [wanted] if isinstance(wanted, str) else wanted:
        path = path.strip("/")
        if path in files:
            rows.append(_file_json(hub, files[path]))
        elif path in folders:
            rows.append({"type": "directory", "oid": folders[path], "size": 0, "path": path})
    return json_response(_expand(repo, commit, rows) if expand else rows)


@route("GET", "/{kind}/{ns}/{name}/resolve/{rev}/{path*}")
def resolve(hub: Hub, request: Request, repo: Repo, rev: str, path: str) -> Response:
    check_gate(repo, request.user)
    commit = repo.git.resolve(rev)
    entry = repo.git.files(commit).get(path)
    if entry is None:
        raise not_found(path, commit)
    filename = path.rpartition("/")[2]
    headers = {
        "X-Repo-Commit": commit,
        "ETag": f'"{entry.content_id}"',
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(filename)}; filename=\"{filename}\";".encode(
            "ascii", "replace"
        ).decode(),
    }
    if request.method == "GET" and not request.headers.get("Range"):
        repo.meta["downloads"] += 1
    if not entry.lfs_oid:
        headers["Content-Type"] = "application/octet-stream"
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return Response(304, headers)
        return request.file_response(repo.git.read_blob(entry.blob), headers)
    # Large files live on another origin: redirect to a signed URL, metadata is on the redirect itself.
    signature = hub.sign("get", entry.lfs_oid)
    query = urlencode({"sig": signature, "filename": filename})
    headers.update(
        {
            "X-Linked-Size": str(entry.lfs_size),
            "X-Linked-ETag": f'"{entry.lfs_oid}"',
            "Location": f"{storage_base(hub, request)}/-/lfs/{entry.lfs_oid}?{query}",
        }
    )
    xet_hash = hub.xet.file_hash(entry.lfs_oid) if hub.config.xet else None
    if xet_hash:
        token_url = f"{request.base}/api/{repo.type}s/{repo.id}/xet-read-token/{commit}"
        headers["X-Xet-Hash"] = xet_hash
        headers["Link"] = (
            f'<{token_url}>; rel="xet-auth", '
            f'<{storage_base(hub, request)}/v1/reconstructions/{xet_hash}>; rel="xet-reconstruction-info"'
        )
    return Response(302, headers, f"Found. Redirecting to {headers['Location']}".encode())


# --------------------------------------------------------------------- commits


@route("GET", "/api/{kind}/{ns}/{name}/commits/{rev}")
def list_commits(hub: Hub, request: Request, repo: Repo, rev: str) -> Response:
    commits = list(repo.git.log(repo.git.resolve(rev)))
    commits, headers = paginate(request, commits, int(request.arg("limit") or 50))
    formatted = "formatted" in request.args("expand")
    return json_response(
        [
            {
                "id": c.sha,
                "title": c.title,
                "message": c.message,
                "authors": [{"user": c.author, "avatar": ""}],
                "date": now_iso(c.timestamp),
                **({"formatted": {"title": c.title, "message": f"<p>{c.message}</p>"}} if formatted else {}),
            }
            for c in commits
        ],
        headers={**headers, "X-Total-Count": str(len(commits))},
    )


def _check_path(path: str) -> str:
    parts = path.split("/")
    bad = any(p in ("", ".", "..", ".git") for p in parts)
    if not path or bad or path.startswith("..\\") or "\0" in path:
        raise HttpError(422, f"Invalid path: {path!r}")
    return path


@route("POST", "/api/{kind}/{ns}/{name}/preupload/{rev}")
def preupload(hub: Hub, request: Request, repo: Repo, rev: str) -> Response:
    check_can_commit(hub, request, repo)
    payload = request.json() or {}
    ref = repo.git.branch_ref(rev)
    commit = repo.git.resolve(ref)
    files = repo.git.files(commit)
    ignore = payload.get("gitIgnore")
    if ignore is None:
        ignore = repo.read_text(files, ".gitignore") or ""
    out = []
    for item in payload.get("files") or []:
        path = _check_path(item["path"])
        sample = base64.b64decode(item.get("sample") or "")
        size = int(item.get("size") or 0)
        if size > hub.config.max_file_size:
            raise HttpError(413, f"File {path} is too large")
        lfs = repo.is_lfs_path(files, path) or size > hub.config.lfs_threshold or b"\0" in sample
        row = {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": _ignored(ignore, path)}
        if path in files:
            row["oid"] = files[path].content_id
        out.append(row)
    return json_response({"files": out, "commitOid": commit})


def _ignored(gitignore: str, path: str) -> bool:
    ignored = False
    for line in gitignore.splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            negated, pattern = line.startswith("!"), line.lstrip("!")
            if pattern_matches(pattern, path):
                ignored = not negated
    return ignored


@route("POST", "/api/{kind}/{ns}/{name}/commit/{rev}")
def create_commit(hub: Hub, request: Request, repo: Repo, rev: str) -> Response:
    check_can_commit(hub, request, repo)
    header, operations = _parse_commit(request.body())
    with repo.lock:
        ref = repo.git.branch_ref(rev)
        head = repo.git.resolve(ref)
        create_pr = request.flag("create_pr")
        parent = header.get("parentCommit")
        if parent:
            try:
                parent = repo.git.resolve(parent)
            except RevisionNotFoundError:
                raise HttpError(412, "The parent commit does not exist") from None
            if create_pr:
                head = parent
            elif parent != head:
                raise HttpError(412, "The branch was updated since you opened this page. Please refresh and try again.")
        contents = _apply(hub, repo, repo.git.files(head), operations)
        body: dict[str, Any] = {"success": True, "hookOutput": ""}
        if create_pr:
            pr = repo.new_discussion(request.user, header["summary"], header.get("description") or "", True, head)
            ref = f"refs/pr/{pr['num']}"
            body["pullRequestUrl"] = f"{repo.url(request.base)}/discussions/{pr['num']}"
        oid = repo.write_commit(
            ref, head, contents, request.user.name, header["summary"], header.get("description") or ""
        )
        body.update(commitOid=oid, commitUrl=f"{repo.url(request.base)}/commit/{oid}")
    return json_response(body)


def _parse_commit(data: bytes) -> tuple[dict, list[tuple[str, dict]]]:
    header, operations = None, []
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            key, value = item["key"], item["value"]
        except (ValueError, KeyError, TypeError):
            raise HttpError(400, f"Invalid line {number} in the commit payload") from None
        if key == "header":
            header = value
        elif key in ("file", "lfsFile", "deletedFile", "deletedFolder"):
            operations.append((key, value))
        else:
            raise HttpError(400, f"Unknown operation {key!r}")
    if header is None or not header.get("summary"):
        raise HttpError(400, "Missing commit header")
    if not operations:
        raise HttpError(400, "Add a line with the key `lfsFile`, `file`, `deletedFile` or `deletedFolder`")
    return header, operations


def _apply(hub: Hub, repo: Repo, files: dict[str, FileEntry], operations: list[tuple[str, dict]]) -> dict[str, str]:
    """Apply the operations to a file list; returns the new ``{path: blob}``."""
    contents = {path: entry.blob for path, entry in files.items()}
    new_lfs = []
    for key, value in operations:
        path = _check_path(value["path"].rstrip("/") if key.startswith("deleted") else value["path"])
        if key == "file":
            try:
                data = (
                    base64.b64decode(value["content"])
                    if value.get("encoding") == "base64"
                    else value["content"].encode()
                )
            except (binascii.Error, KeyError):
                raise HttpError(400, f"Bad content for {path}") from None
            if path == "README.md":
                _, errors, _ = cards.validate(data.decode("utf-8", "replace"), repo.type)
                if errors:
                    raise HttpError(400, f"Invalid metadata in README.md: {'; '.join(errors)}")
            contents[path] = repo.git.write_object("blob", data)
        elif key == "lfsFile":
            oid = value.get("oid", "")
            try:
                size = hub.blobs.size(oid)
            except ValueError:
                raise HttpError(400, f"Bad oid for {path}") from None
            if size is None or value.get("size", size) != size:
                raise HttpError(
                    400,
                    "Your push was rejected because an LFS pointer pointed to a file that does not exist."
                    f" Offending file: - {path}",
                )
            contents[path] = repo.git.write_object("blob", make_pointer(oid, size))
            new_lfs.append(path)
        else:
            inside = [p for p in contents if p.startswith(path + "/")]
            if key == "deletedFile" and path in contents:
                del contents[path]
            elif inside:
                for p in inside:
                    del contents[p]
            else:
                raise HttpError(404, "A file with this name doesn't exist", "EntryNotFound")
        for parent in ["/".join(path.split("/")[:i]) for i in range(1, path.count("/") + 1)]:
            if key in ("file", "lfsFile") and parent in contents:
                raise HttpError(422, f"{parent} is a file, it cannot contain {path}")
    # Like the real Hub: a file committed as LFS that no rule covers is added to .gitattributes.
    probe = {".gitattributes": _entry(repo, ".gitattributes", contents)} if ".gitattributes" in contents else {}
    missing = [p for p in new_lfs if p in contents and not repo.is_lfs_path(probe, p)]
    if missing:
        text = repo.read_text(probe, ".gitattributes") or ""
        text += "" if text.endswith("\n") or not text else "\n"
        text += "".join(f"{p.replace(' ', '[[:space:]]')} filter=lfs diff=lfs merge=lfs -text\n" for p in missing)
        contents[".gitattributes"] = repo.git.write_object("blob", text.encode())
    return contents


def _entry(repo: Repo, path: str, contents: dict[str, str]) -> FileEntry:
    return FileEntry(path, contents[path], len(repo.git.read_blob(contents[path])))
