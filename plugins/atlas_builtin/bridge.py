"""Maps vectors of one model to the space of another; needs numpy and safetensors alone."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file


class Bridge:
    """The map in the file beside this one: `Bridge()(X)` maps one vector (d,) or rows (n, d)."""

    def __init__(self, folder=None):
        """Read the map in a folder, by default this one."""
        self.tensors = load_file((Path(folder) if folder else Path(__file__).parent) / "bridge.safetensors")

    def __call__(self, X):
        """Return vectors mapped, float32."""
        X, t = np.asarray(X, dtype=np.float32), self.tensors
        if "weight" in t:
            return X @ t["weight"] + t["bias"]
        near = unit(unit(X) - t["mean"]) @ t["landmarks"].T
        moved = np.exp(t["sharpness"] * (near - 1)) @ t["coefficients"]
        return (unit(moved) * t["length"] if "length" in t else moved) + t["offset"]

    def worth(self, scores, mapped=None):
        """Return the true cosines to expect of results' cosines (n, k), best first, and the chance (n,) of the first.

        The map must have been calibrated for the side that is mapped, "queries" or "index"; None: the one it was for.
        """
        known = [side for side in ("queries", "index") if f"calibration.{side}" in self.tensors]
        side = mapped or [*known, "queries"][0]
        if side not in known:
            raise ValueError(f"No calibration says how sure mapped {side} are - run atlas calibrate, and export again")
        scores = np.asarray(scores, dtype=np.float32)
        slope, offset, constant, by_margin, by_score, _ = self.tensors[f"calibration.{side}"]
        margin = np.log(np.maximum(scores[:, 0] - scores[:, 1], 0) + 1e-4)
        chance = 1 / (1 + np.exp(-(constant + by_margin * margin + by_score * scores[:, 0])))
        return np.clip(slope * scores + offset, -1, 1), chance


def unit(X):
    """Return vectors at length 1; zeros stay."""
    lengths = np.linalg.norm(X, axis=-1, keepdims=True)
    return X / np.where(lengths == 0, 1, lengths)
