"""TF-IDF and truncated SVD, against scikit-learn."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor
from torch.testing import assert_close

from atlas.components.encoder import Encoder
from atlas.errors import AtlasError
from atlas.items.files import read_items
from atlas.plugins.catalogue import create

SHARED = Path(os.environ.get("ATLAS_SHARED", Path(__file__).parents[3] / "shared"))
TEXTS = [
    "The cat sat on the mat, and the dog sat by it",
    "A dog chased the CAT around the garden",
    "Stock markets fell as interest rates rose",
    "Rates and markets: the bank raised interest again",
    "The garden has a mat, a cat and a dog",
    "Banks lend at higher interest when markets fall",
    "naïve café, jalapeño and crème brûlée in the garden café",
    "I x y",
]


def vectors(encoder: Encoder, items, **where) -> Tensor:
    return torch.cat(list(encoder.encode(items, **where)))


def reference(texts, dim: int, **options):
    vectorizer = TfidfVectorizer(**options)
    _, _, right = np.linalg.svd(vectorizer.fit_transform(texts).toarray(), full_matrices=False)
    return vectorizer, right[:dim]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"ngram_max": 2, "sublinear": True}, {"ngram_range": (1, 2), "sublinear_tf": True}),
        ({"lowercase": False, "min_df": 2}, {"lowercase": False, "min_df": 2}),
        (
            {"analyzer": "char", "ngram_min": 2, "ngram_max": 4},
            {"analyzer": "char_wb", "ngram_range": (2, 4)},
        ),
        ({"analyzer": "char", "ngram_min": 5, "ngram_max": 6}, {"analyzer": "char_wb", "ngram_range": (5, 6)}),
    ],
)
def test_terms_weights_and_directions_are_those_of_scikit_learn(ours, theirs) -> None:
    encoder = create(Encoder, "tfidf-svd", {"dim": 4, "min_df": 1, **ours}).fit(TEXTS)
    vectorizer, right = reference(TEXTS, 4, **theirs)
    assert list(encoder.terms) == list(vectorizer.get_feature_names_out())
    assert_close(encoder.state["idf"].double(), torch.from_numpy(vectorizer.idf_), rtol=1e-6, atol=0)
    assert_close(
        (encoder.state["components"].double().numpy() * right.T).sum(0).__abs__(), np.ones(4), rtol=0, atol=1e-5
    )
    new = [*TEXTS, "a new cat in an old café", "cat cat cat"]
    expected = vectorizer.transform(new).toarray() @ encoder.state["components"].double().numpy()
    assert_close(vectors(encoder, new, batch_size=3).double().numpy(), expected, rtol=0, atol=1e-6)


def test_the_most_frequent_terms_are_kept() -> None:
    encoder = create(Encoder, "tfidf-svd", dim=2, min_df=1, max_terms=4).fit(TEXTS)
    assert list(encoder.terms) == list(reference(TEXTS, 2, max_features=4)[0].get_feature_names_out())


def test_a_term_that_fills_one_text_goes_before_one_that_is_in_two() -> None:
    encoder = create(Encoder, "tfidf-svd", dim=1, min_df=1, max_terms=1).fit(["often " * 5, "spread", "spread"])
    assert list(encoder.terms) == ["often"]


def test_the_seed_is_where_the_svd_starts() -> None:
    words = np.random.default_rng(0).integers(0, 50, (40, 6))
    texts = [" ".join(f"w{i}" for i in row) for row in words]
    zero, one, again = (create(Encoder, "tfidf-svd", dim=9, seed=seed).fit(texts).state for seed in (0, 1, 0))
    assert torch.equal(zero["components"], again["components"])
    assert not torch.equal(zero["components"], one["components"])


def test_a_text_without_a_known_term_becomes_zero() -> None:
    X = vectors(create(Encoder, "tfidf-svd", dim=2, min_df=1).fit(TEXTS), ["", "zzz", "cat"])
    assert X.abs().sum(1).tolist()[:2] == [0.0, 0.0]
    assert X[2].abs().sum() > 0
    assert vectors(create(Encoder, "tfidf-svd", dim=2, min_df=1).fit(TEXTS), [""]).tolist() == [[0.0, 0.0]]


def test_another_corpus_makes_another_space() -> None:
    one, two = (create(Encoder, "tfidf-svd", dim=2, min_df=1).fit(texts) for texts in (TEXTS, TEXTS[1:]))
    assert one.space().fingerprint != two.space().fingerprint
    assert one.space().difference(two.space()).startswith("state is ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "needs dim of at least 1, got 0"),
        ({"min_df": 0}, "needs min_df of at least 1, got 0"),
        ({"ngram_min": 2}, r"needs ngram_max of at least ngram_min \(2\), got 1"),
        ({"dim": 9}, "cannot make 9 dimensions of 8 texts with 9 terms that occur in at least 2 - lower dim or min_df"),
        ({"min_df": 9}, "cannot make 256 dimensions of 8 texts with 0 terms that occur in at least 9"),
    ],
)
def test_a_corpus_or_options_that_will_not_do_are_refused(options, message: str) -> None:
    with pytest.raises(AtlasError, match=f"^Encoder 'tfidf-svd' {message}"):
        create(Encoder, "tfidf-svd", options).fit(TEXTS)


def test_texts_that_are_alike_have_few_dimensions() -> None:
    with pytest.raises(AtlasError, match="cannot make 3 dimensions of texts that span only 2 - lower dim"):
        create(Encoder, "tfidf-svd", dim=3).fit(["cat dog", "fish bird"] * 4)


def test_damaged_tensors_are_refused() -> None:
    state = create(Encoder, "tfidf-svd", dim=2, min_df=1).fit(TEXTS).state_dict()
    for damage in (
        {"vocabulary": state["vocabulary"][:-1] * 0 + 255},
        {"idf": state["idf"][:-1]},
        {"components": state["idf"]},
    ):
        with pytest.raises(AtlasError, match="'tfidf-svd' needs tensors 'vocabulary', 'idf' and 'components' that go"):
            create(Encoder, "tfidf-svd", dim=2).load_state_dict({**state, **damage})


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here - set ATLAS_SHARED")
def test_on_real_questions_the_randomised_svd_keeps_what_scikit_learn_keeps() -> None:
    texts = read_items(SHARED / "data" / "banking77" / "test.csv")[:]
    encoder = create(Encoder, "tfidf-svd", dim=50).fit(texts)
    counts = TfidfVectorizer(min_df=2).fit_transform(texts)
    best = (TruncatedSVD(50, algorithm="arpack", random_state=0).fit(counts).singular_values_ ** 2).sum()
    assert vectors(encoder, texts).double().square().sum() > 0.99 * best
