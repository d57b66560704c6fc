"""Checkpoints in the format of `transformers`, as plain data: settings, the files of a tokenizer, and tensors.

Nothing that is read is run: files of known names alone are opened, weights are read from safetensors alone, and
settings that could make the library fetch or run anything are taken out before the library sees them.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas import AtlasError

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "config.json"
TEXT = (
    CONFIG,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "bpe.codes",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
IMAGE = (CONFIG, "preprocessor_config.json", "processor_config.json")
WEIGHTS, SHARDS = "model.safetensors", "model-*-of-*.safetensors"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
# Weights in these files can hold code.
_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
# Settings that name code, another model, a path or a version, or that say how to compute.
_DROPPED = {
    *("_name_or_path", "name_or_path", "tokenizer_file", "vocab_file", "merges_file", "transformers_version"),
    *("auto_map", "custom_pipelines", "use_pretrained_backbone", "transformers_weights"),
    *("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation"),
    *("fusion_config", "distributed_config", "dtype", "torch_dtype"),
}


class UnfitError(AtlasError):
    """A reason why a model, or an option with it, cannot be used; the encoder makes a whole sentence of it."""


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a model's files.

    Attributes:
        files: contents of the small ones, by name.
        tensors: the weights, by name, float32 (whole numbers stay).
    """

    files: Mapping[str, bytes]
    tensors: Mapping[str, Tensor]

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """The settings of the model."""
        return json.loads(self.files[CONFIG])

    @property
    def architecture(self) -> str:
        """The class that wrote it, such as BertForSequenceClassification; '' if it does not say."""
        named = self.config.get("architectures")
        return str(named[0]) if isinstance(named, list) and named else ""


def is_weights(name: str) -> bool:
    """Whether a file of this name holds weights; none that could hold code has such a name."""
    return name == WEIGHTS or bool(_SHARD.fullmatch(name))


def files_of(folder: Path, known: Iterable[str]) -> dict[str, Path]:
    """Return the files in a folder that are read, by name.

    Args:
        folder: where they are.
        known: names of those to read, if they are there, besides the weights.

    Raises:
        UnfitError: they are not those of a model.
    """
    if not (folder / CONFIG).is_file():
        raise UnfitError(f"finds no model in '{folder}' - it has no {CONFIG}")
    found = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
    weights = [name for name in found if is_weights(name)]
    pickles = [name for name in found if Path(name).suffix in _PICKLES]
    if not weights and pickles:
        raise UnfitError(f"does not load '{folder / pickles[0]}', which is a pickle - save the model with safetensors")
    if not weights:
        raise UnfitError(f"finds no weights in '{folder}' - it has no {WEIGHTS}")
    # Where there is one file of all weights, others hold the same.
    weights = [WEIGHTS] if WEIGHTS in weights else weights
    return {name: found[name] for name in sorted([*known, *weights]) if name in found}


def contents(file: Path, data: bytes) -> bytes:
    """Return a small file as it is used and kept: of settings, those alone that fix the result, in one form.

    Args:
        file: its path, for messages.
        data: its content.

    Raises:
        UnfitError: settings that cannot be read, or of a model that cannot be used.
    """
    if not file.name.endswith("config.json"):
        return data
    try:
        settings = json.loads(data)
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise UnfitError(f"cannot read '{file}', which is no JSON object")
    if file.name == CONFIG:
        _check_settings(file, settings)
    return json.dumps(_plain(settings), sort_keys=True).encode()


def _check_settings(file: Path, settings: Mapping[str, Any]) -> None:
    from transformers import CONFIG_MAPPING

    kind = settings.get("model_type")
    if "quantization_config" in settings:
        raise UnfitError(f"does not load '{file}', whose model is quantised - give the model it was made from")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        why = "Atlas runs no code that comes with a model" if settings.get("auto_map") else "give another model"
        raise UnfitError(f"does not load '{file}', which names {kind!r} - it is no type of transformers, and {why}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in _DROPPED}
    return [_plain(item) for item in value] if isinstance(value, list) else value
