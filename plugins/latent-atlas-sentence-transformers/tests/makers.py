"""Small models in the library's own form, and texts of all lengths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

SENTENCE = "how do i change my card pin where is the money that was sent to me why did a payment fail twice today"
WORDS = SENTENCE.split()
GENERATOR = torch.Generator().manual_seed(0)
LENGTHS = torch.randint(1, 60, (70,), generator=GENERATOR).tolist()
TEXTS = [
    " ".join(WORDS[i] for i in torch.randint(len(WORDS), (length,), generator=GENERATOR).tolist()) for length in LENGTHS
]


def bert(folder: Path, width: int, seed: int) -> None:
    """Write a BERT of two layers, and a tokenizer that knows some words and all letters."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    letters = list("abcdefghijklmnopqrstuvwxyz0123456789:-")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *letters, *(f"##{c}" for c in letters), *sorted(set(WORDS))]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)))
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=64)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def tiny(folder: Path, width: int = 16, seed: int = 0, extra: Any = (), **about: Any) -> str:
    """Write a small model of the library: a BERT, the mean of its tokens, and what is extra.

    Args:
        folder: where to.
        width: its dimensions.
        seed: of its weights.
        extra: modules behind the mean.
        **about: of the model, such as prompts or truncate_dim.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    bert(folder / "bert", width, seed)
    transformer = Transformer(str(folder / "bert"), max_seq_length=40)
    model = SentenceTransformer(modules=[transformer, Pooling(width), *extra], device="cpu", **about)
    model.save_pretrained(str(folder / folder.name))
    return str(folder / folder.name)


def edit(path: Path, **changes: Any) -> None:
    """Change settings in a JSON file."""
    settings = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**settings, **changes}))
