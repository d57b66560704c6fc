"""Loading a model with the library, after a check of its files: no code, no pickles, nothing elsewhere."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from atlas import AtlasError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

OWN = "SentenceTransformer"
_TYPE = re.compile(r"sentence_transformers(\.[A-Za-z_]\w*)+")
# Settings that may name a kernel, which is code that transformers downloads and runs.
_KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")

_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def load(folder: Path, dtype: str = "auto") -> SentenceTransformer:
    """Return the model in a folder, on the CPU.

    Args:
        folder: in the library's own form, or that of a model of transformers, which is then pooled by the mean.
        dtype: of the weights; 'auto' for that of the files.

    Raises:
        AtlasError: files that ask for code or pickles, or that the library cannot read.
    """
    check(folder)
    from sentence_transformers import SentenceTransformer

    model_kwargs = {"use_safetensors": True, "dtype": dtype}
    # Weights that are missing from the files are drawn at random: always the same, and from a generator of their own.
    with quietly(), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(0)
        try:
            return SentenceTransformer(
                str(folder), device="cpu", trust_remote_code=False, local_files_only=True, model_kwargs=model_kwargs
            )
        # A model that is damaged or too new can make the library raise almost anything.
        except Exception as error:
            raise AtlasError(f"cannot load '{folder}': {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return "it asks for code of its own to be run, which Atlas never does"
    said = next(filter(None, str(error).splitlines()), "")
    return f"{type(error).__name__}: {said}"


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep a bar for each model that is loaded or saved off the screen."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def check(folder: Path) -> None:
    """Raise `AtlasError` if the files of a model ask for code to be imported, for pickles, or for another repository.

    The library refuses most of this by itself; these checks do not depend on its version.
    """
    if (folder / "adapter_config.json").exists():
        raise AtlasError(f"finds an adapter of another model in '{folder}' - merge the two and save the result")
    settings = read_json(folder / "config_sentence_transformers.json", {})
    if isinstance(settings, dict) and settings.get("model_type", OWN) != OWN:
        raise AtlasError(f"finds a {settings['model_type']} in '{folder}' - give a {OWN}")
    for path in sorted(folder.rglob("*.json")):
        if path.name == "modules.json":
            _check_modules(path)
        elif "config" in path.name:
            _check_settings(path, read_json(path))
    for path in sorted(folder.rglob("pytorch_model*.bin")):
        if not any(path.parent.glob("*.safetensors")):
            raise AtlasError(f"does not load '{path}', which is a pickle - save the model with safetensors")


def read_json(path: Path, default: Any = None) -> Any:
    """Return the content of a JSON file; the default where there is none."""
    if default is not None and not path.exists():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AtlasError(f"cannot read '{path}': {error}") from None


def own_dtype(folder: Path) -> str | None:
    """Return the dtype that 'auto' means for the files of a model; None if they do not say."""
    from safetensors import safe_open

    settings = read_json(folder / "config.json", {})
    found = settings.get("dtype") or settings.get("torch_dtype") if isinstance(settings, dict) else None
    if found:
        return str(found).removeprefix("torch.")
    files = sorted(folder.glob("*.safetensors"))
    stored: set[str] = set()
    for file in files:
        with safe_open(file, "pt") as tensors:
            stored |= {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118 & _DTYPES.keys()
    return _DTYPES[stored.pop()] if len(stored) == 1 else None


def _check_modules(path: Path) -> None:
    listed = read_json(path)
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise AtlasError(f"cannot read '{path}': it is not a list of modules")
    for entry in listed:
        kind = entry.get("type")
        if not isinstance(kind, str) or not _TYPE.fullmatch(kind) or not _is_module(kind):
            raise AtlasError(
                f"does not load '{path}', which names {kind!r} - it is no module of sentence-transformers, "
                "and Atlas runs no code that comes with a model"
            )


def _is_module(kind: str) -> bool:
    """Whether a name is that of a class of the library that can be part of a model."""
    from sentence_transformers.util import import_from_string

    try:
        found = import_from_string(kind)
    except ImportError:
        return False
    return isinstance(found, type) and issubclass(found, torch.nn.Module)


def _check_settings(path: Path, settings: Any) -> None:
    """Look at the settings in a file, at any depth."""
    if isinstance(settings, list):
        for item in settings:
            _check_settings(path, item)
    if not isinstance(settings, dict):
        return
    for name, value in settings.items():
        if name in _KERNELS and "/" in str(value):
            raise AtlasError(f"does not load '{path}', whose '{name}' is code on the Hub, {value!r} - remove the line")
        if name == "tokenizer_name_or_path" and value is not None:
            raise AtlasError(f"does not load '{path}', whose tokenizer is elsewhere, {value!r} - save both in one")
        if name == "activation_function" and not str(value).startswith("torch."):
            raise AtlasError(f"does not load '{path}', whose activation is code, {value!r} - use one of torch")
        _check_settings(path, value)
