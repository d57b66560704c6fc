"""Options are checked wherever they come from."""

from __future__ import annotations

import math

import pytest

from atlas import AtlasError
from atlas_builtin.aligners import Linear


def test_nan_is_no_value_of_an_option():
    message = r"^Option 'ridge' of aligner 'linear' must be a number, got nan$"
    with pytest.raises(AtlasError, match=message):
        Linear.from_config({"ridge": math.nan})
    with pytest.raises(AtlasError, match=message):
        Linear.parse_config([("ridge", "nan")])
