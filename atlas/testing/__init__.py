"""Checks that a plugin's components keep the promises all components make, for the tests of plugin authors.

    from atlas.testing import check_aligner

    def test_keeps_the_contract():
        check_aligner(MyAligner())

A broken promise raises `AssertionError` with one sentence. `ALIGNER_CHECKS`, `ENCODER_CHECKS`, `SAMPLER_CHECKS`,
`AGGREGATOR_CHECKS`, `EXPORTER_CHECKS`, `STORE_CHECKS` and `ENGINE_CHECKS` hold the checks one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.components.aggregator import Aggregator
from atlas.components.aligner import Aligner
from atlas.components.encoder import Encoder
from atlas.components.engine import Engine
from atlas.components.exporter import Exporter
from atlas.components.options import Component
from atlas.components.sampler import Sampler
from atlas.testing.aggregators import AGGREGATOR_CHECKS
from atlas.testing.aligners import ALIGNER_CHECKS
from atlas.testing.encoders import ENCODER_CHECKS
from atlas.testing.engines import ENGINE_CHECKS
from atlas.testing.exporters import EXPORTER_CHECKS, applies_the_same
from atlas.testing.promises import attempt
from atlas.testing.samplers import SAMPLER_CHECKS
from atlas.testing.stores import STORE_CHECKS, Make, ids_of, rows

if TYPE_CHECKING:
    from atlas.artefacts.alignment import Alignment

CHECKS: dict[str, tuple[Any, ...]] = {
    "aligner": ALIGNER_CHECKS,
    "encoder": ENCODER_CHECKS,
    "sampler": SAMPLER_CHECKS,
    "aggregator": AGGREGATOR_CHECKS,
    "exporter": EXPORTER_CHECKS,
    "store": STORE_CHECKS,
    "engine": ENGINE_CHECKS,
}

__all__ = [
    "AGGREGATOR_CHECKS",
    "ALIGNER_CHECKS",
    "CHECKS",
    "ENCODER_CHECKS",
    "ENGINE_CHECKS",
    "EXPORTER_CHECKS",
    "SAMPLER_CHECKS",
    "STORE_CHECKS",
    "check_aggregator",
    "check_aligner",
    "check_encoder",
    "check_engine",
    "check_exporter",
    "check_sampler",
    "check_store",
]


def _run(checks: tuple[Callable[..., None], ...], component: Component, *about: Any) -> None:
    for check in checks:
        promise = " ".join((check.__doc__ or check.__name__).split()).removesuffix(".")
        attempt(lambda check=check: check(component, *about), component, f"breaks a promise ({promise})")  # type: ignore[misc]


def check_aligner(aligner: Aligner) -> None:
    """Run every check on an aligner; it is not changed, only its options are read."""
    _run(ALIGNER_CHECKS, aligner)


def check_encoder(encoder: Encoder, items: Any = None) -> None:
    """Run every check on an encoder; it is not changed.

    Args:
        encoder: one that can encode, or that learns from items.
        items: a list of texts, or a tensor of images or arrays, eight or more; by default a dozen made-up ones.
    """
    _run(ENCODER_CHECKS, encoder, items)


def check_sampler(sampler: Sampler) -> None:
    """Run every check on a sampler; it is not changed."""
    _run(SAMPLER_CHECKS, sampler)


def check_aggregator(aggregator: Aggregator) -> None:
    """Run every check on an aggregator; it is not changed, only its options are read."""
    _run(AGGREGATOR_CHECKS, aggregator)


def check_exporter(
    exporter: Exporter, alignment: Alignment | None = None, apply: Callable[[Path, Any], Any] | None = None
) -> None:
    """Run every check on an exporter; neither it nor the alignment is changed.

    Args:
        exporter: the exporter to check.
        alignment: one that it can write; by default a small affine one between spaces of which nothing is known.
        apply: a function that reads the file from its path and applies it to vectors (n, d_source), an array of
            float32: it must map them as the alignment does.
    """
    _run(EXPORTER_CHECKS, exporter, alignment)
    if apply is not None:
        _run((applies_the_same,), exporter, alignment, apply)


def check_engine(engine: Engine) -> None:
    """Run every check on an engine; it is not changed."""
    _run(ENGINE_CHECKS, engine)


def check_store(make: Make, ids: Sequence[str] | None = None) -> None:
    """Run every check on a kind of store, each on new ones.

    Args:
        make: a function that makes a new store of some rows, of which it is given ids, n texts, and vectors (n, d), an
            array of float32 of length 1: without a shadow, and such that `type(store).at(store.address)` opens it
            again.
        ids: forty that the store can hold, if it cannot hold any text.
    """
    known = ids_of(ids)
    _run(STORE_CHECKS, make(known[:1], rows(1, 3)), make, known)
