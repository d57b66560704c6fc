"""A model, a layer and a pooling as one network, from the model's input to vectors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from atlas_transformers import pooling as pools
from atlas_transformers.checkpoint import UnfitError
from atlas_transformers.pictures import Picture


class Reader(nn.Module):
    """A network that ends in one layer of a model.

    Attributes:
        poolings: those that a classifier may read, the likeliest first.
        model: all of the model, or no more of it than is used.
        part: the part for texts, or images.
    """

    poolings: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: Any, part: Any, layer: int, pooling: str, normalize: bool) -> None:
        super().__init__()
        self.model, self.part = model, part
        self.layer, self.pooling, self.normalize = layer, pooling, normalize

    def outputs(self, features: Mapping[str, Tensor], layers: bool) -> Any:
        """Return the model's output, with that of all layers if asked for."""
        return self.part(**self.readable(features), output_hidden_states=layers, return_dict=True)

    def readable(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return those of the features that the model itself reads."""
        return dict(features)

    def layers(self, features: Mapping[str, Tensor]) -> int:
        """Return how many layers there are, the embeddings included; 0 if only the last can be read."""
        return len(self.outputs(features, True).hidden_states or ())

    def read(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return vectors (b, dim), float32, of the model's input."""
        if self.pooling == "projection":
            made = self.projected(features)
        else:
            out = self.outputs(features, self.layer != -1)
            if self.pooling == "pooler":
                made = pools.pooler_output(out)
            else:
                made = self.pooled(pools.hidden_states(out, self.layer).float(), features)
        return nn.functional.normalize(made.float(), dim=1) if self.normalize else made.float()

    def projected(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return vectors (b, dim) in the space that a model such as CLIP has for texts and images."""
        name = f"get_{'text' if 'input_ids' in features else 'image'}_features"
        if not hasattr(self.model, name):
            raise UnfitError("finds no projection in this model - choose another pooling")
        made = getattr(self.model, name)(**self.readable(features))
        return made if isinstance(made, Tensor) else made.pooler_output

    def pooled(self, hidden: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Return vectors (b, d) of a layer's output."""
        raise NotImplementedError


class TextReader(Reader):
    """From tokens to vectors.

    Attributes:
        masked: whether the model reads the mask, too, and not only the pooling.
    """

    poolings = ("cls", "last", "mean", "max", "pooler")
    masked = True

    def readable(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the model's input for token numbers, their types and their mask."""
        names = {"attention_mask"} if not self.masked else set()
        # Some tokenizers tell types of tokens that the model does not know.
        names |= {"token_type_ids"} - set(inspect.signature(self.part.forward).parameters)
        return {name: tensor for name, tensor in features.items() if name not in names}

    def pooled(self, hidden: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Return vectors (b, d) of (b, tokens, d)."""
        return pools.pool_tokens(hidden, features["attention_mask"].bool(), self.pooling)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return vectors (b, dim) of token numbers and their mask, both (b, tokens)."""
        return self.read(features)


class ImageReader(Reader):
    """From images to vectors.

    Attributes:
        picture: how images are made ready for the model.
    """

    poolings = ("cls", "mean", "pooler", "cls-mean", "max")

    def __init__(self, picture: Picture, *args: Any) -> None:
        super().__init__(*args)
        self.picture = picture
        self.special = pools.special_tokens(self.part)

    def features(self, sized: Tensor) -> dict[str, Tensor]:
        """Return the model's input for images (b, 3, height, width), RGB in [0, 1], already resized and cut."""
        return {"pixel_values": self.picture.scaled(sized).to(next(self.part.parameters()).dtype)}

    def pooled(self, hidden: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Return vectors (b, d) of (b, tokens, d) or (b, d, height, width)."""
        return pools.pool_places(hidden, self.special, self.pooling)

    def forward(self, images: Tensor) -> Tensor:
        """Return vectors (b, dim) of images (b, 3, height, width), RGB in [0, 1], of any size."""
        return self.read(self.features(self.picture.sized(images)))
