"""What the tests share: fitted maps, and what onnxruntime computes of a file."""

from dataclasses import dataclass

import onnx
import onnxruntime
import torch

import atlas

# Both are float32, and add up in another order.
TOLERANCE = 1e-5
D, K = 9, 12


def vectors(n=60, d=D, seed=0):
    return 3 * torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + 2


def other(X, seed=1):
    """Return vectors of the same items in another space."""
    generator = torch.Generator().manual_seed(seed)
    return X @ torch.randn(X.shape[1], K, generator=generator) + 0.1 * torch.randn(len(X), K, generator=generator)


def fitted(name, **options):
    aligner, X = atlas.create(atlas.Aligner, name, options), vectors()
    return aligner.fit(X[:20]) if aligner.fits_on == "source" else aligner.fit(X, other(X))


def alignment(aligner, **fields):
    spaces = [
        atlas.Space(name, d, "planted", {"name": name})
        for name, d in (("a", aligner.d_source), ("b", aligner.d_target))
    ]
    return atlas.Alignment.of(aligner, *spaces, **fields)


def run(path, X):
    """Return what onnxruntime makes of rows."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: X.numpy()})[0])


def assert_same(aligner, path, tolerance=TOLERANCE):
    """Compare what a file computes with what the aligner does, for no row, for one and for many."""
    for n in (0, 1, 2, 300):
        X = vectors(n, aligner.d_source, seed=n)
        ours = aligner.transform(X)
        largest = float(ours.abs().max()) if n else 0
        torch.testing.assert_close(run(path, X), ours, rtol=0, atol=tolerance * largest)


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


@dataclass
class Directions(atlas.Aligner):
    """Scale vectors to length 1, and cut off what is large."""

    name = "directions"

    def _fit(self, X, Y):
        return {"scale": torch.ones(X.shape[1])}

    def _transform(self, X):
        return torch.nn.functional.normalize(X).clamp(max=0.5) * self.state["scale"].to(X)

    @property
    def d_source(self):
        return len(self.state["scale"])

    d_target = d_source
