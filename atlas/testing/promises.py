"""Shared by the checks: data to learn from, and sentences for promises that are broken."""

from __future__ import annotations

import contextlib
import math
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from atlas.components.options import Component, Option
from atlas.errors import AtlasError, AtlasWarning

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
N, D_SOURCE, D_TARGET = 160, 9, 12
USE_A_GENERATOR = "use a torch.Generator and an option seed"


def ensure(kept: Any, component: Component, promise: str) -> None:
    """Raise `AssertionError` unless a promise is kept."""
    if not kept:
        raise AssertionError(f"{component.label().capitalize()} {promise}")


def attempt(function: Callable[[], Any], component: Component, promise: str) -> Any:
    """Return the result of a call; raise `AssertionError` if it raises anything."""
    try:
        return function()
    except AssertionError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        raise AssertionError(
            f"{component.label().capitalize()} {promise}, raised {type(error).__name__}: {said}"
        ) from error


def unless_refused(function: Callable[[], Any], component: Component, promise: str) -> Any:
    """Return the result of a call, None if it refuses in words; raise `AssertionError` if it raises anything else."""
    try:
        return attempt(function, component, promise)
    except AssertionError as error:
        # The base classes report authors' faults and refusals of users' input with errors of one kind.
        if isinstance(error.__cause__, AtlasError) and "report this to its author" not in str(error):
            return None
        raise


def ensure_close(a: Any, b: Any, component: Component, promise: str, tolerance: float = 1e-5) -> None:
    """Raise `AssertionError` unless two results are equal but for rounding, measured against the larger values."""
    a, b = torch.as_tensor(a).double(), torch.as_tensor(b).double()
    ensure(a.shape == b.shape, component, f"{promise}: shapes {tuple(a.shape)} and {tuple(b.shape)}")
    difference, size = float((a - b).abs().max()), float(b.abs().max())
    ensure(difference <= tolerance * size, component, f"{promise}: they differ by {difference:.2g} in {size:.2g}")


def ensure_refused(function: Callable[[], Any], words: str, component: Component, case: str) -> None:
    """Raise `AssertionError` unless a call raises `AtlasError` with certain words in its message."""
    try:
        function()
    except AtlasError as error:
        ensure(words in str(error), component, f"must say '{words}' for {case}, said '{error}'")
    else:
        ensure(False, component, f"must refuse {case} with an AtlasError")


def fresh(component: Any) -> Any:
    """Return a component of the same options that has learned nothing."""
    return type(component).from_config(component.config())


def normal_numbers(seed: int) -> Callable[..., Tensor]:
    """Return a function of a shape that draws float64 numbers."""
    g = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)


def paired_data(
    d_source: int = D_SOURCE, d_target: int = D_TARGET, n: int = N, seed: int = 0, noise: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Return float64 vectors of the same items in two spaces: a linear map with noise, drifting and off centre."""
    normal = normal_numbers(seed)
    drift = torch.linspace(-1, 1, n, dtype=torch.float64)[:, None]
    X = normal(n, d_source) @ normal(d_source, d_source) + 3 * drift * normal(d_source) + 5
    Y = X @ normal(d_source, d_target) + noise * normal(n, d_target) + 2 * drift * normal(d_target) - 7
    return X, Y


def saved_and_loaded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors after a trip through a safetensors file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        save_file(dict(state), path)
        return {name: tensor.clone() for name, tensor in load_file(path).items()}


def equal_states(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Whether two states have the same names and the same bits."""
    return set(a) == set(b) and all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)


def reloaded(fitted: Any, *about: Any) -> Any:
    """Return a component of the same options and state, after its tensors were saved and loaded.

    Raises:
        AssertionError: tensors that are not as they will be saved, or not the same afterwards.
    """
    state = fitted.state_dict()
    for name, tensor in state.items():
        plain = tensor.is_contiguous() and tensor.device.type == "cpu"
        plain = plain and (tensor.dtype == torch.float32 or not tensor.is_floating_point())
        ensure(plain, fitted, f"must have float32, contiguous, CPU tensors, '{name}' is {tensor.dtype}")
    loaded = fresh(fitted).load_state_dict(saved_and_loaded(state), *about)
    ensure(equal_states(loaded.state_dict(), state), fitted, "must have the same tensors after saving and loading")
    return loaded


def options_survive(component: Component, *about: Any) -> None:
    """Options go through a card and come back."""
    again = fresh(component)
    ensure(again.config() == component.config(), component, "must come back from its config with the same options")


def chosen(cls: type[Component], pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return, typed, those of some options, each a name and a text as given with `-o`, that a component has."""
    known = {opt.name for opt in cls.options()}
    return cls.parse_config([pair for pair in pairs if pair[0].replace("-", "_") in known])


def other_values(opt: Option, value: Any) -> list[Any]:
    """Return values that an option might as well have: the other choices, or one near its own."""
    if opt.type is bool:
        return [not value]
    if opt.type is int:
        return [1 if value is None else value + 1]
    if opt.type is float:
        return [0.5 * (value or 1.0)]
    return [choice for choice in opt.choices if choice != value]


def absurd_values(opt: Option) -> list[Any]:
    """Return values of an option's type that hardly any option can make sense of."""
    known: dict[type, list[Any]] = {int: [-1, 0], float: [-1.0, 0.0, math.inf]}
    return known.get(opt.type, [])


def options_are_used_or_refused(component: Component, works: Callable[[Any], Tensor]) -> None:
    """Raise `AssertionError` if an absurd value of an option is neither refused in words nor gives finite numbers."""
    for opt in component.options():
        for value in absurd_values(opt):
            config = {**component.config(), opt.name: value}
            promise = f"must refuse option {opt.name}={value} with an AtlasError, or work with it"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AtlasWarning)
                made = unless_refused(lambda c=config: works(type(component).from_config(c)), component, promise)  # type: ignore[misc]
            finite = made is None or bool(torch.isfinite(made).all())
            ensure(finite, component, f"{promise}: its output is NaN or infinite")


@contextlib.contextmanager
def global_chance(seed: int) -> Iterator[Callable[[], bool]]:
    """Seed every global generator for the length of a block, and restore all after it.

    Yields a function that says, once the block is left, whether all were left as they were seeded.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    seeded = _states()
    after = seeded
    try:
        yield lambda: after == seeded
    finally:
        after = _states()
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def ensure_unmoved_by_chance(
    component: Component, made: Callable[[], Mapping[str, Tensor]], promise: str, advice: str = USE_A_GENERATOR
) -> None:
    """Raise `AssertionError` if a result moves the global random state, or depends on it."""
    with global_chance(1) as untouched:
        first = made()
    ensure(untouched(), component, f"must leave the global random state alone - {advice}")
    with global_chance(2):
        same = equal_states(first, made())
    ensure(same, component, promise)


def _states() -> tuple[str, str, bytes]:
    return repr(random.getstate()), repr(list(np.random.get_state()[1])), torch.get_rng_state().numpy().tobytes()  # type: ignore[index]
