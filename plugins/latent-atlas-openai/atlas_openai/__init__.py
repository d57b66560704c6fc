"""Models behind an OpenAI-compatible endpoint as encoders: vectors asked for, kept and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import atlas
from atlas_openai.cache import Cache

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from atlas_openai.endpoint import Endpoint

# A fixed text: its vector says whether an endpoint still has the same model.
PROBE = "The map is not the territory, but it has a similar structure."
# Below this cosine, the vector of the fixed text is that of another model; rounding and hardware move it far less.
ALIKE = 0.99
# Dimensions of a model of which none is known, at most.
WIDEST = 16_384
# Bytes of UTF-8 that are taken for one token, before a server has counted any: few, so that batches stay small enough.
BYTES_PER_TOKEN = 3.0
# Options of the requests, on which no vector depends.
_ASIDE = ("batch_tokens", "price")


@dataclass
class OpenAI(atlas.Encoder):
    """Any embedding model behind an OpenAI-compatible endpoint, each text paid for once.

    The endpoint is OPENAI_BASE_URL (https://api.openai.com/v1 unless set) and the key OPENAI_API_KEY, both from the
    environment alone. Vectors are kept on disk as they come. The vector of a fixed text is stored with the space, and
    asked for again with the first batch: a model that was exchanged under its name is noticed.
    """

    name = "openai"
    takes = "text"

    model: str = atlas.option(help="Name of the model, such as text-embedding-3-small")
    provider: str = atlas.option("", help="Who serves the model, part of the identity; '': the host of the endpoint")
    revision: str = atlas.option("", help="A name for a state of the model, if it changed under its name")
    dimensions: int | None = atlas.option(None, help="Dimensions to ask for; none: as the model has it")
    prefix: str = atlas.option("", help="Prompt before each text, such as 'query: '")
    extra: dict = atlas.option({}, help="Further fields of each request, such as {input_type: passage}")
    batch_tokens: int = atlas.option(50_000, help="Tokens in a request at most, as far as they can be told before")
    price: float = atlas.option(0.0, help="Price of a million tokens, to show the cost of the work")

    # The dimension of the vectors, once the fixed text has been compared; no annotation, so that it is no option.
    _width = 0

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise self.fail("needs the name of a model, got ''")
        if self.dimensions is not None and self.dimensions < 1:
            raise self.fail(f"needs at least 1 dimension, got {self.dimensions}")
        if self.batch_tokens < 1:
            raise self.fail(f"needs batch_tokens of at least 1, got {self.batch_tokens}")
        if not 0 <= self.price < float("inf"):
            raise self.fail(f"needs a price of at least 0, got {self.price}")
        if taken := sorted({"model", "input", "dimensions", "encoding_format"} & {*self.extra}):
            raise self.fail(f"sets '{taken[0]}' of a request itself - leave it out of extra")

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint, and its counts so far: `requests`, `tokens`.

        Raises:
            AtlasError: an address or a key that cannot be used.
        """
        if "_endpoint" not in vars(self):
            from atlas_openai.endpoint import Endpoint

            try:
                self._endpoint = Endpoint.of_environment(self.provider)
            except atlas.AtlasError as error:
                raise self.fail(str(error)) from None
        return self._endpoint

    @property
    def dim(self) -> int:
        """The dimension of the vectors, which the endpoint is asked for unless it is known."""
        return len(self._probe())

    @property
    def cost(self) -> float:
        """The cost of the requests of this encoder so far, in the currency of `price`."""
        return self.endpoint.tokens * self.price / 1e6

    def config(self) -> dict[str, Any]:
        """Return the options that fix the vectors, with the provider filled in."""
        config = {name: value for name, value in super().config().items() if name not in _ASIDE}
        return {**config, "provider": self.provider or self.endpoint.host}

    def identity(self) -> dict[str, Any]:
        """Return who serves the model, and the request; the vector of the fixed text moves by rounding."""
        return self.config()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the vector of a fixed text, by which others can tell that theirs is the same model."""
        import torch

        return {"probe": torch.from_numpy(self._probe().copy())}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Take the vector of the fixed text."""
        if set(state) != {"probe"} or state["probe"].ndim != 1 or not len(state["probe"]):
            raise self.fail(f"was given the tensors {sorted(state)}, not the vector 'probe' of a fixed text")
        return super().load_state_dict(state)

    def _encode(self, batch: list[str], device: str) -> Tensor:
        import numpy as np
        import torch

        texts = [self.prefix + text for text in batch]
        keys = self._keys(texts)
        width = self.dim
        found = {key: row for key, row in Cache().get(keys).items() if len(row) == width}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        for part in self._parts(missing):
            found |= self._asked({key: missing[key] for key in part})
        return torch.from_numpy(np.stack([found[key] for key in keys]))

    def _probe(self) -> np.ndarray:
        """Return the vector of the fixed text: the one stored or kept, else a new one."""
        if self._state is not None:
            return self._state["probe"].numpy()
        [key] = self._keys([PROBE])
        return (Cache().get([key]) or self._asked({}))[key]

    def _parts(self, texts: Mapping[str, str]) -> Iterator[list[str]]:
        """Yield the keys of texts, in batches of about so many tokens as one request may have."""
        part: list[str] = []
        size = 0.0
        for key, text in texts.items():
            tokens = len(text.encode(errors="replace")) / BYTES_PER_TOKEN + 1
            if part and size + tokens > self.batch_tokens:
                yield part
                part, size = [], 0.0
            part.append(key)
            size += tokens
        if part:
            yield part

    def _asked(self, texts: Mapping[str, str]) -> dict[str, np.ndarray]:
        """Return the vectors of texts by their keys, from the endpoint, each kept as soon as it has come.

        The first request of an encoder begins with the fixed text.
        """
        [probe] = self._keys([PROBE])
        sent = texts if self._width else {probe: PROBE, **texts}
        fields = {"model": self.model, **self.extra}
        if self.dimensions is not None:
            fields["dimensions"] = self.dimensions
        made: dict[str, np.ndarray] = {}
        for done in self._told(self.endpoint.vectors(list(sent.values()), fields, self._width or WIDEST)):
            rows = dict(zip(list(sent)[len(made) :], done, strict=False))
            if probe in rows:
                rows[probe] = self._checked(rows[probe], probe)
            if len(done[0]) != self._width:
                raise self.fail(f"was sent vectors of {len(done[0])} dimensions where {self._width} were expected")
            Cache().put(rows)
            made |= rows
            self._show()
        return made

    def _told(self, batches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        try:
            yield from batches
        except atlas.AtlasError as error:
            raise self.fail(str(error)) from None

    def _checked(self, now: np.ndarray, key: str) -> np.ndarray:
        """Return the vector of the fixed text that is to be kept: the first there was.

        Raises:
            AtlasError: the endpoint has another model than then.
        """
        import numpy as np

        before = self._state["probe"].numpy() if self._state else Cache().get([key]).get(key, now)
        size = float(np.linalg.norm(before) * np.linalg.norm(now)) or 1.0
        alike = float(before @ now) / size if len(before) == len(now) else 0.0
        if alike < ALIKE:
            raise self.fail(
                f"finds that '{self.model}' at {self.endpoint.host} no longer makes the vectors it made: that of a "
                f"fixed text ({len(now)} dimensions) has cosine {alike:.3f} with the one kept ({len(before)}) - "
                "use the model they were made with, or give the new one a revision of your own"
            )
        self._width = self.dimensions or len(before)
        return before

    def _show(self) -> None:
        """Tell beside the bar, if there is one, the cost of the work so far."""
        from atlas.authors import note

        cost = f", {self.cost:,.4f} paid" if self.price else ""
        note(f"{self.endpoint.tokens:,} tokens{cost}")

    def _keys(self, texts: Sequence[str]) -> list[str]:
        """Return the names under which the vectors of texts are kept."""
        space = json.dumps(self.identity(), sort_keys=True)
        return [hashlib.sha256(json.dumps([space, text]).encode()).hexdigest() for text in texts]


@atlas.hookimpl
def register_encoders():
    """Return the encoders of this plugin."""
    return [OpenAI]
