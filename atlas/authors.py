"""Names for plugin authors beside the public names of `atlas`, each loaded on first use.

The names stand in `authors.pyi`. Everything else in the packages of Atlas may change without notice.
"""

from atlas.faces import lazy

__getattr__, __dir__ = lazy(__name__, __file__)
