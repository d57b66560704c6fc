"""Artefacts in memory: a card and its tensors together."""
