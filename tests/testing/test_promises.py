"""Options for components under check are those that each has."""

from __future__ import annotations

import pytest

from atlas import AtlasError
from atlas.testing.promises import chosen
from atlas_builtin.aligners import Linear
from atlas_builtin.samplers import KMeans


def test_a_component_takes_the_options_it_has():
    pairs = [("iterations", "3"), ("ridge", "0.5"), ("centre", "no")]
    assert chosen(KMeans, pairs) == {"iterations": 3, "centre": False}
    assert chosen(Linear, pairs) == {"ridge": 0.5}


def test_a_value_of_another_type_is_refused():
    with pytest.raises(AtlasError, match="Option 'iterations' of sampler 'k-means' must be int, got 'many'"):
        chosen(KMeans, [("iterations", "many")])
