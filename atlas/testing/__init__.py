"""Checks that a plugin's components keep the promises all components make, for the tests of whoever wrote them.

    from atlas.testing import check_aligner

    def test_keeps_the_contract():
        check_aligner(MyAligner())

A broken promise raises `AssertionError` with one sentence. `ALIGNER_CHECKS` holds the checks one by one.
"""

from __future__ import annotations

from atlas.base import Aligner
from atlas.testing.aligners import ALIGNER_CHECKS

__all__ = ["ALIGNER_CHECKS", "check_aligner"]


def check_aligner(aligner: Aligner) -> None:
    """Run every check on an aligner; it is not changed, only its options are read."""
    for check in ALIGNER_CHECKS:
        check(aligner)
