"""Static vectors of words as an encoder: a table, a tokenizer, and the mean over a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import atlas
from atlas.authors import hash_of, sha256_of, slug

if TYPE_CHECKING:
    from torch import Tensor

    from atlas_static.table import Table


@dataclass
class Static(atlas.Encoder):
    """A table of vectors of words and their mean over a text: models of model2vec, WordLlama, StaticEmbedding.

    It needs neither a network nor a transformer. The space is fixed by the table and the tokenizer, whatever the files
    are called; both are stored with it.
    """

    name = "static"
    takes = "text"

    model: str = atlas.option(help="A folder, a .safetensors file, package:NAME/PATH, or owner/name[@revision]")
    tokenizer: str = atlas.option("", help="The tokenizer's file; '': tokenizer.json beside the table")
    normalize: bool | None = atlas.option(None, help="Scale vectors to length 1; none: as the model's config.json says")
    max_tokens: int | None = atlas.option(512, help="Tokens that are read of a text; none: all")
    drop_unknown: bool | None = atlas.option(
        None, help="Leave unknown tokens out of the mean; none: as model2vec does, for its models"
    )

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise self.fail("needs a folder, a file or a name on the Hub, got model ''")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise self.fail(f"needs max_tokens of at least 1, got {self.max_tokens}")

    @property
    def dim(self) -> int:
        """The dimension of the table."""
        return self._table().vectors.shape[1]

    @property
    def state(self) -> dict[str, Tensor]:
        """The table, and the bytes of the tokenizer's file."""
        if self._state is None:
            from atlas_static.files import read

            try:
                self._state, found = read(self.model, self.tokenizer)
            except atlas.AtlasError as error:
                raise self.fail(str(error)) from None
            self._found = {name: found[name] for name in ("normalize", "drop_unknown") if getattr(self, name) is None}
        return self._state

    @property
    def _in_packages(self) -> bool:
        """Whether all its files are named by the package they are in."""
        return all(not ref or ref.startswith("package:") for ref in (self.model, self.tokenizer))

    def __getstate__(self) -> dict[str, Any]:
        """Return all that another process needs: the table, and the options in the model's files."""
        return super().__getstate__() | ({"_found": self._found} if self._state is not None else {})

    def _meant(self) -> dict[str, bool]:
        """Return the values that the model's own files have for options that were not given."""
        _ = self.state
        return self._found

    def config(self) -> dict[str, Any]:
        """Return the options as they come to, with the name of the model but not its place."""
        found = self._meant() if None in (self.normalize, self.drop_unknown) else {}
        place = Path(self.model).expanduser()
        name = place.name if place.is_absolute() or place.exists() else self.model
        return {**super().config(), **found, "model": name, "tokenizer": self.tokenizer if self._in_packages else ""}

    def identity(self) -> dict[str, Any]:
        """Return the hash of table and tokenizer, and the options of the mean."""
        config = self.config()
        how = {name: config[name] for name in ("normalize", "max_tokens", "drop_unknown")}
        return {**how, "state": hash_of(self.state)}

    def space(self, id: str | None = None) -> atlas.Space:
        """Return the space, named after the model."""
        default = f"{slug(Path(self.config()['model']).stem)[:80]}-{sha256_of(self.identity())[:8]}"
        return super().space(id or self.stored_id or slug(default))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the table and the bytes of the tokenizer's file, so that a stored space works anywhere.

        Nothing for a model in an installed package: the space has its hash.
        """
        return {} if self._in_packages else dict(self.state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Take the tensors of `state_dict`; numbers in half precision stay so."""
        self.forget()
        self._state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        self._found = {name: False for name in ("normalize", "drop_unknown") if getattr(self, name) is None}
        return self

    def _table(self) -> Table:
        if "_made" not in vars(self):
            from atlas_static.table import Table

            state, config = self.state, self.config()
            try:
                self._made = Table.of(state, config["max_tokens"], config["drop_unknown"])
            except atlas.AtlasError as error:
                raise self.fail(str(error)) from None
        return self._made

    def _encode(self, batch: list[str], device: str) -> Tensor:
        import torch

        X = self._table().mean(batch, device)
        return torch.nn.functional.normalize(X) if self.config()["normalize"] else X


@atlas.hookimpl
def register_encoders():
    """Return the encoders of this plugin."""
    return [Static]
