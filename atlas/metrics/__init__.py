"""Metrics as plain functions: agreement of vectors and predictions, retrieval, and the similarity of spaces.

Matrices are tensors or arrays (n, d) of any floating type, on any device; rows are items, paired by position. NaN,
unequal lengths and too few rows are refused. Sums over rows are in float64.
"""

from atlas.metrics.agreement import (
    accuracy as accuracy,
    bootstrap as bootstrap,
    correct as correct,
    cosine as cosine,
    cosines as cosines,
    mse as mse,
    r2 as r2,
    separability as separability,
    squared_errors as squared_errors,
)
from atlas.metrics.kernels import minibatch_cka as minibatch_cka, rbf_cka as rbf_cka, unbiased_cka as unbiased_cka
from atlas.metrics.measures import METRICS as METRICS, Measure as Measure, find as find
from atlas.metrics.retrieval import (
    hits as hits,
    jaccard as jaccard,
    jaccards as jaccards,
    mrr as mrr,
    mutual_knn as mutual_knn,
    mutual_knns as mutual_knns,
    ranks as ranks,
    recall_at_k as recall_at_k,
    reciprocal_ranks as reciprocal_ranks,
)
from atlas.metrics.similarity import (
    angular_distance as angular_distance,
    angular_distance_from_moments as angular_distance_from_moments,
    cca as cca,
    cca_correlations as cca_correlations,
    cca_from_moments as cca_from_moments,
    linear_cka as linear_cka,
    linear_cka_from_moments as linear_cka_from_moments,
    procrustes_distance as procrustes_distance,
    procrustes_distance_from_moments as procrustes_distance_from_moments,
    pwcca as pwcca,
    pwcca_from_moments as pwcca_from_moments,
    squared_cca as squared_cca,
    squared_cca_from_moments as squared_cca_from_moments,
    svcca as svcca,
    svcca_from_moments as svcca_from_moments,
)
