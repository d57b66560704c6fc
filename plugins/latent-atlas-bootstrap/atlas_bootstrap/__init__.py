"""Many parallel anchors, and a map, from a handful of pairs that are known."""

import atlas
from atlas_bootstrap.aligners import Bootstrap, BootstrapAnchors
from atlas_bootstrap.anchors import matched, parallel_anchors
from atlas_bootstrap.checking import Check

__all__ = ["Bootstrap", "BootstrapAnchors", "Check", "matched", "parallel_anchors"]


@atlas.hookimpl
def register_aligners():
    """Return the aligners of this plugin."""
    return [Bootstrap, BootstrapAnchors]
