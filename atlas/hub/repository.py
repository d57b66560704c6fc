"""A branch of a repository on the Hub, as it is written to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from atlas.cards.folder import CARD, MODEL
from atlas.cards.kinds import Metric
from atlas.errors import AtlasError, NotFoundError
from atlas.hub.cache import MOMENTS, Cache, Listed, Ref, Source, commit_of, listed
from atlas.hub.client import clean, client, endpoint, patiently

README = "README.md"
# Files that may lie beside a card and are published with it.
EXTRAS = ("curve.csv", "picture.svg", "picture.png", "recipe.yaml")
# Raw items, which are published where they are asked for, and never pulled.
ITEMS = ("items.csv", "items.jsonl", "items.parquet", "items.tsv", "items.txt")
MAX_TEXT = 1_000_000


@dataclass(frozen=True)
class Push:
    """A publication, before or after it is made.

    Attributes:
        ref: the repository and branch.
        files: every file of the artefact, with its content (or the file that holds it) and its size.
        changed: the names of those that differ from those on the branch.
        readme: the model card.
        commit: the branch's head afterwards; '' before it was pushed.
        url: the page of a pull request; '' if none was opened.
        license: the licence on the card; '' if it names none.
        told: the folder whose own card got the figures that were measured; '' if none did.
        metrics: the figures on its card.
        collection: the collection that the repository was added to; '' if to none.
    """

    ref: Ref
    files: dict[str, bytes | Path]
    changed: tuple[str, ...]
    readme: str
    parent: str = ""
    commit: str = ""
    url: str = ""
    sizes: dict[str, int] = field(default_factory=dict)
    license: str = ""
    told: str = ""
    metrics: tuple[Metric, ...] = ()
    collection: str = ""

    @property
    def pinned(self) -> str:
        """The permanent reference of this publication."""
        return str(self.ref.at(self.commit)) if self.commit else ""


class Target:
    """One branch of a repository on the Hub, as it is written to."""

    def __init__(self, ref: Ref, token: str | bool | None) -> None:
        self.ref, self.token = ref, token
        self.api = client(token)
        self.info: Any = None
        self.head = ""
        self.tags: dict[str, str] = {}
        self.branches: dict[str, str] = {}
        self.files: dict[str, Listed] = {}

    def ask(self, call: Any, **keywords: Any) -> Any:
        """Return the result of a call of the client, with retries."""
        return patiently(call, self.ref, self.token, **keywords)

    def look(self, must_exist: bool = False) -> None:
        """Read the files of the repository's branch; a missing repository has none."""
        try:
            self.info = self.ask(lambda: self.api.model_info(self.ref.repo, expand=["private", "sha"]))
        except NotFoundError:
            if must_exist:
                raise
            return
        refs = self.ask(lambda: self.api.list_repo_refs(self.ref.repo))
        self.branches = {row.name: commit_of(row.target_commit, self.ref) for row in refs.branches}
        self.tags = {row.name: commit_of(row.target_commit, self.ref) for row in refs.tags}
        self.head = self.branches.get(self.ref.revision, self.branches.get("main", ""))
        self.files = self.listing(self.head) if self.head else {}

    def listing(self, revision: str) -> dict[str, Listed]:
        """Return the files that Atlas may have written."""
        names = [CARD, MODEL, README, *EXTRAS, *ITEMS, *MOMENTS]
        rows = self.ask(lambda: self.api.get_paths_info(self.ref.repo, names, revision=revision))
        return listed(rows, names)

    def text(self, name: str) -> str:
        """Return the text of a small file at the head of the branch; '' if it is not there."""
        expected = self.files.get(name)
        if expected is None:
            return ""
        if expected.size > MAX_TEXT:
            raise AtlasError(f"'{self.ref}': its {name} of {expected.size} bytes is too large to be kept up to date")
        source = Source(self.ref.at(self.head), Cache(self.ref), self.token)
        source._listings[self.head] = self.files
        try:
            return (source.fetch(self.head, name) / name).read_bytes().decode()
        except UnicodeDecodeError:
            raise AtlasError(f"'{self.ref}': its {name} is not UTF-8 text - fix it first") from None

    def prepare(self, private: bool | None, create_pr: bool) -> bool:
        """Make the repository and the branch if they are not there, and return whether that was needed."""
        missing = self.info is None or (self.ref.revision not in self.branches and not create_pr)
        if self.info is None:
            self.ask(lambda: self.api.create_repo(self.ref.repo, private=private, exist_ok=True))
            self.look(True)
        if self.ref.revision not in self.branches and not create_pr:
            self.ask(lambda: self.api.create_branch(self.ref.repo, branch=self.ref.revision, exist_ok=True))
            self.look(True)
        return missing

    def commit(self, plan: Push, message: str, create_pr: bool) -> Push:
        """Make one commit on top of the head that was looked at.

        It is refused where the branch is not at that head any more, so trying again never makes two; of pull requests,
        it would.
        """
        if create_pr:
            lost = f"; whether it was opened is not known - look at {endpoint()}/{self.ref.repo}/discussions first"
        else:
            lost = "; whether it was published is not known - push again, which does nothing if it was"
        info = self.ask(lambda: self._send(plan, message, create_pr), tries=1 if create_pr else None, lost=lost)
        return replace(plan, commit=commit_of(info.oid, self.ref), url=clean(info.pr_url or ""))

    def _send(self, plan: Push, message: str, create_pr: bool) -> Any:
        from huggingface_hub import CommitOperationAdd

        # The client changes its operations as it goes, so each try gets new ones.
        operations = [CommitOperationAdd(name, plan.files[name]) for name in plan.changed]
        return self.api.create_commit(
            self.ref.repo,
            operations,
            commit_message=message,
            revision=self.ref.revision,
            parent_commit=plan.parent,
            create_pr=create_pr,
        )

    def tag(self, name: str, commit: str) -> None:
        """Give a commit a name; raise `AtlasError` if another commit has it."""
        self.ask(lambda: self.api.create_tag(self.ref.repo, tag=name, revision=commit, exist_ok=True))
        refs = self.ask(lambda: self.api.list_repo_refs(self.ref.repo))
        if {row.name: row.target_commit for row in refs.tags}.get(name) != commit:
            raise AtlasError(
                f"Commit {commit[:12]} was pushed to '{self.ref}', but tag '{name}' is at another - choose another"
            )


def same(content: bytes | Path, there: Listed) -> bool:
    """Whether a file on the Hub has this content."""
    if isinstance(content, Path):
        return there.fits(content)
    digest = hashlib.sha256() if there.sha256 else hashlib.sha1(b"blob %d\0" % len(content))
    digest.update(content)
    return digest.hexdigest() == there.digest
