"""The files of a model: from a folder, a file or the Hub, in the three forms that are about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas import AtlasError
from atlas.authors import Ref, explained, load_tensors, packaged, patiently
from atlas_static.table import MAPPING, TABLE, TOKENIZER, WEIGHTS

# Where the table lies in a folder, by preference, and its names in the file.
PLACES = ("model.safetensors", "0_StaticEmbedding/model.safetensors")
NAMES = {"embeddings": TABLE, "embedding.weight": TABLE, "weights": WEIGHTS, "mapping": MAPPING}
WANTED = ["*.safetensors", "*/model.safetensors", "tokenizer.json", "*/tokenizer.json", "config.json", "modules.json"]


def read(model: str, tokenizer: str = "") -> tuple[dict[str, Tensor], dict[str, bool]]:
    """Return the tensors of a model, the bytes of its tokenizer among them, and how its vectors are meant to be made.

    Args:
        model: a folder, a .safetensors file, either as package:NAME/PATH, or owner/name[@revision] on the Hub.
        tokenizer: its file, or package:NAME/PATH; '' for tokenizer.json beside the table.

    Raises:
        AtlasError: there is no such model, or it is none.
    """
    place = packaged(model) or Path(model).expanduser()
    if not place.exists():
        place = _downloaded(model)
    table = place if place.is_file() else _table_in(place)
    stored = load_tensors(table)
    if "embeddings" not in stored and "embedding.weight" not in stored:
        names = ", ".join(sorted(stored)[:5])
        raise AtlasError(f"finds no table 'embeddings' or 'embedding.weight' in '{table}', which has {names}")
    words = packaged(tokenizer) or Path(tokenizer).expanduser() if tokenizer else table.with_name("tokenizer.json")
    if not words.is_file():
        raise AtlasError(f"finds no tokenizer '{words}' - give its file as option 'tokenizer'")
    state = {NAMES[name]: tensor for name, tensor in stored.items() if name in NAMES}
    with explained(words, "read"):
        state[TOKENIZER] = torch.from_numpy(np.fromfile(words, dtype=np.uint8))
    model2vec = "embeddings" in stored
    return state, {"normalize": _normalizes(place if place.is_dir() else table.parent), "drop_unknown": model2vec}


def _table_in(folder: Path) -> Path:
    for name in PLACES:
        if (folder / name).is_file():
            return folder / name
    raise AtlasError(f"finds no table in '{folder}' - it has neither {' nor '.join(PLACES)}")


def _normalizes(folder: Path) -> bool:
    """Whether the model's own settings scale its vectors: config.json of model2vec, modules.json of the others."""
    settings, modules = _json(folder / "config.json"), _json(folder / "modules.json")
    if isinstance(settings, dict) and isinstance(settings.get("normalize"), bool):
        return settings["normalize"]
    kinds = (
        [str(entry.get("type")) for entry in modules if isinstance(entry, dict)] if isinstance(modules, list) else []
    )
    return any(kind.endswith(".Normalize") for kind in kinds)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise AtlasError(f"cannot read '{path}': {error}") from None


def _downloaded(model: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        ref = Ref.parse(model)
    except AtlasError as error:
        raise AtlasError(f"finds no file or folder '{model}', and on the Hub, {error}") from None
    how = {"allow_patterns": WANTED, "library_name": "latent-atlas"}
    return Path(patiently(lambda: snapshot_download(ref.repo, revision=ref.revision, **how), ref))
