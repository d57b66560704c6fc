"""Publish with figures, and verify what others published: all that measures on the way to and from the Hub."""
