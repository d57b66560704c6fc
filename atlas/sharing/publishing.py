"""Publish an artefact with figures that others can measure again."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas.artefacts.artefact import Artefact
from atlas.artefacts.loading import save
from atlas.cards.names import slug
from atlas.components.encoder import Encoder
from atlas.errors import AtlasError
from atlas.hub.pushing import push_folder, sound_card
from atlas.hub.repository import Push
from atlas.sharing.measuring import measured


def push(
    artefact: str | Path | Artefact | Encoder,
    repo: str,
    *,
    evaluated_on: Sequence[str] = (),
    fitted_on: Sequence[str] = (),
    **how: Any,
) -> Push:
    """Publish an artefact as one commit, measured before on what others can reach, and return it.

    Args:
        artefact: an artefact, an encoder (as the card of its space), or the folder of either.
        repo: owner/name; it is made if it is not there.
        evaluated_on: references to the Hub. For an alignment, vectors of its source and of its target, and perhaps a
            head of the target; for a head, vectors of its space; for an atlas, vectors of one or more of its spaces,
            and a head of the shared one. Figures are measured on them, and written into the card with the commits.
        fitted_on: vectors of the source and of the target that an alignment was fitted on: paths, ids or references.
            The same method is fitted on fewer and fewer of them, to show how few would do; nothing else is published.
        **how: as for `push_to_hub`, and `dry_run`: change nothing, and return what would be pushed.

    Raises:
        CardError: the folder is not sound, or would publish a local path.
        AtlasError: it cannot be measured, the Hub refuses, or the connection is lost.
    """
    if isinstance(artefact, (str, Path)):
        return _push_measured(Path(artefact), repo, evaluated_on, fitted_on, how)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / slug(repo.split("/")[-1])
        save(artefact, folder)
        return _push_measured(folder, repo, evaluated_on, fitted_on, how)


def _push_measured(
    folder: Path, repo: str, evaluated_on: Sequence[str], fitted_on: Sequence[str], how: dict[str, Any]
) -> Push:
    card = sound_card(folder, how.get("license", ""))
    made: dict[str, bytes] = {}
    if fitted_on and (len(fitted_on) != 2 or not evaluated_on or card.kind != "alignment"):
        raise AtlasError(
            "A learning curve is that of an alignment, and needs vectors of the source and of the target that it was "
            "fitted on, and others to measure on"
        )
    if evaluated_on:
        refs = [evaluated_on] if isinstance(evaluated_on, str) else evaluated_on
        card, made = measured(folder, card, refs, fitted_on, how.get("token"))
    return push_folder(folder, repo, card=card, made=made, **how)
