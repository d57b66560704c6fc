"""The components that come with Atlas, registered through the same hooks as anybody's."""

from __future__ import annotations

from atlas import hookimpl


@hookimpl
def register_encoders():
    """Return the built-in encoders."""
    from atlas_builtin import encoders

    return encoders.ALL


@hookimpl
def register_samplers():
    """Return the built-in samplers."""
    from atlas_builtin import samplers

    return samplers.ALL


@hookimpl
def register_aligners():
    """Return the built-in aligners."""
    from atlas_builtin import aligners, auto, canonical

    return [*aligners.ALL, auto.Auto, canonical.TwoWay]


@hookimpl
def register_aggregators():
    """Return the built-in aggregators."""
    from atlas_builtin import aggregators, canonical, corrected

    return [*aggregators.ALL, canonical.GeneralizedCCA, corrected.CorrectedProcrustes]


@hookimpl
def register_exporters():
    """Return the built-in exporter."""
    from atlas_builtin import exporters

    return exporters.ALL


@hookimpl
def register_stores():
    """Return the built-in store."""
    from atlas_builtin import parquet

    return parquet.ALL


@hookimpl
def register_engines():
    """Return the built-in engine."""
    from atlas_builtin import engines

    return engines.ALL
