"""What is set before anything reads it: of the plugins that are installed, only this one and the built-in are there."""

import os

os.environ["ATLAS_PLUGINS"] = "builtin,onnx"
