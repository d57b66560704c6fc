"""What the Hub's client is given in the runs of `fuzz.py`: changed answers of a Hub, without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHA, COMMIT = "c" * 64, "a" * 40
INFO = {"id": "owner/name", "sha": COMMIT, "private": False, "siblings": []}
PATHS = [
    {"type": "file", "path": "config.yaml", "size": 300, "oid": "b" * 40},
    {
        **{"type": "file", "path": "model.safetensors", "size": 400, "oid": "d" * 40},
        "lfs": {"oid": SHA, "size": 400, "pointerSize": 130},
    },
    {"type": "directory", "path": "sub", "oid": "e" * 40},
]
ROW = {
    **{"id": "owner/name", "sha": COMMIT, "downloads": 3, "lastModified": "2026-01-02T03:04:05.000Z", "private": False},
    "tags": ["latent-atlas", "atlas:kind:alignment", "atlas:source:a", "atlas:target:b", "atlas:method:linear"],
    "cardData": {"model-index": [{"results": [{"metrics": [{"type": "r2", "value": 0.5}]}]}]},
}
REFS = {"branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT}], "tags": [], "converts": []}
HEAD = {"ETag": f'"{SHA}"', "X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{SHA}"', "Content-Length": "400"}
SEEDS = {"info": INFO, "paths": PATHS, "rows": [ROW, ROW], "refs": REFS, "head": HEAD}


def answering() -> dict[str, tuple[list[bytes], Callable[[Path], Any]]]:
    """Point the client at a Hub that answers what a file holds; return seeds and readers for each kind of answer."""
    from huggingface_hub import constants
    from huggingface_hub.utils import set_client_factory
    from huggingface_hub.utils._http import httpx2 as http

    from atlas.hub import client as hub
    from atlas.hub.cache import Cache, Ref, Source
    from atlas.hub.receiving import receive
    from atlas.hub.repository import Target
    from atlas.hub.searching import search

    constants.ENDPOINT, constants.HF_HUB_OFFLINE = "http://hub.invalid", False
    # The client keeps a list that it asks for in the user's own cache.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    constants.HUGGINGFACE_CO_URL_TEMPLATE = constants.ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"
    hub.PAUSE = hub.LONGEST_PAUSE = 0.0
    said: dict[str, Any] = {}

    def answer(request: Any) -> Any:
        return http.Response(said["status"], headers=said["headers"], content=said["body"], request=request)

    set_client_factory(lambda: http.Client(transport=http.MockTransport(answer)))
    ref = Ref("owner/name")

    def body(call: Callable[[], Any]) -> Callable[[Path], Any]:
        def read(path: Path) -> Any:
            said.update(status=200, headers={"Content-Type": "application/json"}, body=path.read_bytes())
            return call()

        return read

    def head(path: Path) -> Any:
        """Each line of the file is a header; a line that is a number is the status."""
        lines = [line.partition(b": ") for line in path.read_bytes().replace(b"\r", b"").split(b"\n")]
        status = next((int(name) for name, _, _ in lines if name.isdigit() and 200 <= int(name[:6]) < 600), 200)
        headers = [(name, value) for name, _, value in lines if name.replace(b"-", b"").isalnum()]
        said.update(status=status, headers=headers, body=b"x" * 400)
        receive("owner/name", COMMIT, "model.safetensors", SHA, 400, path.with_name("got"), False)

    def patient_head(path: Path) -> Any:
        return hub.patiently(lambda: head(path), ref, False, tries=1)

    calls: dict[str, Callable[[], Any]] = {
        "info": lambda: Source(ref, Cache(ref), False).commit(),
        "paths": lambda: Source(ref, Cache(ref), False).listing(COMMIT),
        "rows": lambda: search(token=False),
        "refs": lambda: hub.patiently(lambda: Target(ref, False).api.list_repo_refs("owner/name"), ref, tries=1),
    }
    lines = ["\n".join(["200", *(f"{name}: {value}" for name, value in HEAD.items())]).encode()]
    found = {name: ([json.dumps(SEEDS[name]).encode()], body(call)) for name, call in calls.items()}
    return {**found, "head": (lines, patient_head)}
