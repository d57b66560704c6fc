"""Settings of the process that the code of a component changes are put back, and told of."""

from __future__ import annotations

import os
import sys
import warnings

import pytest
import torch

from atlas.components import settings
from atlas.errors import AtlasWarning

CHANGES = {
    "umask": (lambda: os.umask(0o137), lambda: settings.settings()["umask"][0]),
    "environment variable HF_ENDPOINT": (
        lambda: os.environ.__setitem__("HF_ENDPOINT", "http://elsewhere"),
        lambda: os.environ.get("HF_ENDPOINT"),
    ),
    "environment variable HF_TOKEN": (lambda: os.environ.pop("HF_TOKEN"), lambda: os.environ.get("HF_TOKEN")),
    "default dtype of torch": (lambda: torch.set_default_dtype(torch.float64), torch.get_default_dtype),
    "gradient mode of torch": (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled),
    "number of threads of torch": (lambda: torch.set_num_threads(torch.get_num_threads() + 1), torch.get_num_threads),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_that_is_changed_is_put_back_with_a_warning(name, monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setenv("HF_TOKEN", "mine")
    change, look = CHANGES[name]
    before = look()
    sentence = f"^Aligner 'a' changes the {name}, which was undone$"
    with pytest.warns(AtlasWarning, match=sentence) as told, settings.left_alone("aligner 'a'"):
        change()
        assert look() != before
    assert look() == before and len(told) == 1


def test_what_changes_nothing_is_not_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert settings.put_back(settings.settings()) == []


def test_a_setting_is_put_back_where_the_code_fails():
    failing = pytest.raises(ZeroDivisionError)
    with pytest.warns(AtlasWarning, match="gradient mode"), failing, settings.left_alone("aligner 'a'"):
        torch.set_grad_enabled(False)
        raise ZeroDivisionError
    assert torch.is_grad_enabled()


def test_settings_of_torch_that_was_not_imported_before_are_those_of_a_fresh_one():
    before = {name: one for name, one in settings.settings().items() if "torch" not in name}
    threads = torch.get_num_threads()
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        assert settings.put_back(before) == ["default dtype of torch", "gradient mode of torch"]
        assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float32, True)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0])
def test_the_umask_is_asked_for_with_and_without_a_file_that_tells_it(mask, monkeypatch, tmp_path):
    before = os.umask(mask)
    try:
        assert settings._umask() == mask
        for text in (None, "Name:\tx\n", "Umask:\tx\n"):
            monkeypatch.setattr(settings, "_STATUS", tmp_path / "status")
            (tmp_path / "status").write_text(text) if text else None
            assert settings._umask() == mask
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


def test_without_torch_there_are_no_settings_of_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert set(settings.settings()) == {"umask", *(f"environment variable {name}" for name in settings.VARIABLES)}
