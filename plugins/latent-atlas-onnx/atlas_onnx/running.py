"""Graphs run by onnxruntime: texts or arrays in, vectors out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from atlas import AtlasError
from atlas.authors import in_a_line
from atlas_onnx.files import EXTRA, GRAPH, TOKENIZER, checked, nodes

# Texts in a batch: more are padded to the longest of them, and slower.
AT_ONCE = 32
# The inputs a graph of tokens may have, and the output that is the vector of a whole text.
TOKENS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
WHOLE = "sentence_embedding"
CONTRIB = "ai.onnx.contrib"
STRING = "tensor(string)"
REAL = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
WHOLE_NUMBERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


class Session:
    """A graph with one input of numbers.

    Args:
        data: the bytes of the graph.
        output: its name; '' for the first.
        custom: whether it uses operators of onnxruntime-extensions.
        singly: whether rows depend on those beside them, so that each must be run alone.
    """

    def __init__(self, data: bytes, output: str, *, custom: bool, singly: bool) -> None:
        self.data, self.custom, self.at_once = data, custom, 1 if singly else AT_ONCE
        self._runs: dict[str, Any] = {}
        run = self._run("cpu")
        self.inputs = {entry.name: entry for entry in run.get_inputs()}
        outputs = {entry.name: entry for entry in run.get_outputs()}
        self.output = output or (WHOLE if WHOLE in outputs else next(iter(outputs)))
        if self.output not in outputs:
            raise AtlasError(f"has no output '{output}' - known: {in_a_line(', '.join(outputs), 200)}")
        if outputs[self.output].type not in REAL:
            raise AtlasError(f"makes {outputs[self.output].type} in '{in_a_line(self.output, 80)}', not numbers")
        self.shape = list(outputs[self.output].shape)
        self._check_inputs()

    @classmethod
    def of(cls, state: Mapping[str, Tensor], output: str, **how: Any) -> Self:
        """Make one of the files of a space.

        Raises:
            AtlasError: a graph that cannot be run, or that makes no vectors.
        """
        data, model = checked(state.get(GRAPH))
        used = list(nodes(model))
        # It takes the range of numbers from the whole batch.
        singly = any(node.op_type == "DynamicQuantizeLinear" for node in used)
        return cls(data, output, custom=any(node.domain == CONTRIB for node in used), singly=singly, **how)

    @property
    def dim(self) -> int:
        """The dimension of the vectors: told by the graph, or found by running it."""
        last = self.shape[-1] if self.shape else None
        return last if isinstance(last, int) else self.vectors(self._example(), "cpu").shape[1]

    def vectors(self, items: Any, device: str) -> Tensor:
        """Return the vectors (n, d), float32, of items."""
        made = []
        for start in range(0, len(items), self.at_once):
            some = items[start : start + self.at_once]
            X = self._vectors(some, self._run(device))
            if X.ndim != 2 or len(X) != len(some):
                raise AtlasError(f"made numbers of shape {tuple(X.shape)} of {len(some)} items, not a vector of each")
            made.append(torch.from_numpy(X.astype(np.float32)))
        return torch.cat(made)

    def _check_inputs(self) -> None:
        if len(self.inputs) != 1 or self._input.type not in REAL:
            said = ", ".join(f"{in_a_line(name, 40)}: {entry.type}" for name, entry in self.inputs.items())
            raise AtlasError(f"needs a graph with one input of real numbers, this one has {said}")

    @property
    def _input(self) -> Any:
        return next(iter(self.inputs.values()))

    def _example(self) -> Any:
        sizes = [size if isinstance(size, int) else 1 for size in self._input.shape[1:]]
        return torch.zeros(1, *sizes)

    def _vectors(self, items: Any, run: Any) -> np.ndarray:
        due = self._input.shape
        given = tuple(items.shape)
        if due and (
            len(due) != len(given)
            or any(isinstance(d, int) and d != g for d, g in zip(due[1:], given[1:], strict=True))
        ):
            raise AtlasError(f"takes items of shape {tuple(due[1:])}, got {given[1:]}")
        X = self._ran(run, {self._input.name: items.numpy().astype(REAL[self._input.type])})
        return X.reshape(len(X), -1) if X.ndim > 2 and all(size == 1 for size in X.shape[2:]) else X

    def _ran(self, run: Any, feed: dict[str, Any]) -> np.ndarray:
        try:
            return run.run([self.output], feed)[0]
        # The runtime raises errors of its own, a class for each kind.
        except Exception as error:
            raise AtlasError(f"cannot run its graph: {in_a_line(error, 300)}") from None

    def _run(self, device: str) -> Any:
        """Return the graph ready for a device; on the CPU with as many threads as torch has."""
        import onnxruntime

        kind = device.partition(":")[0]
        if kind not in self._runs:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            options.log_severity_level = 4
            if self.custom:
                options.register_custom_ops_library(_extensions())
            providers = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
            if providers.get(kind) not in onnxruntime.get_available_providers():
                raise AtlasError(
                    f"cannot run on '{device}' with this onnxruntime - use cpu, or install onnxruntime-gpu"
                )
            try:
                self._runs[kind] = onnxruntime.InferenceSession(self.data, options, providers=[providers[kind]])
            except Exception as error:
                raise AtlasError(f"cannot run its graph: {in_a_line(error, 300)}") from None
        return self._runs[kind]


class Texts(Session):
    """A graph that takes strings, or the tokens of texts.

    Args:
        data: the bytes of the graph.
        output: its name; '' for that of whole texts, else the first.
        tokenizer: the bytes of its file; None for a graph that takes strings.
        max_tokens: read of a text.
        pooling: of vectors of tokens.
        **how: as for `Session`.
    """

    def __init__(self, data: bytes, output: str, *, tokenizer: Any, max_tokens: int, pooling: str, **how: Any) -> None:
        super().__init__(data, output, **how)
        self.pooling, self.tokenizer = pooling, None
        if self._input.type != STRING:
            if tokenizer is None:
                raise AtlasError("finds no tokenizer.json beside its graph, which takes tokens")
            self.tokenizer = _tokenizer(tokenizer, max_tokens)

    @classmethod
    def of(cls, state: Mapping[str, Tensor], output: str, **how: Any) -> Self:
        """Make one of the files of a space."""
        return super().of(state, output, tokenizer=state.get(TOKENIZER), **how)

    def _check_inputs(self) -> None:
        known = {TOKENS, MASK, TYPES}
        tokens = TOKENS in self.inputs and set(self.inputs) <= known
        tokens = tokens and all(entry.type in WHOLE_NUMBERS for entry in self.inputs.values())
        if not tokens and (len(self.inputs) != 1 or self._input.type != STRING):
            said = ", ".join(f"{in_a_line(name, 40)}: {entry.type}" for name, entry in self.inputs.items())
            raise AtlasError(f"needs a graph that takes strings, or {', '.join(sorted(known))}; this one has {said}")

    def _example(self) -> Any:
        return ["a"]

    def _vectors(self, items: Sequence[str], run: Any) -> np.ndarray:
        if self.tokenizer is None:
            return self._ran(run, {self._input.name: np.array(items, dtype=object)})
        found = self.tokenizer.encode_batch(list(items))
        columns = {TOKENS: "ids", MASK: "attention_mask", TYPES: "type_ids"}
        feed = {
            name: np.array([getattr(one, columns[name]) for one in found], dtype=WHOLE_NUMBERS[entry.type])
            for name, entry in self.inputs.items()
        }
        made = self._ran(run, feed)
        mask = np.array([one.attention_mask for one in found], dtype=np.float32)
        return made if made.ndim != 3 else _pooled(made.astype(np.float32), mask, self.pooling)


def _pooled(tokens: np.ndarray, mask: np.ndarray, pooling: str) -> np.ndarray:
    """Return one vector (n, d) of those of the tokens (n, t, d): the first, or the mean where the mask is 1."""
    if tokens.shape[:2] != mask.shape:
        raise AtlasError(f"made numbers of shape {tokens.shape} of tokens of shape {mask.shape}")
    if pooling == "first":
        return tokens[:, 0]
    return (tokens * mask[..., None]).sum(1) / np.maximum(mask.sum(1, keepdims=True), 1)


def _tokenizer(stored: Tensor, max_tokens: int) -> Any:
    from tokenizers import Tokenizer

    try:
        made = Tokenizer.from_buffer(stored.numpy().tobytes())
    # The library raises nothing more special.
    except Exception as error:
        raise AtlasError(f"cannot read its tokenizer: {in_a_line(error, 200)}") from None
    padding = made.padding or {}
    made.enable_padding(**{name: padding[name] for name in ("pad_id", "pad_token", "pad_type_id") if name in padding})
    made.enable_truncation(max_tokens)
    return made


def _extensions() -> str:
    """Return the library of further operators, which comes in a package and never with a graph."""
    try:
        from onnxruntime_extensions import get_library_path
    except ModuleNotFoundError:
        raise AtlasError(f"needs operators of onnxruntime-extensions for its graph - {EXTRA}") from None
    return get_library_path()
