"""Checks of matrices, and second moments of paired rows."""
