"""Any aligner as an estimator of scikit-learn: `AlignmentTransformer("linear").fit(X, Y).transform(X)`."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from atlas.artefacts.alignment import Alignment
from atlas.cards.names import slug
from atlas.cards.space import Space
from atlas.components.aligner import Aligner
from atlas.plugins.catalogue import components, create

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.metrics import r2_score
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError:
    raise ImportError("atlas.sklearn needs scikit-learn 1.6 or newer - pip install -U scikit-learn") from None

# Dtypes that maps keep; other numbers become float64.
DTYPES = (np.float64, np.float32)


class AlignmentTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A map from one space to another, fitted on paired rows X and y, with any aligner of Atlas.

    Every option of the aligner is a parameter. Another `aligner` brings its own options, at their defaults.

    Attributes:
        aligner_: the fitted aligner.
        n_pairs_: how many rows it was fitted on.
        n_features_in_: the dimension of the source.
    """

    def __init__(self, aligner: str = "linear", **options: Any) -> None:
        """Take the name of an aligner (`atlas aligners` lists them), and its options."""
        self.aligner = aligner
        self.__dict__.update(options)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the map on rows X (n, d_source) of the source and y (n, d_target) of the same items in the target."""
        model = create(Aligner, self.aligner, self._options())
        about: dict[str, Any] = {"dtype": DTYPES, "ensure_min_samples": 2}
        if model.fits_on == "source":
            X = validate_data(self, X, **about)
            self.aligner_ = model.fit(X)
        else:
            X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, **about)
            self.aligner_ = model.fit(X, y.reshape(len(y), -1))
        self.n_pairs_, self._n_features_out = len(X), model.d_target
        return self

    def transform(self, X: Any) -> Any:
        """Map rows (n, d_source) of the source to the target."""
        check_is_fitted(self)
        return self.aligner_.transform(validate_data(self, X, dtype=DTYPES, reset=False))

    def predict(self, X: Any) -> Any:
        """Return `transform(X)`, for callers of predictions, such as `cross_val_predict`."""
        return self.transform(X)

    def inverse_transform(self, X: Any) -> Any:
        """Map rows (n, d_target) of the target back to the source."""
        check_is_fitted(self)
        return self.aligner_.inverse_transform(np.asarray(X))

    def score(self, X: Any, y: Any) -> float:
        """Return R2 of the mapped rows, the mean over the dimensions of the target."""
        return float(r2_score(y, self.transform(X)))

    def alignment(self, source: Space | str = "source", target: Space | str = "target", id: str = "") -> Alignment:
        """Return the fitted map as an `Alignment`, to save and share; a space given as text has only a name."""
        check_is_fitted(self)
        model = self.aligner_
        X = source if isinstance(source, Space) else Space(slug(source), model.d_source)
        Y = target if isinstance(target, Space) else Space(slug(target), model.d_target)
        return Alignment.of(model, X, Y, id, n_pairs=self.n_pairs_)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the name of the aligner, and all its options."""
        plain = self._plain()
        return {"aligner": self.aligner, **(plain.config() if plain else {}), **self._options()}

    def set_params(self, **params: Any) -> Self:
        """Set the aligner, and options of it."""
        new = params.get("aligner", self.aligner)
        if not isinstance(new, str) or new != self.aligner:
            for name in self._options():
                delattr(self, name)
            self.aligner = new
        return super().set_params(**params)

    def _plain(self) -> Aligner | None:
        """Return the aligner with its options at their defaults; None if there is none of that name."""
        known = isinstance(self.aligner, str) and self.aligner in components(Aligner)
        return create(Aligner, self.aligner) if known else None

    def _options(self) -> dict[str, Any]:
        """Return the options that were set, as plain numbers where a grid has those of numpy."""
        own = {n: v for n, v in vars(self).items() if n != "aligner" and not (n.startswith("_") or n.endswith("_"))}
        return {name: value.item() if isinstance(value, np.generic) else value for name, value in own.items()}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        plain = self._plain()
        tags.target_tags.required = plain is None or plain.fits_on != "source"
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
