"""Sums of rows whose means drift, and multiplication at full precision whatever the process allows."""

from __future__ import annotations

import threading

import pytest
import torch

from atlas.components.aligner import Aligner
from atlas.models.heads import HEADS
from atlas.numerics import moments, sums
from atlas.numerics.moments import Moments
from atlas.numerics.sums import Sums, full_precision
from atlas.plugins.catalogue import components

ALL = ("xy", "xx", "yy")


def exact(X, Y):
    """Return the centred second moments as they are defined, in float64."""
    X, Y = X.double() - X.double().mean(0), Y.double() - Y.double().mean(0)
    return {"xy": X.T @ Y, "xx": X.T @ X, "yy": Y.T @ Y, "ssx": X.square().sum(0), "ssy": Y.square().sum(0)}


def drifting(kind):
    """Return 900 paired rows (900, 5) and (900, 3), float32, whose means change on the way."""
    g = torch.Generator().manual_seed(0)
    X, Y = torch.randn(900, 5, generator=g, dtype=torch.float64), torch.randn(900, 3, generator=g, dtype=torch.float64)
    when = torch.arange(900)[:, None]
    move = {"none": 0 * when, "far": 0 * when + 1000, "slowly": when / 50, "at once": 1000 * (when > 400)}[kind]
    return (X + move).float(), (Y - move).float()


@pytest.mark.parametrize("kind", ["none", "far", "slowly", "at once"])
@pytest.mark.parametrize("needs", [("xy",), ALL])
def test_chunks_of_any_drift_are_summed_to_the_resolution_that_is_stated(kind, needs, monkeypatch):
    monkeypatch.setattr(moments, "CHUNK", 50)
    monkeypatch.setattr(sums, "ROUGH", 120)
    monkeypatch.setattr(sums, "BLOCK", 2)
    X, Y = drifting(kind)
    found, wanted = Moments.of(X, Y, needs), exact(X, Y)
    for name in (*needs, "ssx", "ssy"):
        size = wanted["ssx"].sum().sqrt() * wanted["ssy"].sum().sqrt()
        assert float((getattr(found, name) - wanted[name]).abs().max() / size) < 4 * found.eps
    assert found.n == 900
    torch.testing.assert_close(found.mean_x, X.double().mean(0), rtol=1e-7, atol=1e-7)


def test_rows_are_summed_with_one_shift_unless_they_stray():
    X, Y = drifting("none")
    part = Sums(X[:50], Y[:50], ["xy"])
    assert part.add(X[:50], Y[:50]) and part.add(X[50:], Y[50:])
    assert not part.add(X[:50] + 3, Y[:50]) and part.n == 900


def test_a_constant_column_does_not_stray():
    X, Y = drifting("none")
    X[:, 0] = 0.1
    part = Sums(X[:50], Y[:50], ["xx"])
    assert all(part.add(X[start : start + 50], Y[start : start + 50]) for start in range(0, 900, 50))
    assert float(part.centred()["ssx"][0]) < 1e-12


def test_a_product_of_rows_with_themselves_is_symmetric_to_the_bit(monkeypatch):
    monkeypatch.setattr(sums, "BLOCK", 2)
    found = Moments.of(*drifting("slowly"), ALL)
    assert torch.equal(found.xx, found.xx.T) and torch.equal(found.yy, found.yy.T)


def precision():
    """Return what the process allows, as older and newer programs ask for it."""
    return [backend.fp32_precision for backend in sums._backends] or torch.get_float32_matmul_precision()


@pytest.fixture(params=["medium", "tf32", "bf16"])
def lowered(request):
    """Let the process multiply float32 at less, in each of the ways torch has; other tests find it as it was."""
    before = sums._settings()
    if request.param == "medium":
        torch.set_float32_matmul_precision("medium")
    elif request.param == "tf32":
        torch.backends.cuda.matmul.allow_tf32 = True
    elif sums._backends:
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    yield
    torch.set_float32_matmul_precision("highest")
    sums._set(before)


def test_full_precision_is_held_and_what_was_allowed_comes_back(lowered):
    allowed = precision()
    with full_precision(), full_precision():
        assert not {"bf16", "tf32", "medium", "high"} & set(precision())
    assert precision() == allowed and {"bf16", "tf32", "medium", "high"} & set(allowed)


def test_the_last_thread_gives_back_what_was_allowed(lowered):
    allowed, inside, leave = precision(), threading.Event(), threading.Event()

    def other():
        with full_precision():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with full_precision():
        thread.start()
        inside.wait(10)
    held = precision()
    leave.set()
    thread.join()
    assert held != allowed and precision() == allowed


ALIGNERS = [cls for classes in components(Aligner).values() for cls in classes]
X = torch.randn(300, 128, generator=torch.Generator().manual_seed(0))
FITS = {cls.name: lambda cls=cls: cls().fit(X, None if cls.fits_on == "source" else X[:, :96]) for cls in ALIGNERS}
FITS |= {f"head {name}": lambda cls=cls: cls().fit(X, torch.arange(300) % 3) for name, cls in HEADS.items()}


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_fits_are_the_same_whatever_the_process_allows(fit):
    wanted, before = fit().state_dict(), sums._settings()
    torch.set_float32_matmul_precision("medium")
    try:
        found = fit().state_dict()
    finally:
        torch.set_float32_matmul_precision("highest")
        sums._set(before)
    assert wanted and all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
