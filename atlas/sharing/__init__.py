"""Publish with figures, and verify published artefacts: all measuring on the way to and from the Hub."""
