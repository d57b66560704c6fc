"""Contracts of the six kinds of component (encoder, sampler, aligner, aggregator, exporter, store) and of heads."""
