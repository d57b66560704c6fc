"""Verbs composed in a file: read, run, summarised and locked."""
