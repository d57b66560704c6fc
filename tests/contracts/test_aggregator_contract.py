"""Every registered aggregator keeps the promises of aggregators, and the checks notice one that does not."""

from __future__ import annotations

import pytest
import torch

from atlas.components.aggregator import Aggregator
from atlas.plugins.catalogue import components
from atlas.testing import AGGREGATOR_CHECKS, check_aggregator
from atlas_builtin.aggregators import GeneralizedProcrustes

AGGREGATORS = [cls for classes in components(Aggregator).values() for cls in classes]
# Promises hold of a network that is trained for a short while, too.
FEWER_STEPS = {"corrected-procrustes": {"steps": 40}}


@pytest.mark.parametrize("check", AGGREGATOR_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("aggregator", AGGREGATORS, ids=lambda cls: cls.name)
def test_every_aggregator_keeps_the_contract(aggregator, check):
    check(aggregator(**FEWER_STEPS.get(aggregator.name, {})))


def test_honest_aggregator_passes():
    check_aggregator(GeneralizedProcrustes())


class _Returns(GeneralizedProcrustes):
    def fit(self, views, items=None):
        super().fit(views, items)


class _LosesOne(GeneralizedProcrustes):
    def _fit(self, views, items):
        return dict(list(super()._fit(views, items).items())[:2])


class _SaysOtherwise(GeneralizedProcrustes):
    @property
    def dim(self):
        return super().dim + 1


class _ReadsTheOrder(GeneralizedProcrustes):
    def _fit(self, views, items):
        return super()._fit(views, {space: torch.arange(len(X)) for space, X in views.items()})


class _Writes(GeneralizedProcrustes):
    def combine(self, rows, present):
        return super().combine(rows.mul_(2), present)


class _DependsOnOthers(GeneralizedProcrustes):
    def _combine(self, rows, present):
        return super()._combine(rows, present) - rows.mean((0, 1))


class _Remembers(GeneralizedProcrustes):
    times = 0

    def _fit(self, views, items):
        type(self).times += 1
        return super()._fit({space: X * (self.times if space == "one" else 1) for space, X in views.items()}, items)


class _KeepsFloat64(GeneralizedProcrustes):
    def state_dict(self):
        return {name: t.double() for name, t in super().state_dict().items()}


class _ForgetsWhatItLearned(GeneralizedProcrustes):
    def load_state_dict(self, state, spaces):
        super().load_state_dict(state, spaces)
        self.extra = {}
        return self


class _ChangesOthers(GeneralizedProcrustes):
    def _add(self, space, X, items):
        self.charts["one"] = self.charts["two"]
        return super()._add(space, X, items)


class _ReadsTheGlobalState(GeneralizedProcrustes):
    def _fit(self, views, items):
        return super()._fit({space: X + torch.rand(1) for space, X in views.items()}, items)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (_Returns, "must return itself from fit"),
        (_LosesOne, "must have charts for"),
        (_SaysOtherwise, "must combine to (90, 9) from all spaces, got (90, 8)"),
        (_ReadsTheOrder, "when rows come in another order - pair them by items"),
        (_Writes, "must leave the rows it combines as they are"),
        (_DependsOnOthers, "must combine an item alone as among others"),
        (_Remembers, "must forget the first fit"),
        (_KeepsFloat64, "must have float32, contiguous, CPU tensors"),
        (_ForgetsWhatItLearned, "must have the same tensors after saving and loading"),
        (_ChangesOthers, "must leave the other charts as they are"),
        (_ReadsTheGlobalState, "must leave the global random state alone"),
    ],
)
def test_checks_notice_a_broken_promise(broken, sentence):
    said = [words for check in AGGREGATOR_CHECKS if (words := complaint(check, broken()))]
    assert any(sentence in words for words in said), said


def complaint(check, aggregator):
    """Return what a check says of an aggregator, '' if nothing."""
    try:
        check(aggregator)
    except Exception as error:
        return str(error)
    return ""
