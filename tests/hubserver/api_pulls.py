"""Reading pull requests; they are opened by a commit with `create_pr`."""

from __future__ import annotations

from .httpd import HttpError, Request, Response, json_response
from .hub import Hub, Repo, now_iso
from .routing import route

# ----------------------------------------------- discussions and pull requests


def _discussion_json(repo: Repo, d: dict) -> dict:
    return {
        "num": d["num"],
        "title": d["title"],
        "status": d["status"],
        "isPullRequest": d["isPullRequest"],
        "createdAt": d["createdAt"],
        "author": {"name": d["author"], "type": "user"},
        "repo": {"name": repo.id, "type": repo.type},
        "repoOwner": {"name": repo.namespace, "type": "user"},
    }


def _discussion(repo: Repo, num: str) -> dict:
    for d in repo.meta["discussions"]:
        if str(d["num"]) == num:
            return d
    raise HttpError(404, "Discussion not found", "EntryNotFound")


@route("GET", "/api/{kind}/{ns}/{name}/discussions")
def list_discussions(hub: Hub, request: Request, repo: Repo) -> Response:
    rows = [
        _discussion_json(repo, d)
        for d in reversed(repo.meta["discussions"])
        if request.arg("type") in (None, "all", "pull_request" if d["isPullRequest"] else "discussion")
        and request.arg("status") in (None, "all", "open" if d["status"] in ("open", "draft") else "closed")
        and request.arg("author") in (None, d["author"])
    ]
    start = int(request.arg("p") or 0) * 10
    return json_response({"discussions": rows[start : start + 10], "count": len(rows), "start": start})


@route("GET", "/api/{kind}/{ns}/{name}/discussions/{num}")
def get_discussion(hub: Hub, request: Request, repo: Repo, num: str) -> Response:
    d = _discussion(repo, num)
    events = list(d["events"])
    body = {**_discussion_json(repo, d), "filesWithConflicts": [], "diff": None}
    if d["isPullRequest"]:
        body["changes"] = {"base": "refs/heads/main", "mergeCommitId": d["mergeCommitId"]}
        for commit in repo.git.log(repo.git.resolve(f"refs/pr/{num}")):
            if commit.sha == d["base"]:
                break
            events.append(
                {
                    "id": commit.sha[:24],
                    "type": "commit",
                    "createdAt": now_iso(commit.timestamp),
                    "author": {"name": commit.author, "type": "user"},
                    "data": {"subject": commit.title, "oid": commit.sha},
                }
            )
    return json_response({**body, "events": events})
