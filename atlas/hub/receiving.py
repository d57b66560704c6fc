"""One file from the Hub to a path of ours.

The client's own download names files after the ETag and the commit that a server answers with, whatever they are, and
asks for them anew where a try fails. Here no text of a server becomes part of a path: a file is written where the
caller says, and what the server says of it is only compared with what it has listed.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from atlas.errors import AtlasError
from atlas.hub.client import clean, endpoint

_XET = re.compile("[0-9a-f]{64}")
_PORTS = {"http": 80, "https": 443}


def receive(
    repo: str, commit: str, name: str, digest: str, size: int, path: Path, token: str | bool | None = None
) -> None:
    """Write a file of a repository to a path; what arrives is not checked, but it is asked for by what is listed.

    Args:
        repo: owner/name.
        commit: in full.
        name: of the file, in the repository.
        digest: the hash that the Hub lists.
        size: in bytes, as the Hub lists it.
        path: where to write; the folder must be there.
        token: None for the one you are logged in with.

    Raises:
        AtlasError: the server answers with something else than it has listed.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get, xet_get
    from huggingface_hub.utils import build_hf_headers

    # The Hub counts as downloads what bears this header.
    headers = {**build_hf_headers(token=token, library_name="latent-atlas"), constants.X_HF_DOWNLOAD_COUNTER: "1"}
    url = hf_hub_url(repo, name, revision=commit, endpoint=constants.ENDPOINT)
    said = get_hf_file_metadata(url, token=token, headers=headers, endpoint=constants.ENDPOINT)
    _check(said, commit, name, digest, f"hf://{repo}")
    how: dict[str, Any] = {"headers": headers, "expected_size": size, "displayed_filename": name}
    with path.open("wb") as file:
        if said.xet_file_data is not None and _over_xet():
            _check_xet(said.xet_file_data, name, f"hf://{repo}")
            xet_get(incomplete_path=path, xet_file_data=said.xet_file_data, **how)
        else:
            # Of the file's own address: where it redirects to, the HTTP library follows, without the token.
            http_get(url, file, **how)


def _over_xet() -> bool:
    from huggingface_hub import constants

    return not constants.HF_HUB_DISABLE_XET and importlib.util.find_spec("hf_xet") is not None


def _check(said: Any, commit: str, name: str, digest: str, ref: str) -> None:
    if (said.commit_hash, said.etag) != (commit, digest):
        named = clean(f"{said.etag} at {said.commit_hash}", limit=160)
        raise AtlasError(
            f"{endpoint()} answers for {name} of '{ref}' with another file than the one it lists ('{named}') - "
            "is it a Hub?"
        )


def _check_xet(data: Any, name: str, ref: str) -> None:
    """Refuse what is no hash, and an address elsewhere, to which the client would send the token."""
    from huggingface_hub import constants

    if not _XET.fullmatch(data.file_hash) or _origin(data.refresh_route) != _origin(constants.ENDPOINT):
        named = clean(f"{data.file_hash} by {data.refresh_route}", limit=160)
        raise AtlasError(f"{endpoint()} names no file of Xet for {name} of '{ref}' ('{named}') - is it a Hub?")


def _origin(url: str) -> tuple[str, str, int]:
    """Return the scheme, host and port of an address; ('', '', 0) if it is none."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return "", "", 0
