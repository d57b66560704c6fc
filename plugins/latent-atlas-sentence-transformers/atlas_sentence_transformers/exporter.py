"""Alignments as models of sentence-transformers: the encoder of the source, and the map behind it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import atlas
from atlas_sentence_transformers.card import write_card
from atlas_sentence_transformers.encoder import SentenceTransformers, is_stored, own_prompt, width
from atlas_sentence_transformers.loading import quietly
from atlas_sentence_transformers.source import Source

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Module


@dataclass
class SentenceTransformersExporter(atlas.Exporter):
    """Write a sentence-transformers model whose encode() gives vectors of the target: the source's model, then the map.

    With the model of the target as `documents`, one model of two: encode_query() maps, and encode_document() is the
    target's own. The folder is loaded by sentence-transformers alone, and runs no code but that of the library.
    """

    name = "sentence-transformers"
    affine = True
    takes = "alignments from a space of texts"

    # No option 'model', the name of the alignment in atlas.export().
    source: str = atlas.option("", help="Model of the source: its name on the Hub, its folder, or a stored space")
    revision: str = atlas.option("", help="Branch, tag or commit of the model, if the source does not say")
    encoder: dict = atlas.option({}, help="Other options of the encoder, if the source does not say")
    documents: str = atlas.option("", help="Model of the target, which encodes documents; none: the model maps all")

    def _export(self, model: atlas.Alignment, path: Path) -> None:
        whole, *sources = self.built(model)
        with quietly():
            whole.save_pretrained(str(path))
        write_card(path / "README.md", model, *sources)

    def built(self, model: atlas.Alignment) -> tuple[SentenceTransformer, Source, Source | None]:
        """Return the model that an alignment becomes, and the models of its source and of documents that it is made of.

        Raises:
            AtlasError: one of them is not to be had, or is another than the alignment's.
        """
        recorded = model.source.encoder == SentenceTransformers.name and not is_stored(self.source)
        if recorded and (self.encoder or self.revision):
            raise self.fail(
                f"takes the options of the encoder from space '{model.source.id}' - leave out encoder and revision"
            )
        how = {**self.encoder, "revision": self.revision}
        encoder = self.encoder_of(model.source, "source", f"Alignment '{model.id}' maps from", how)
        # The library draws weights for the new layer before they are set.
        with torch.random.fork_rng(devices=[]):
            whole = followed(encoder, model.tensors()["weight"], model.tensors()["bias"])
        if not self.documents:
            return whole, encoder.source(), None
        documents = self.encoder_of(model.target, "documents", f"Alignment '{model.id}' maps to", {})
        return routed(whole, settled(documents)), encoder.source(), documents.source()

    def encoder_of(self, space: atlas.Space, option: str, subject: str, how: Mapping[str, Any]) -> SentenceTransformers:
        """Return the encoder that makes vectors of a space, or raise `AtlasError` if it is not to be had.

        Args:
            space: that it must make vectors of.
            option: the one that may name the model.
            subject: of the message about another space.
            how: options of the encoder where the space does not say.
        """
        given = getattr(self, option)
        if is_stored(given):
            encoder = atlas.load(given, "space")
        elif space.encoder == SentenceTransformers.name:
            encoder = self._recorded(space, option, given)
        elif given:
            encoder = SentenceTransformers.from_config({**how, "model": given})
        else:
            raise self.fail(f"needs the model that makes vectors of '{space.id}' - give option '{option}'")
        if not isinstance(encoder, SentenceTransformers):
            raise self.fail(f"needs a space of '{SentenceTransformers.name}', got one of '{encoder.name}'")
        space.require(encoder.space(), subject, "the vectors of the model")
        return encoder

    def _recorded(self, space: atlas.Space, option: str, given: str) -> SentenceTransformers:
        """Return the encoder that a space was made by, with the model that it names, or that is given."""
        named = str(space.identity.get("model", ""))
        if named and given not in ("", named):
            raise self.fail(f"needs '{named}', which made space '{space.id}' - leave out option '{option}'")
        model = given or named
        if not model:
            raise self.fail(f"needs the local model that made space '{space.id}' - give option '{option}', its folder")
        return SentenceTransformers.from_config({**space.identity, "model": model})


def followed(encoder: SentenceTransformers, weight: Tensor, bias: Tensor) -> SentenceTransformer:
    """Return the model of an encoder, followed by an affine map; it is the encoder's own model that is changed.

    Args:
        encoder: whose options become part of the model.
        weight: (dim, d_target), acting on the right.
        bias: (d_target,).
    """
    # The map itself leaves out dimensions that are cut off and not scaled.
    model = settled(encoder, cut="normalize" in encoder.changes)
    lost = width(model) - len(weight)
    _append(model, _dense(torch.cat([weight, weight.new_zeros(lost, weight.shape[1])]), bias))
    return model


def settled(encoder: SentenceTransformers, cut: bool = True) -> SentenceTransformer:
    """Return the model of an encoder, which is changed, with the encoder's options as part of it.

    Args:
        encoder: whose options are meant.
        cut: whether dimensions that are cut off are; else the map that follows does it.
    """
    from sentence_transformers.base.modules import Normalize

    model, changes = encoder.loaded(), encoder.changes
    if "task" in changes:
        _choose_route(encoder, model)
    whole, kept = width(model, cut=False), encoder.dim
    # The library would cut off last, after whatever follows.
    model.truncate_dim = None
    if cut and kept < whole:
        _append(model, _dense(torch.eye(whole, kept)))
    if "normalize" in changes:
        _append(model, Normalize())
    if "prompt" in changes:
        _set_prompt(model, changes["prompt"])
    return model


def routed(queries: SentenceTransformer, documents: SentenceTransformer) -> SentenceTransformer:
    """Return one model of two: encode_query() is encode() of the first, encode_document() that of the second."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    parts = {"query": queries, "document": documents}
    # The first layers say how a text becomes tokens; either side keeps its own.
    routes = {name: list(model.children()) for name, model in parts.items()}
    router = Router(routes, default_route="query")
    prompts = {name: own_prompt(model) for name, model in parts.items()}
    return SentenceTransformer(
        modules=[router], prompts=prompts, similarity_fn_name=documents.similarity_fn_name, device="cpu"
    )


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
