"""Checks that a plugin's components keep the promises all components make, for the tests of whoever wrote them.

    from atlas.testing import check_aligner

    def test_keeps_the_contract():
        check_aligner(MyAligner())

A broken promise raises `AssertionError` with one sentence. `ALIGNER_CHECKS`, `ENCODER_CHECKS`, `SAMPLER_CHECKS`,
`AGGREGATOR_CHECKS` and `EXPORTER_CHECKS` hold the checks one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas.components.aggregator import Aggregator
from atlas.components.aligner import Aligner
from atlas.components.encoder import Encoder
from atlas.components.exporter import Exporter
from atlas.components.sampler import Sampler
from atlas.testing.aggregators import AGGREGATOR_CHECKS
from atlas.testing.aligners import ALIGNER_CHECKS
from atlas.testing.encoders import ENCODER_CHECKS
from atlas.testing.exporters import EXPORTER_CHECKS
from atlas.testing.samplers import SAMPLER_CHECKS

if TYPE_CHECKING:
    from atlas.artefacts.alignment import Alignment

CHECKS: dict[str, tuple[Any, ...]] = {
    "aligner": ALIGNER_CHECKS,
    "encoder": ENCODER_CHECKS,
    "sampler": SAMPLER_CHECKS,
    "aggregator": AGGREGATOR_CHECKS,
    "exporter": EXPORTER_CHECKS,
}

__all__ = [
    "AGGREGATOR_CHECKS",
    "ALIGNER_CHECKS",
    "CHECKS",
    "ENCODER_CHECKS",
    "EXPORTER_CHECKS",
    "SAMPLER_CHECKS",
    "check_aggregator",
    "check_aligner",
    "check_encoder",
    "check_exporter",
    "check_sampler",
]


def check_aligner(aligner: Aligner) -> None:
    """Run every check on an aligner; it is not changed, only its options are read."""
    for check in ALIGNER_CHECKS:
        check(aligner)


def check_encoder(encoder: Encoder, items: Any = None) -> None:
    """Run every check on an encoder; it is not changed.

    Args:
        encoder: one that can encode, or that learns from items.
        items: a list of texts, or a tensor of images or arrays, eight or more; by default a dozen made-up ones.
    """
    for check in ENCODER_CHECKS:
        check(encoder, items)


def check_sampler(sampler: Sampler) -> None:
    """Run every check on a sampler; it is not changed."""
    for check in SAMPLER_CHECKS:
        check(sampler)


def check_aggregator(aggregator: Aggregator) -> None:
    """Run every check on an aggregator; it is not changed, only its options are read."""
    for check in AGGREGATOR_CHECKS:
        check(aggregator)


def check_exporter(exporter: Exporter, alignment: Alignment | None = None) -> None:
    """Run every check on an exporter; neither it nor the alignment is changed.

    Args:
        exporter: what to check.
        alignment: one that it can write; by default a small affine one between spaces of which nothing is known.
    """
    for check in EXPORTER_CHECKS:
        check(exporter, alignment)
