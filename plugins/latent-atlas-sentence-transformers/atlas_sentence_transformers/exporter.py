"""Alignments as models of sentence-transformers: the encoder of the source, and the map behind it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import atlas
from atlas_sentence_transformers.card import write_card
from atlas_sentence_transformers.encoder import SentenceTransformers, is_stored, width
from atlas_sentence_transformers.loading import quietly

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Module


@dataclass
class SentenceTransformersExporter(atlas.Exporter):
    """Write a sentence-transformers model whose encode() gives vectors of the target: the source's model, then the map.

    The folder is loaded by sentence-transformers alone, and runs no code but that of the library.
    """

    name = "sentence-transformers"
    affine = True
    takes = "alignments from a space of texts"

    # No option 'model', the name of the alignment in atlas.export().
    source: str = atlas.option("", help="Model of the source: its name on the Hub, its folder, or a stored space")
    revision: str = atlas.option("", help="Branch, tag or commit of the model, if the source does not say")
    encoder: dict = atlas.option({}, help="Other options of the encoder, if the source does not say")

    def _export(self, model: atlas.Alignment, path: Path) -> None:
        encoder = self._encoder(model)
        # The library draws weights for the new layer before they are set.
        with torch.random.fork_rng(devices=[]):
            whole = followed(encoder, model.tensors()["weight"], model.tensors()["bias"])
        with quietly():
            whole.save_pretrained(str(path))
        write_card(path / "README.md", model, encoder.source())

    def _encoder(self, alignment: atlas.Alignment) -> SentenceTransformers:
        """Return the encoder that makes vectors of the source, or raise `AtlasError` if it is not to be had."""
        space = alignment.source
        if is_stored(self.source):
            encoder = atlas.load(self.source, "space")
        elif space.encoder == SentenceTransformers.name:
            encoder = self._recorded(space)
        elif self.source:
            how = {**self.encoder, "model": self.source, "revision": self.revision}
            encoder = SentenceTransformers.from_config(how)
        else:
            raise self.fail(f"needs the model that makes vectors of '{space.id}' - give option 'source'")
        if not isinstance(encoder, SentenceTransformers):
            raise self.fail(f"needs a space of '{SentenceTransformers.name}', got one of '{encoder.name}'")
        space.require(encoder.space(), f"Alignment '{alignment.id}' maps from", "the vectors of the model")
        return encoder

    def _recorded(self, space: atlas.Space) -> SentenceTransformers:
        """Return the encoder that a space was made by, with the model that it names, or that is given."""
        if self.encoder or self.revision:
            raise self.fail(
                f"takes the options of the encoder from space '{space.id}' - leave out encoder and revision"
            )
        named = str(space.identity.get("model", ""))
        if named and self.source not in ("", named):
            raise self.fail(f"needs '{named}', which made space '{space.id}' - leave out option 'source'")
        model = self.source or named
        if not model:
            raise self.fail(f"needs the local model that made space '{space.id}' - give option 'source', its folder")
        return SentenceTransformers.from_config({**space.identity, "model": model})


def followed(encoder: SentenceTransformers, weight: Tensor, bias: Tensor) -> SentenceTransformer:
    """Return the model of an encoder, followed by an affine map; it is the encoder's own model that is changed.

    Args:
        encoder: whose options become part of the model.
        weight: (dim, d_target), acting on the right.
        bias: (d_target,).
    """
    from sentence_transformers.base.modules import Normalize

    model, changes = encoder.loaded(), encoder.changes
    if "task" in changes:
        _choose_route(encoder, model)
    whole, kept = width(model, cut=False), encoder.dim
    # The cut comes before the map, and the library would do it last.
    model.truncate_dim = None
    if "normalize" in changes:
        cut = [_dense(torch.eye(whole, kept))] if kept < whole else []
        _append(model, *cut, Normalize())
    elif kept < whole:
        weight = torch.cat([weight, weight.new_zeros(whole - kept, weight.shape[1])])
    _append(model, _dense(weight, bias))
    if "prompt" in changes:
        _set_prompt(model, changes["prompt"])
    return model


def _choose_route(encoder: SentenceTransformers, model: SentenceTransformer) -> None:
    """Make the model of a task the only one, so that it need not be named."""
    routes = getattr(model[0], "sub_modules", {})
    if encoder.task not in routes:
        raise encoder.fail(f"has a model that takes the task '{encoder.task}', which cannot become part of it")
    others = list(model.children())[1:]
    del model[:]
    _append(model, *routes[encoder.task].children(), *others)


def _append(model: SentenceTransformer, *parts: torch.nn.Module) -> None:
    for part in parts:
        free = (str(i) for i in itertools.count(len(model)) if str(i) not in dict(model.named_children()))
        model.add_module(next(free), part)


def _dense(weight: Tensor, bias: Tensor | None = None) -> Module:
    from sentence_transformers.sentence_transformer.modules import Dense

    how: dict[str, Any] = {} if bias is None else {"init_bias": bias.clone()}
    d_in, d_out = weight.shape
    return Dense(
        d_in,
        d_out,
        bias=bias is not None,
        activation_function=torch.nn.Identity(),
        init_weight=weight.T.contiguous(),
        **how,
    )


def _set_prompt(model: SentenceTransformer, prompt: str) -> None:
    """Let a model put a prompt before each text unless another is asked for."""
    if not prompt:
        model.default_prompt_name = None
        return
    names = [name for name, text in model.prompts.items() if text == prompt]
    model.default_prompt_name = names[0] if names else "source"
    model.prompts = {**model.prompts, model.default_prompt_name: prompt}
