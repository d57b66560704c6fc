"""Search through maps, and how far to trust the results."""
