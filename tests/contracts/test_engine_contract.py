"""Every registered engine keeps the promises of engines, and an executor works as one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

import atlas
from atlas.components.engine import Engine
from atlas.plugins.catalogue import components
from atlas.testing import CHECKS, check_engine

NAMES = sorted(components(Engine))


# Libraries of plugins' engines may leave pipes to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("check", CHECKS["engine"], ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_keeps_the_contract(name, check):
    check(atlas.create(Engine, name))


@dataclass
class Threads(atlas.Engine):
    """Threads of this process, with a fault in subclasses."""

    name = "threads"

    def map(self, function, items):
        """Yield results in order."""
        with ThreadPoolExecutor(2) as pool:
            yield from pool.map(function, items)


class Unordered(Threads):
    def map(self, function, items):
        return sorted(super().map(function, items), key=lambda result: -result)


class Forgets(Threads):
    def map(self, function, items):
        return super().map(function, items[:-1])


class Swallows(Threads):
    def map(self, function, items):
        try:
            yield from super().map(function, items)
        except atlas.AtlasError:
            return


def test_an_honest_engine_passes():
    check_engine(Threads())


@pytest.mark.parametrize(
    ("faulty", "sentence"),
    [
        (Unordered, "one result for each item, in their order"),
        (Forgets, "one result for each item, in their order"),
        (Swallows, "an item"),
    ],
)
def test_a_fault_is_found(faulty, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_engine(faulty())
