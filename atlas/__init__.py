"""Atlas: fit, measure, store, share and apply maps between the latent spaces of encoders trained apart.

Every public name stands in `__init__.pyi` and is loaded on first use: `import atlas` and listings are quick, and need
neither torch nor plugins.
"""

from atlas._version import __version__ as __version__
from atlas.faces import lazy

__getattr__, __dir__ = lazy(__name__, __file__)
