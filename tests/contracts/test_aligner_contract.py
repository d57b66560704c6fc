"""Every registered aligner keeps the promises of aligners, and the checks notice one that does not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

import atlas
from atlas.components.aligner import Aligner
from atlas.plugins.catalogue import components
from atlas.testing import ALIGNER_CHECKS, check_aligner
from atlas_builtin.aligners import Procrustes

ALIGNERS = [cls for classes in components(Aligner).values() for cls in classes]


@pytest.mark.parametrize("check", ALIGNER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("aligner", ALIGNERS, ids=lambda cls: cls.name)
def test_every_aligner_keeps_the_contract(aligner, check):
    check(aligner())


@pytest.mark.parametrize("check", ALIGNER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "options",
    [{"similarity": s} for s in ("inner", "whitened", "euclidean", "l1", "linf")]
    + [{"centre": True}, {"power": 4.0}, {"keep": 7, "ridge": 0.1}],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_kind_of_relative_keeps_the_contract(options, check):
    check(atlas.create(Aligner, "relative", options))


@dataclass
class Honest(Procrustes):
    """The class the broken ones below differ from in one place."""

    name = "honest"


class _Returns(Honest):
    def fit(self, X, Y=None):
        super().fit(X, Y)


class _Copies(Honest):
    def fit(self, X, Y=None):
        return type(self)().load_state_dict(Honest().fit(X, Y).state_dict())


class _Widens(Honest):
    def transform(self, X):
        return super().transform(X).double()


class _Tensors(Honest):
    def transform(self, X):
        return torch.as_tensor(super().transform(X))


class _Writes(Honest):
    def transform(self, X):
        result = super().transform(X)
        X[0, 0] = 0
        return result


class _Remembers(Honest):
    seen = 0

    def solve(self, m):
        type(self).seen += 1
        return super().solve(m) * type(self).seen


class _KeepsDerived(Honest):
    def forget(self):
        kept = self.__dict__.get("_kept")
        super().forget()
        if kept is not None:
            self._kept = kept

    def _transform(self, X):
        self._kept = self.__dict__.get("_kept", 0) + 1
        return super()._transform(X) * self._kept


class _ForgetsBatches(Honest):
    def partial_fit(self, X, Y=None):
        self.forget()
        return super().partial_fit(X, Y)


class _CannotStream(Honest):
    streaming = False


class _KeepsFloat64(Honest):
    def state_dict(self):
        return {name: t.double() for name, t in super().state_dict().items()}


class _UsesMore(Honest):
    _secret = 0.0

    def _solved(self, m):
        self._secret = 1.0
        return super()._solved(m)

    def _transform(self, X):
        return super()._transform(X) + self._secret


class _TakesNaN(Honest):
    def partial_fit(self, X, Y=None):
        return super().partial_fit(torch.as_tensor(X).nan_to_num(), Y)


class _TakesOne(Honest):
    def partial_fit(self, X, Y=None):
        X, Y = torch.as_tensor(X), torch.as_tensor(Y)
        return super().partial_fit(X.repeat(2, 1), Y.repeat(2, 1)) if len(X) == 1 else super().partial_fit(X, Y)


class _TakesUnpaired(Honest):
    def partial_fit(self, X, Y=None):
        return super().partial_fit(X[: len(Y)], Y)


class _IsNotAffine(Honest):
    def _transform(self, X):
        return super()._transform(X).abs()


class _IsNotInvertible(Honest):
    def _inverse_transform(self, Y):
        return super()._inverse_transform(Y.abs() + 5)


class _DependsOnTheBatch(Honest):
    def _transform(self, X):
        return super()._transform(X - X.mean(0))


class _ReadsTheGlobalState(Honest):
    def solve(self, m):
        return super().solve(m) + torch.rand(1, dtype=torch.float64)


class _SeedsTheGlobalState(Honest):
    def solve(self, m):
        torch.manual_seed(0)
        return super().solve(m)


def test_honest_aligner_passes():
    check_aligner(Honest())


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (_Returns, "must return itself from fit"),
        (_Copies, "must return itself from fit"),
        (_Widens, "must map torch.float16 to torch.float16"),
        (_Tensors, "must map arrays to arrays"),
        (_Writes, "must leave its inputs as they are"),
        (_Remembers, "must forget the first fit"),
        (_KeepsDerived, "must forget everything derived"),
        (_ForgetsBatches, "must give one map in batches"),
        (_CannotStream, "must refuse partial_fit with an AtlasError"),
        (_KeepsFloat64, "must have float32, contiguous, CPU tensors, 'weight' is torch.float64"),
        (_UsesMore, "must map to the same bits after saving and loading"),
        (_TakesNaN, "must refuse NaN"),
        (_TakesOne, "must say 'at least 2 rows' for a single row"),
        (_TakesUnpaired, "must refuse unequal lengths"),
        (_IsNotAffine, "must be its weight"),
        (_IsNotInvertible, "must bring rows back next to themselves"),
        (_DependsOnTheBatch, "must map a row alone as among others"),
        (_ReadsTheGlobalState, "must leave the global random state alone"),
        (_SeedsTheGlobalState, "must leave the global random state alone"),
    ],
)
def test_checks_notice_a_broken_promise(broken, sentence):
    said = [words for check in ALIGNER_CHECKS if (words := complaint(check, broken()))]
    assert any(sentence in words for words in said), said


def complaint(check, aligner):
    """Return what a check says of an aligner, '' if nothing."""
    try:
        check(aligner)
    except (AssertionError, AttributeError) as error:
        return str(error)
    return ""
