"""One file from the Hub to a path of ours, over HTTP.

The client's own download names files after the ETag and the commit that a server answers with, whatever they are, and
takes all that a server sends. Here no text of a server becomes part of a path: a file is written where the caller says,
the server's answer is only compared with its listing, and bytes are counted as they come.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atlas.errors import AtlasError
from atlas.hub.client import clean, endpoint


def receive(
    repo: str, commit: str, name: str, digest: str, size: int, path: Path, token: str | bool | None = None
) -> None:
    """Write a file of a repository to a path, after the bytes already there; its hash is not checked.

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
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status, tqdm

    # The Hub counts requests with this header as downloads.
    headers = {**build_hf_headers(token=token, library_name="latent-atlas"), constants.X_HF_DOWNLOAD_COUNTER: "1"}
    url = hf_hub_url(repo, name, revision=commit, endpoint=constants.ENDPOINT)
    said = get_hf_file_metadata(url, token=token, headers=headers, endpoint=constants.ENDPOINT)
    _check(said, commit, name, digest, f"hf://{repo}")
    with path.open("ab") as file:
        if file.tell() == size:
            return
        if file.tell():
            headers["Range"] = f"bytes={file.tell()}-"
        how: dict[str, Any] = {"follow_redirects": True, "timeout": constants.HF_HUB_DOWNLOAD_TIMEOUT}
        with get_session().stream("GET", url, headers=headers, **how) as answer:
            hf_raise_for_status(answer)
            if answer.status_code != 206:
                file.truncate(0)
            # Shown on a terminal alone.
            with tqdm(desc=name, total=size, initial=file.tell(), unit="B", unit_scale=True, disable=None) as bar:
                for chunk in answer.iter_bytes():
                    room = size - file.tell()
                    bar.update(file.write(chunk[:room]))
                    if len(chunk) > room:
                        break


def _check(said: Any, commit: str, name: str, digest: str, ref: str) -> None:
    if (said.commit_hash, said.etag) != (commit, digest):
        named = clean(f"{said.etag} at {said.commit_hash}", limit=160)
        raise AtlasError(
            f"{endpoint()} answers for {name} of '{ref}' with another file than the one it lists ('{named}') - "
            "is it a Hub?"
        )
