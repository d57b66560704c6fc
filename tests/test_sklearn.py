"""Any aligner is an estimator of scikit-learn."""

from __future__ import annotations

import importlib
import pickle
import sys

import numpy as np
import pytest
from conftest import planted
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from torch.testing import assert_close

import atlas
from atlas.errors import AtlasError
from atlas.sklearn import AlignmentTransformer

PAIR = planted()
X, Y = PAIR.source.data.numpy(), PAIR.target.of_items(PAIR.source.ids).data.numpy()

# docs/own-vectors.md says so, too.
OPTIONS = "the options of an aligner are parameters that the signature does not list"
LEFT_OUT = {"check_no_attributes_set_in_init": OPTIONS, "check_do_not_raise_errors_in_init_or_set_params": OPTIONS}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_checks_of_scikit_learn_pass_but_for_two():
    done = check_estimator(AlignmentTransformer("procrustes"), expected_failed_checks=LEFT_OUT, on_skip=None)
    assert len(done) > 40 and {check["check_name"] for check in done if check["status"] == "xfail"} == set(LEFT_OUT)


def test_it_maps_as_a_fit_of_atlas_does(tmp_path):
    made = AlignmentTransformer("linear", ridge=1.0).fit(X, Y)
    theirs = atlas.fit("linear", source=X, target=Y, ridge=1.0)
    assert np.array_equal(made.transform(X), theirs(X)) and made.transform(X).dtype == np.float32
    assert_close(made.inverse_transform(made.transform(X)), X, rtol=1e-3, atol=1e-3)
    alignment = made.alignment("MiniLM", PAIR.target.space)
    assert (alignment.source.id, alignment.target, alignment.n_pairs) == ("minilm", PAIR.target.space, 120)
    alignment.save_pretrained(tmp_path / "map")
    assert np.array_equal(atlas.load(tmp_path / "map")(X), made.transform(X))


def test_options_of_the_aligner_are_its_parameters():
    made = AlignmentTransformer("linear", ridge=2.0)
    assert made.get_params() == {"aligner": "linear", "bias": True, "ridge": 2.0}
    other = clone(made).set_params(ridge=3.0)
    assert (made.ridge, other.ridge) == (2.0, 3.0)
    # Another aligner has other options; those of the last one go with it.
    other.set_params(aligner="cca", rank=4)
    assert other.get_params() == {**AlignmentTransformer("cca").get_params(), "rank": 4}
    assert other.fit(X, Y).aligner_.rank == 4 and clone(other).get_params() == other.get_params()
    with pytest.raises(ValueError, match="Invalid parameter 'alpha' for estimator"):
        other.set_params(alpha=1)
    with pytest.raises(AtlasError, match="Unknown aligner 'lineer' - did you mean 'linear'"):
        AlignmentTransformer("lineer").fit(X, Y)
    with pytest.raises(AtlasError, match="Unknown option 'alpha' of aligner 'linear'"):
        AlignmentTransformer("linear", alpha=1).fit(X, Y)


def test_a_grid_finds_the_penalty_that_generalises():
    noisy = Y + np.random.default_rng(0).normal(0, 3, Y.shape)
    grid = {"ridge": np.array([1e-6, 1e6])}
    search = GridSearchCV(AlignmentTransformer("linear"), grid, cv=3).fit(X, noisy)
    assert search.best_params_ == {"ridge": 1e-6} and search.best_score_ > 0
    methods = [{"aligner": ["procrustes"], "scale": [True, False]}, {"aligner": ["cca"], "rank": [1]}]
    search = GridSearchCV(AlignmentTransformer(), methods, cv=3).fit(X, Y)
    assert search.best_params_["aligner"] == "procrustes" and search.best_score_ > 0.9


def test_it_is_a_step_of_a_pipeline(tmp_path):
    made = make_pipeline(StandardScaler(), PCA(6), AlignmentTransformer("linear")).fit(X, Y)
    assert made.transform(X).shape == Y.shape and 0.3 < made.score(X, Y) <= 1
    again = pickle.loads(pickle.dumps(made))
    assert np.array_equal(again.transform(X), made.transform(X))
    guessed = cross_val_predict(AlignmentTransformer("procrustes"), X, Y, cv=5)
    assert 1 - ((guessed - Y) ** 2).sum() / ((Y - Y.mean(0)) ** 2).sum() > 0.95


def test_frames_go_in_and_come_out():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(8)], index=PAIR.source.ids)
    made = AlignmentTransformer("linear").set_output(transform="pandas").fit(frame, Y)
    mapped = made.transform(frame)
    assert list(mapped.index) == PAIR.source.ids and mapped.columns[0] == "alignmenttransformer0"
    assert made.feature_names_in_.tolist() == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        made.transform(frame.rename(columns={"x0": "other"}))


def test_one_that_fits_on_the_source_alone_needs_no_target():
    made = AlignmentTransformer("relative")
    assert made.fit_transform(X[:20]).shape == (20, 20) and made.transform(X).shape == (120, 20)


def test_without_the_library_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.utils.validation", None)
    monkeypatch.delitem(sys.modules, "atlas.sklearn")
    with pytest.raises(ImportError, match=r"needs scikit-learn 1\.6 or newer - pip install -U scikit-learn"):
        importlib.import_module("atlas.sklearn")
