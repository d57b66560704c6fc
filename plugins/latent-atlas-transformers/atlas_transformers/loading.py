"""Models, tokenizers and image processors of `transformers`, made of a checkpoint in memory, silently."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from atlas import AtlasError
from atlas_transformers.checkpoint import CONFIG, Checkpoint, UnfitError

T = TypeVar("T")


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep the library from printing, and the global random state as it is, for the length of a block."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    if bars:
        logging.disable_progress_bar()
    try:
        # Weights that a checkpoint lacks are drawn at random, even where they are not used.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def explained(what: str, make: Callable[[], T]) -> T:
    """Return the result of a call of the library, or raise `UnfitError` with its failure in one sentence."""
    try:
        with quietly():
            return make()
    except AtlasError:
        raise
    # A checkpoint that is damaged or strange can make the library raise almost anything.
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0].rstrip(". ")[:200] if lines else "no reason given"
        raise UnfitError(f"cannot make {what} with this model: {type(error).__name__}: {reason}") from None


def network(checkpoint: Checkpoint, mapping: str, dtype: str) -> tuple[Any, set[str]]:
    """Return a model with the weights of a checkpoint, in evaluation mode, and the names of those it lacks.

    Args:
        checkpoint: its settings and weights.
        mapping: name of the table of `transformers` from settings to classes, such as MODEL_MAPPING.
        dtype: of its parameters.

    Raises:
        UnfitError: there is no such model, or the weights do not fit it.
    """

    def make() -> tuple[Any, set[str]]:
        import transformers

        settings = checkpoint.config
        config = transformers.CONFIG_MAPPING[settings["model_type"]].from_dict(settings)
        # A model's memory for the next token is of no use here.
        if hasattr(config, "use_cache"):
            config.use_cache = False
        cls = _class_of(getattr(transformers, mapping), config, checkpoint.architecture)
        how = {"config": config, "state_dict": dict(checkpoint.tensors), "output_loading_info": True}
        model, info = cls.from_pretrained(None, dtype=getattr(torch, dtype), trust_remote_code=False, **how)
        return model.eval().requires_grad_(False), set(info["missing_keys"])

    return explained("a model", make)


def _class_of(mapping: Any, config: Any, architecture: str) -> Any:
    try:
        found = mapping[type(config)]
    except KeyError:
        raise UnfitError(f"cannot use a model of type '{config.model_type}' - give another") from None
    classes = found if isinstance(found, (list, tuple)) else [found]
    return next((cls for cls in classes if cls.__name__ == architecture), classes[0])


def tokenizer(checkpoint: Checkpoint) -> Any:
    """Return the tokenizer of a checkpoint."""

    def make(folder: str) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)

    return _from_files(checkpoint, "a tokenizer", make)


def image_processor(checkpoint: Checkpoint) -> Any:
    """Return the image processor of a checkpoint, the one that works with Pillow."""

    def make(folder: str) -> Any:
        from transformers import AutoImageProcessor

        how = {"trust_remote_code": False, "local_files_only": True}
        return AutoImageProcessor.from_pretrained(folder, backend="pil", **how)

    if checkpoint.files.keys() == {CONFIG}:
        raise UnfitError("finds no preprocessor_config.json - save the image processor beside the model")
    return _from_files(checkpoint, "an image processor", make)


def _from_files(checkpoint: Checkpoint, what: str, make: Callable[[str], T]) -> T:
    with tempfile.TemporaryDirectory() as folder:
        for name, data in checkpoint.files.items():
            (Path(folder) / name).write_bytes(data)
        return explained(what, lambda: make(folder))


def tower(model: Any, takes: str) -> nn.Module:
    """Return the part of a model that reads texts ('text') or images ('images'), which may be all of it.

    Raises:
        UnfitError: no part does.
    """
    part = getattr(model, "text_model" if takes == "text" else "vision_model", model)
    if takes == "text" and part.config.is_encoder_decoder:
        part = part.get_encoder()
    wanted = "input_ids" if takes == "text" else "pixel_values"
    if part.main_input_name != wanted:
        kind = model.config.model_type
        raise UnfitError(f"takes {takes}, but models of type '{kind}' read {part.main_input_name} - give another")
    return part


def check_complete(model: nn.Module, part: nn.Module, missing: set[str], pooler: bool) -> None:
    """Raise `UnfitError` if weights that make vectors were not in the checkpoint, and so are random.

    Args:
        model: all of it.
        part: the part that makes the vectors.
        missing: names of weights in `model`.
        pooler: whether the pooler is used, too.
    """
    used = {id(p) for p in part.parameters()}
    lacking = sorted(name for name, p in model.named_parameters() if name in missing and id(p) in used)
    if not pooler:
        lacking = [name for name in lacking if "pooler" not in name.split(".")]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        advice = "choose another pooling" if all("pooler" in name for name in lacking) else "give another checkpoint"
        raise UnfitError(f"lacks weights: the checkpoint does not hold '{lacking[0]}'{more} - {advice}")
