"""Any model of sentence-transformers as an encoder of Atlas, and alignments as models of sentence-transformers."""

import atlas
from atlas_sentence_transformers.encoder import SentenceTransformers
from atlas_sentence_transformers.exporter import SentenceTransformersExporter


@atlas.hookimpl
def register_encoders():
    """Return the encoders of this plugin."""
    return [SentenceTransformers]


@atlas.hookimpl
def register_exporters():
    """Return the exporters of this plugin."""
    return [SentenceTransformersExporter]
