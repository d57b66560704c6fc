"""What every artefact can do with the Hub, with the keywords people know from other libraries."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.hub.cache import SCHEME, Ref
from atlas.hub.pushing import push
from atlas.hub.target import Push
from atlas.types import slug

if TYPE_CHECKING:
    from typing_extensions import Self


class OnHub:
    """An artefact that can be loaded from the Hub and pushed to it."""

    kind = ""

    @classmethod
    def from_pretrained(
        cls,
        ref: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> Self:
        """Load an artefact of this kind.

        Args:
            ref: a folder, the id of a registry entry, or a repository on the Hub: 'hf://owner/name[@revision]', or
                'owner/name' where there is no such folder.
            revision: a branch, tag or commit of the repository.
            token: for private repositories; None: the one you are logged in with; False: none.
            cache_dir: where to keep what is downloaded; None: the Hub's cache.
            local_files_only: use what was pulled before, and no network.
            force_download: download it again.
        """
        from atlas.artefacts import load

        if not str(ref).startswith(SCHEME) and (revision or _like_a_repository(ref)):
            ref = str(Ref.parse(str(ref), revision))
        keywords: dict[str, Any] = {"revision": revision, "token": token, "cache_dir": cache_dir}
        return load(ref, cls.kind, **keywords, local_files_only=local_files_only, force_download=force_download)

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str = "",
        create_pr: bool = False,
        token: str | bool | None = None,
        tag: str = "",
        evaluated_on: Sequence[str] = (),
        fitted_on: Sequence[str] = (),
        license: str = "",
        with_items: str | Path | None = None,
    ) -> Push:
        """Publish the artefact as one commit, and return it: `.commit`, and `.pinned` to load it by.

        Args:
            repo: owner/name; it is made if it is not there.
            private: whether to make it private.
            revision: the branch to commit to; None: main.
            commit_message: None: one made of kind and id.
            create_pr: open a pull request instead.
            token: None for the one you are logged in with.
            tag: a name for the commit; it must be new.
            evaluated_on: references to the Hub of what it is to be measured on: for an alignment, vectors of source and
                target (and a head); for a head, vectors; for an atlas, vectors and a head.
            fitted_on: vectors of source and target that an alignment was fitted on, to show how few pairs would do.
            license: to publish it under, such as cc-by-4.0; '': its own.
            with_items: a .txt, .csv, .tsv, .jsonl or .parquet file of raw items to publish, as items.txt...
        """
        from atlas.artefacts import save

        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / slug(repo.split("/")[-1])
            save(self, folder)
            return push(
                folder,
                repo,
                private=private,
                branch=revision or "main",
                tag=tag,
                create_pr=create_pr,
                message=commit_message,
                token=token,
                evaluated_on=evaluated_on,
                fitted_on=fitted_on,
                license=license,
                with_items=with_items,
            )


def _like_a_repository(ref: str | Path) -> bool:
    """Whether a text is 'owner/name' and no path that is there."""
    text = str(ref)
    return (
        isinstance(ref, str)
        and text.count("/") == 1
        and not text.startswith((".", "~", "/"))
        and not Path(ref).exists()
    )
