"""ONNX files as encoders: of texts, with a tokenizer beside the graph or in it, and of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import atlas
from atlas.authors import hash_of, sha256_of, slug

if TYPE_CHECKING:
    from torch import Tensor

    from atlas_onnx.running import Session

# The options that fix no vectors: where the files came from.
_PLACES = ("model", "file")


class OnnxEncoder(atlas.Encoder):
    """The common part of encoders of texts and of arrays: a graph that is stored with the space, and its session.

    The space is fixed by the bytes of the files and by the options that are used, wherever the files lie.
    """

    model: str
    file: str
    output: str

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise self.fail("needs a file, a folder or a name on the Hub, got model ''")

    @property
    def dim(self) -> int:
        """The dimension of the vectors."""
        return self.session().dim

    @property
    def state(self) -> dict[str, Tensor]:
        """The bytes of the files."""
        if self._state is None:
            from atlas_onnx.files import read

            with self._telling():
                self._state = read(self.model, self.file)
        return self._state

    @property
    def _in_package(self) -> bool:
        return self.model.startswith("package:")

    def session(self) -> Session:
        """Return the graph, checked and ready to run.

        Raises:
            AtlasError: it is no graph that makes vectors, or asks for files beside it or for unknown operators.
        """
        if "_session" not in vars(self):
            state = self.state
            with self._telling():
                self._session = self._opened(state)
        return self._session

    def config(self) -> dict[str, Any]:
        """Return the options, with the name of the model but not its place."""
        place = Path(self.model).expanduser()
        name = place.name if place.is_absolute() or place.exists() else self.model
        return {**super().config(), "model": name, "file": self.file if self._in_package else ""}

    def identity(self) -> dict[str, Any]:
        """Return the hash of the files, and the options of the encoding."""
        if "_hash" not in vars(self):
            self._hash = hash_of(self.state)
        return {**{k: v for k, v in self.config().items() if k not in _PLACES}, "state": self._hash}

    def space(self, id: str | None = None) -> atlas.Space:
        """Return the space, named after the model."""
        default = f"{slug(Path(self.config()['model']).stem)[:80]}-{sha256_of(self.identity())[:8]}"
        return super().space(id or self.stored_id or slug(default))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the bytes of the files, so that a stored space works anywhere.

        Nothing for a model in an installed package: the space has its hash.
        """
        return {} if self._in_package else dict(self.state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Take the bytes of the files."""
        super().load_state_dict(state)
        return self

    def _opened(self, state: Mapping[str, Tensor]) -> Session:
        from atlas_onnx.running import Session

        return Session.of(state, self.output)

    def _telling(self) -> Any:
        from atlas_onnx.files import telling

        return telling(self)


@dataclass
class OnnxText(OnnxEncoder):
    """Any ONNX file that makes vectors of texts: one that takes token ids, with tokenizer.json beside it, or strings.

    Vectors of tokens are pooled; the vector of a whole text is taken as it is. A graph that
    quantises a batch as a whole is given one text at a time, since a vector must not depend on those beside it.
    """

    name = "onnx-text"
    takes = "text"

    model: str = atlas.option(help="An .onnx file, its folder, package:NAME/PATH, or owner/name[@revision] on the Hub")
    file: str = atlas.option("", help="The .onnx file in the folder; '': model.onnx or onnx/model.onnx")
    output: str = atlas.option(
        "", help="The output of the graph; '': sentence_embedding if it has that, else the first"
    )
    pooling: str = atlas.option(
        "mean", help="Of the vectors of tokens, if a text has several", choices=("mean", "first")
    )
    normalize: bool = atlas.option(False, help="Scale vectors to length 1")
    max_tokens: int = atlas.option(256, help="Tokens that are read of a text, if it is cut into tokens here")
    prefix: str = atlas.option("", help="Text put before each text, such as 'query: '")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_tokens < 3:
            raise self.fail(f"needs max_tokens of at least 3, got {self.max_tokens}")

    def _opened(self, state: Mapping[str, Tensor]) -> Session:
        from atlas_onnx.running import Texts

        return Texts.of(state, self.output, max_tokens=self.max_tokens, pooling=self.pooling)

    def _encode(self, batch: list[str], device: str) -> Tensor:
        import torch

        with self._telling():
            X = self.session().vectors([self.prefix + text for text in batch], device)
        return torch.nn.functional.normalize(X) if self.normalize else X


@dataclass
class OnnxArrays(OnnxEncoder):
    """Any ONNX file with one input of numbers that makes one vector of each item: arrays, or pictures made ready."""

    name = "onnx"
    takes = "arrays"

    model: str = atlas.option(help="An .onnx file, its folder, package:NAME/PATH, or owner/name[@revision] on the Hub")
    file: str = atlas.option("", help="The .onnx file in the folder; '': model.onnx or onnx/model.onnx")
    output: str = atlas.option("", help="The output of the graph; '': the first")

    def _encode(self, batch: Tensor, device: str) -> Tensor:
        with self._telling():
            return self.session().vectors(batch, device)
