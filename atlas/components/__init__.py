"""Contracts of the kinds of component: encoder, sampler, aligner, aggregator, exporter, store, engine; and of heads."""
