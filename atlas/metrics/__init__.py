"""Metrics as plain functions: agreement of vectors and predictions, retrieval, and the similarity of spaces.

Matrices are tensors or arrays (n, d) of any floating type, on any device; rows are items, paired by position. NaN,
unequal lengths and too few rows are refused. Sums over rows are in float64.
"""

from atlas.metrics.agreement import (
    accuracy,
    correct,
    cosine,
    cosines,
    mse,
    r2,
    separability,
    squared_errors,
)
from atlas.metrics.intervals import bootstrap, interval, wilson
from atlas.metrics.kernels import minibatch_cka, rbf_cka, unbiased_cka
from atlas.metrics.measures import METRICS, Measure, find
from atlas.metrics.retrieval import (
    hits,
    jaccard,
    jaccards,
    mrr,
    mutual_knn,
    mutual_knns,
    neighbours_kept,
    ranks,
    recall_at_k,
    reciprocal_ranks,
)
from atlas.metrics.running import Running, running
from atlas.metrics.similarity import (
    angular_distance,
    angular_distance_from_moments,
    cca,
    cca_correlations,
    cca_from_moments,
    linear_cka,
    linear_cka_from_moments,
    procrustes_distance,
    procrustes_distance_from_moments,
    pwcca,
    pwcca_from_moments,
    squared_cca,
    squared_cca_from_moments,
    svcca,
    svcca_from_moments,
)
