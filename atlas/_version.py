"""The version of Atlas, read by the build and written into cards."""

__version__ = "0.1.0"
