"""Items that cannot be encoded, left out and listed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import atlas
from atlas.errors import AtlasError

PICTURES = pytest.importorskip("PIL.Image")


def texts(folder):
    rows = ["1,one two", "2,", "3,two three", "4,  ", "5,three one"]
    (folder / "in.csv").write_text("\n".join(["id,text", *rows]) + "\n")
    return folder / "in.csv", ["2", "4"], ["1", "3", "5"], {"encoder": "tfidf-svd", "dim": 2, "min_df": 1}


def images(folder):
    (folder / "in").mkdir()
    for name in "abc":
        PICTURES.fromarray(np.full((8, 8, 3), ord(name), np.uint8)).save(folder / "in" / f"{name}.png")
    (folder / "in" / "b.png").write_bytes(b"no picture")
    return folder / "in", ["b.png"], ["a.png", "c.png"], {"encoder": "pixels", "size": 8}


def arrays(folder):
    X = torch.ones(4, 3)
    X[2, 1] = torch.nan
    np.save(folder / "in.npy", X.numpy())
    return folder / "in.npy", ["2"], ["0", "1", "3"], {"encoder": "precomputed", "model": "m"}


@pytest.mark.parametrize("make", [texts, images, arrays])
def test_items_that_mean_nothing_are_left_out_and_listed(tmp_path, make):
    given, bad, good, how = make(tmp_path)
    listed = tmp_path / "bad.txt"
    found = atlas.encode(input=given, out=tmp_path / "out", skip_bad=listed, **how)
    assert list(found.ids) == good and listed.read_text().split() == bad
    assert torch.isfinite(found.data).all() and len(found.data) == len(good)
    with pytest.raises(AtlasError, match="exists"):
        atlas.encode(input=given, skip_bad=listed, **how)


def test_nothing_but_bad_items_is_refused(tmp_path):
    with pytest.raises(AtlasError, match="None of the 2 items can be encoded - nothing would be left"):
        atlas.encode("tfidf-svd", ["", " "], skip_bad=tmp_path / "bad.txt")
    assert not (tmp_path / "bad.txt").exists()


def test_the_command_leaves_items_out(tmp_path, atlas_command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts(tmp_path)
    options = ("-o", "dim", "2", "-o", "min_df", "1")
    atlas_command("encode", "tfidf-svd", "in.csv", *options, "--out", "out", "--skip-bad", "bad.txt")
    assert list(atlas.read_vectors("out").ids) == ["1", "3", "5"]
    assert (tmp_path / "bad.txt").read_text() == "2\n4\n"
