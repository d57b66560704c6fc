"""Text and vision models of `transformers` as encoders of Atlas: any layer is a space, and classifiers are heads."""

from __future__ import annotations

import atlas
from atlas_transformers.image import TransformersImage
from atlas_transformers.text import TransformersText


@atlas.hookimpl
def register_encoders() -> list[type[atlas.Encoder]]:
    """Return the encoders of this plugin."""
    return [TransformersText, TransformersImage]
