"""Contracts of the seven kinds of component (encoder, sampler, aligner, aggregator, exporter, store, engine) and of heads."""
