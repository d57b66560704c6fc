"""Any model of sentence-transformers as an encoder: the model, its part in use, and the identity of its vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

import atlas
from atlas.authors import check_finite, sha256_of, slug
from atlas_sentence_transformers.loading import load, own_dtype
from atlas_sentence_transformers.source import HASH, Source, find, from_state

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# More than these at once are slower on a CPU: texts of unlike lengths are padded, and caches are left.
CPU_BATCH = 32
# Batches that the library is given at once, and the fewest texts, so that it finds enough of like length for each.
BATCHES, TEXTS = 64, 4096
# Names of prompts that the library takes for each task, in its order.
PROMPTS = {"query": ("query",), "document": ("document", "passage", "corpus")}


@dataclass
class SentenceTransformers(atlas.Encoder):
    """Any text model of sentence-transformers, from the Hub or a folder.

    The space is fixed by the commit of the model, or by the hash of its files, and by the options that change its
    vectors. Texts that are longer than the model reads are cut, as the library does. No code that comes with a model is
    run, and no pickle is read.
    """

    name = "sentence-transformers"
    takes = "text"

    model: str = atlas.option(help="Name on the Hub, such as BAAI/bge-small-en-v1.5, a folder, or package:NAME/PATH")
    revision: str = atlas.option("", help="Branch, tag or commit on the Hub; for a folder, the sha256 of its files")
    task: str | None = atlas.option(None, help="Encode as encode_query() or encode_document()", choices=tuple(PROMPTS))
    prompt_name: str = atlas.option("", help="Name of one of the model's prompts, which is put before each text")
    prompt: str | None = atlas.option(None, help="Prompt before each text, in place of the model's own")
    truncate_dim: int | None = atlas.option(None, help="Keep this many dimensions, the first; none: those of the model")
    normalize: bool = atlas.option(False, help="Scale vectors to length 1, if the model does not do so itself")
    max_seq_length: int | None = atlas.option(None, help="Tokens that are read of a text; none: as the model has it")
    dtype: str = atlas.option(
        "auto", help="Of the weights; auto: that of the files", choices=("auto", "float32", "float16", "bfloat16")
    )

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise self.fail("needs the name of a model or its folder, got ''")
        if self.prompt is not None and self.prompt_name:
            raise self.fail(f"takes a prompt or the name of one, got {self.prompt!r} and '{self.prompt_name}'")
        for name in ("truncate_dim", "max_seq_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise self.fail(f"needs a {name} of at least 1, got {value}")

    @property
    def dim(self) -> int:
        """The dimension of the model's vectors, or the part of it that is kept."""
        model = self.loaded()
        return self.truncate_dim or width(model)

    def source(self) -> Source:
        """Return the model that is meant, pinned.

        Raises:
            AtlasError: there is none, or it cannot be had.
        """
        if "_source" not in vars(self):
            with self._telling():
                self._source = find(self.model, self.revision)
        return self._source

    def config(self) -> dict[str, Any]:
        """Return the options with the model pinned: by its commit, or by the name and the hash of its folder."""
        pinned = HASH.fullmatch(self.revision) and self.model == Path(self.model).name
        name, revision = (self.model, self.revision) if pinned else (self.source().name, self.source().revision)
        return {**super().config(), "model": name, "revision": revision}

    def identity(self) -> dict[str, Any]:
        """Return the identity of the model, and the options that change its own behaviour."""
        return {**self.source().identity(), **self.changes}

    @property
    def changes(self) -> dict[str, Any]:
        """The options that change the model's vectors, with their effective values; its revision fixes all else."""
        self.loaded()
        return dict(self._changes)

    def space(self, id: str | None = None) -> atlas.Space:
        """Return the space, named after the model."""
        default = f"{slug(self.source().name.split('/')[-1])[:80]}-{sha256_of(self.identity())[:8]}"
        return super().space(id or self.stored_id or slug(default))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the files of a local model, so that a stored space works anywhere; nothing for one on the Hub."""
        with self._telling():
            return self.source().state()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Take the files of a local model."""
        with self._telling():
            source = from_state(Path(self.model).name, state)
        if source.revision != self.revision:
            raise self.fail(f"needs the files of model '{self.model}' at revision '{self.revision}', got others")
        self.forget()
        self._source = source
        return self

    def loaded(self) -> SentenceTransformer:
        """Return the model of the library, with the options set that are set on it; it is loaded when first needed.

        Raises:
            AtlasError: it cannot be loaded, or lacks something that the options need.
        """
        if "_loaded" not in vars(self):
            source = self.source()
            with self._telling(), source.folder() as folder:
                model, own = load(folder, self.dtype), own_dtype(folder)
            self._changes = self._changed(model, own)
            if self.max_seq_length:
                model.max_seq_length = self.max_seq_length
            self._loaded = model
        return self._loaded

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Make sentences that begin with this encoder of the reasons that are given inside."""
        try:
            yield
        except atlas.AtlasError as error:
            raise self.fail(str(error)) from None

    def _changed(self, model: SentenceTransformer, own: str | None) -> dict[str, Any]:
        """Return the options that change the vectors of a model, with their effective values."""
        found: dict[str, Any] = {}
        if (prompt := self._prompt(model)) != own_prompt(model):
            found["prompt"] = prompt
        if self.task and tells_tasks(model):
            found["task"] = self.task
        whole = width(model, cut=False)
        if self.truncate_dim and self.truncate_dim > whole:
            raise self.fail(f"cannot keep {self.truncate_dim} dimensions of {whole} - lower truncate_dim")
        kept = self.truncate_dim or width(model)
        if kept != width(model):
            found["truncate_dim"] = kept
        if self.normalize and not (is_unit(model) and kept == whole):
            found["normalize"] = True
        if self.max_seq_length and self.max_seq_length != model.max_seq_length:
            found["max_seq_length"] = self._checked_length(model)
        if self.dtype not in ("auto", own):
            found["dtype"] = self.dtype
        return found

    def _prompt(self, model: SentenceTransformer) -> str:
        """Return the text that is put before each text, as the library would choose it."""
        if self.prompt is not None:
            return self.prompt
        if self.prompt_name:
            if self.prompt_name not in model.prompts:
                known = ", ".join(model.prompts) or "none"
                raise self.fail(f"has no prompt '{self.prompt_name}' in model '{self.source().name}' - known: {known}")
            return model.prompts[self.prompt_name] or ""
        named = [name for name in PROMPTS.get(self.task or "", ()) if name in model.prompts]
        return (model.prompts[named[0]] or "") if named else own_prompt(model)

    def _checked_length(self, model: SentenceTransformer) -> int | None:
        longest = positions(model)
        if longest and self.max_seq_length and self.max_seq_length > longest:
            raise self.fail(f"cannot read {self.max_seq_length} tokens of a text - the model reads at most {longest}")
        return self.max_seq_length

    def _batches(self, items: Any, batch_size: int, device: str) -> Iterator[Tensor]:
        """Yield batches in order, of texts that the library has sorted by length among many more than a batch."""
        size = min(batch_size, CPU_BATCH) if device.startswith("cpu") else batch_size
        chunk = -(-max(BATCHES * size, TEXTS) // batch_size) * batch_size
        for start in range(0, len(items), chunk):
            X = self._encode(items[start : start + chunk], device, size)
            check_finite(X, f"The output of {self.label()}", start, more=start + len(X) < len(items))
            yield from X.split(batch_size)

    def _encode(self, batch: list[str], device: str, size: int = CPU_BATCH) -> Tensor:
        changes = self.changes
        # Options outside the identity are not passed on.
        how: dict[str, Any] = {"task": changes["task"]} if "task" in changes else {}
        how |= {"prompt": changes.get("prompt"), "truncate_dim": changes.get("truncate_dim")}
        how |= {"normalize_embeddings": "normalize" in changes}
        made = self.loaded().encode(batch, batch_size=size, show_progress_bar=False, device=device, **how)
        return torch.from_numpy(made)


def is_stored(model: str) -> bool:
    """Whether a model is given as a stored space: a folder with a card, or a reference to one on the Hub."""
    return model.startswith("hf://") or (bool(model) and (Path(model) / "config.yaml").is_file())


def width(model: SentenceTransformer, cut: bool = True) -> int:
    """Return the dimension of a model's vectors; without its own cut, if not `cut`."""
    with model.truncate_embeddings(model.truncate_dim if cut else None):
        return model.get_embedding_dimension() or len(model.encode("a", show_progress_bar=False))


def own_prompt(model: SentenceTransformer) -> str:
    """Return the prompt that a model puts before a text by default."""
    return model.prompts.get(model.default_prompt_name or "") or ""


def is_unit(model: SentenceTransformer) -> bool:
    """Whether the last thing a model does is to scale its vectors to length 1."""
    return type(list(model.children())[-1]).__name__ == "Normalize"


def tells_tasks(model: SentenceTransformer) -> bool:
    """Whether a model does more about a task than to choose a prompt for it."""
    names = ("sub_modules", "query_length", "document_length", "query_expansion")
    told = any(getattr(part, name, None) for part in model.modules() for name in names)
    return told or "task" in str(getattr(model.tokenizer, "chat_template", ""))


def positions(model: SentenceTransformer) -> int | None:
    """Return how many tokens a model has learned positions for; None if it has no such limit."""
    for part in model.modules():
        table = getattr(part, "position_embeddings", None)
        if isinstance(table, torch.nn.Embedding):
            # Models after RoBERTa count from the padding's own number.
            return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
    return None
