"""The Hugging Face Hub: artefacts are pulled and checked, or pushed as one commit.

`client` makes the Hub's own client patient, yet bounded; `cache` and `repository` are a repository as it is read and as
it is written; `model_card` and `model_card_text` make the model card; the others do the work.
"""

from __future__ import annotations

from atlas.hub.cache import SCHEME
from atlas.hub.pulling import Pulled, copy, locate, pull

__all__ = ["SCHEME", "Pulled", "copy", "locate", "pull"]
