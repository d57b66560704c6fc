"""What is set before anything reads it, and fixtures of the tests."""

import os

# Of the plugins that are installed, only this one and the built-in are there.
os.environ["ATLAS_PLUGINS"] = "builtin,faiss"

import pytest
from indexes import D, K, rows

import atlas
from atlas.components.linear import Affine


@pytest.fixture
def alignment():
    """An affine map, which is no rotation, to 16 dimensions."""
    weight, bias = rows(D, K, 1) / 10, rows(1, K, 2)[0] / 3
    return atlas.Alignment.of(Affine.of(weight, bias), atlas.Space("new", D), atlas.Space("old", K))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path
