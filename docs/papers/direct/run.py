"""Direct alignment (Lähner and Moeller, 2023): decoders that read the codes of other encoders, by the number of pairs.

python docs/papers/direct/run.py --data DATA --models MODELS --out direct
"""

from __future__ import annotations

import copy
import itertools
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import direct_pictures
import paper_networks
import papers
from papers import Report

import atlas
from atlas.models.heads import HEADS, HeadModel
from atlas.progress import bar

Figures = Iterator[dict[str, Any]]
Method = tuple[str, dict[str, Any]]
KINDS = {"conv": paper_networks.conv_autoencoder, "mlp": paper_networks.mlp_autoencoder}
# Batches are the paper's.
BATCH = 64
# The paper's rigid map (no scale) and its linear one (no constant, no penalty), and what it leaves out.
MAPS: dict[str, Method] = {
    "rigid": ("procrustes", {"scale": False}),
    "similarity": ("procrustes", {}),
    "orthogonal": ("procrustes", {"scale": False, "centre": False}),
    "linear": ("linear", {"bias": False, "ridge": 0.0}),
    "affine": ("linear", {"ridge": 0.0}),
    "ridge": ("linear", {}),
    "mlp": ("mlp", {}),
}
# The paper's stitching networks: l -> k l -> k l -> l.
STITCHED: dict[str, Method] = {f"stitch {k}": ("mlp", {"residual": False, "depth": 2, "width": k}) for k in (1, 2, 4)}
# The numbers of pairs of the paper's tables, for each number of dimensions l; and what is between these and all.
ANCHORS = {2: (10, 50), 10: (50, 100), 30: (100, 300), 50: (100, 200), 100: (200, 300)}
BETWEEN = {2: (4,), 10: (300, 1000), 30: (1000,), 50: (300, 1000), 100: (1000,), 150: (600, 1000)}


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        dims: numbers in a code.
        seeds: of the networks and the pairs.
        crowd: numbers in a code, and of pairs, for which every network is mapped to every other one.
        widest: the largest code for which the widest stitching network is trained; 0: none is, and 'mlp' at 2 alone.
        epochs, lr: passes over the images in training, as many as there is time for, and its rate, the paper's.
        relative: numbers in a code, and of anchors, for which decoders read relative representations.
    """

    dims: tuple[int, ...] = (2, 10, 30, 50, 100, 150)
    seeds: tuple[int, ...] = (0, 1, 2)
    crowd: tuple[int, int] = (50, 300)
    widest: int = 50
    epochs: int = 10
    lr: float = 1e-3
    relative: tuple[tuple[int, int], ...] = ((10, 50), (50, 100))


FEW = [["orthogonal", "procrustes", {"scale": False, "standardise": True}], ["affine", "linear", {"ridge": 0.0}]]
DIGITS = {"seeds": [0], "counts": [16, 1024], "methods": FEW}
SMALL = Scale((2, 10), (0, 1), (10, 100), 0, 6, 4e-3, ((10, 50),))


@dataclass(frozen=True)
class Images:
    """Images as rows of pixels, and the classes of those to train on."""

    train: Tensor
    test: Tensor
    classes: Tensor
    test_classes: Tensor

    @property
    def side(self) -> int:
        """Their height, and width."""
        return round(self.train.shape[1] ** 0.5)

    def error(self, made: Tensor) -> float:
        """Return the mean squared error over the pixels of the images to test on."""
        return float((made - self.test).square().mean())


@dataclass(frozen=True)
class Model:
    """A trained autoencoder: its codes of the images, and what makes images of codes."""

    train: Tensor
    test: Tensor
    decoder: HeadModel

    def decoded(self, codes: Tensor) -> Tensor:
        """Return the images that the decoder makes of codes."""
        with torch.no_grad():
            return self.decoder.scores(codes)


@papers.command
def main(report: Report, data: Path, models: Path) -> None:
    """Measure everything that the page on direct alignment tells, and draw its pictures."""
    found = Networks(report.out / "networks", read(report, data), SMALL if report.small else Scale())
    found.train()
    jobs = list(itertools.product(found.scale.dims, found.scale.seeds))
    for dim, seed in bar(jobs, len(jobs), "alignments"):
        report.part("pairs", pairs, found, dim=dim, seed=seed)
        report.part("class-means", class_means, found, dim=dim, seed=seed)
    for (dim, n), seed in itertools.product(found.scale.relative, found.scale.seeds):
        report.part("relative", relative, found, dim=dim, n=n, seed=seed)
    report.part("crowd", crowd, found, dim=found.scale.crowd[0], n=found.scale.crowd[1])
    report.recipe(HERE / "classification.yaml", **(DIGITS if report.small else resnets(report, data, models)))
    draw(report, found)


def draw(report: Report, found: Networks) -> None:
    """Draw errors by number of pairs, images that were decoded, and codes."""
    images, seed = found.images, found.scale.seeds[0]
    order = torch.randperm(len(images.train), generator=torch.Generator().manual_seed(seed))

    def mapped(name: str, A: Model, B: Model, n: int | None) -> Tensor:
        return aligned(MAPS[name], A.train[order[:n]], B.train[order[:n]], A.test)

    dims = [dim for dim in (10, 50, 150) if dim in found.scale.dims]
    direct_pictures.errors(report.results, dims, report.out / "errors.png")
    direct_pictures.crowd(report.results, report.out / "networks.png")
    A, B = found.get("conv", 10, seed), found.get("mlp", 10, seed)
    shown = images.test.unflatten(1, (images.side, images.side))
    direct_pictures.images(A, B, shown, images.test_classes, mapped, 10, report.out / "reconstructions.png")
    A, B = found.get("conv", 2, seed), found.get("mlp", 2, seed)
    direct_pictures.codes(A, B, images.test_classes, mapped, report.out / "codes.png")


def read(report: Report, data: Path) -> Images:
    """Return MNIST, or the digits that ship with Atlas."""
    splits = ("digits-train", "digits-test") if report.small else (data / "mnist" / "train", data / "mnist" / "test")
    train, test = (paper_networks.pixels(split, grayscale=True) for split in splits)
    assert train.labels is not None and test.labels is not None
    return Images(train.data.float(), test.data.float(), train.labels, test.labels)


def resnets(report: Report, data: Path, models: Path) -> dict[str, Any]:
    """Return the values of the recipe for two public ResNets on CIFAR-10."""
    folder = report.out / "networks"
    if not (folder / "resnet32").is_dir():
        sys.path.insert(0, str(papers.ROOT.parent / "cifar-resnets"))
        import resnets

        resnets.main(models, folder)
    where = {split: str(data / "cifar10" / split) for split in ("train", "test")}
    where |= dict.fromkeys(("spaces", "heads"), str(folder.resolve()))
    return {**where, "names": ["resnet20", "resnet32"], "counts": [32, 64, 128, 300, 2000]}


@dataclass
class Networks:
    """The autoencoders of all sizes and seeds, trained once and kept in a folder, as spaces and heads of Atlas."""

    folder: Path
    images: Images
    scale: Scale
    loaded: dict[tuple[str, int, int], Model] = field(default_factory=dict)

    @property
    def how(self) -> dict[str, Any]:
        """How all of them are trained."""
        return {"epochs": self.scale.epochs, "lr": self.scale.lr, "batch_size": BATCH}

    def train(self) -> None:
        """Train those that are not there yet."""
        jobs = list(itertools.product(self.scale.dims, self.scale.seeds, KINDS))
        for dim, seed, kind in bar(jobs, len(jobs), "autoencoders"):
            if not self.path(kind, dim, seed).is_dir():
                self._train(kind, dim, seed)

    def path(self, kind: str, dim: int, seed: int) -> Path:
        """Return where the encoder of an autoencoder is stored; its decoder is beside it."""
        return self.folder / f"{kind}-{dim}-{seed}"

    def _train(self, kind: str, dim: int, seed: int) -> None:
        path, X = self.path(kind, dim, seed), self.images.train
        below, above = KINDS[kind](self.images.side, dim)
        state = paper_networks.trained([*below, *above], X, X, seed, **self.how)
        encoder, decoder = paper_networks.cut([*below, *above], state, len(below), X.shape[1])
        head = atlas.Head.of(decoder, encoder.space(path.name), f"{path.name}-decoder")
        atlas.save(head, self.folder / head.id, overwrite=True)
        atlas.save(encoder, path, overwrite=True)

    def get(self, kind: str, dim: int, seed: int) -> Model:
        """Return an autoencoder, with its codes."""
        key = (kind, dim, seed)
        if key not in self.loaded:
            path = self.path(*key)
            encoder, head = atlas.load(path), atlas.load(self.folder / f"{path.name}-decoder")
            train, test = (torch.cat(list(encoder.encode(X))) for X in (self.images.train, self.images.test))
            self.loaded[key] = Model(train, test, head.model)
        return self.loaded[key]

    def couples(self, dim: int, seed: int) -> Iterator[tuple[str, str, Model, Model]]:
        """Yield sources and targets: of one architecture but two seeds, and of two architectures."""
        seeds = self.scale.seeds
        other = seeds[(seeds.index(seed) + 1) % len(seeds)]
        yield "conv", "conv", self.get("conv", dim, seed), self.get("conv", dim, other)
        yield "conv", "mlp", self.get("conv", dim, seed), self.get("mlp", dim, seed)
        yield "mlp", "conv", self.get("mlp", dim, seed), self.get("conv", dim, seed)

    def measured(self, source: str, target: str, B: Model) -> Callable[[str, int, Tensor], dict[str, Any]]:
        """Return what makes figures of decoded images: errors over that of the decoder's own codes."""
        own = self.images.error(B.decoded(B.test))
        about = {"way": f"{source} to {target}", "metric": "ratio"}
        return lambda method, n, made: {**about, "method": method, "n": n, "value": self.images.error(made) / own}


def aligned(method: Method, X: Tensor, Y: Tensor, codes: Tensor) -> Tensor:
    """Return codes of the source, mapped by an alignment fitted on pairs."""
    name, options = method
    with warnings.catch_warnings():  # that a fit without a ridge on few pairs is noise is what is measured here
        warnings.simplefilter("ignore", atlas.AtlasWarning)
        return atlas.create(atlas.Aligner, name, options).fit(X, Y).transform(codes)


def numbers(dim: int, way: tuple[str, str], most: int) -> list[int]:
    """Return the numbers of pairs to fit on; for the way back from another architecture, the fewest that do and all."""
    if way == ("mlp", "conv"):
        return [2 * dim, most]
    found = {dim, 2 * dim, *ANCHORS.get(dim, ()), *BETWEEN.get(dim, ()), most}
    return sorted(n for n in found if n <= most // 2 or n == most)


def methods(scale: Scale, dim: int, n: int, same: bool, most: int) -> dict[str, Method]:
    """Return what is fitted in a case: what hardly differs from its neighbour, at l, 2 l and all pairs alone."""
    left_out = () if n in (dim, 2 * dim, most) else ("orthogonal", "affine")
    left_out += () if scale.widest or (dim == 2 and same and n == most) else ("mlp",)
    wide = {name for name in STITCHED if name != "stitch 4" or dim <= scale.widest}
    stitched = wide if n == most else {"stitch 2"} if n in ANCHORS.get(dim, ()) else set()
    chosen = {**MAPS, **{name: STITCHED[name] for name in sorted(stitched) if same and scale.widest}}
    return {name: method for name, method in chosen.items() if name not in left_out}


def pairs(found: Networks, dim: int, seed: int) -> Figures:
    """Yield errors of images decoded from codes of another encoder, by method and number of pairs."""
    images, most = found.images, len(found.images.train)
    order = torch.randperm(most, generator=torch.Generator().manual_seed(seed))
    for source, target, A, B in found.couples(dim, seed):
        figure, same = found.measured(source, target, B), source == target
        yield {**figure("own", 0, images.test), "metric": "mse", "value": images.error(B.decoded(B.test))}
        yield figure("none", 0, B.decoded(A.test))
        yield figure("mean image", 0, images.train.mean(0).expand_as(images.test))
        for n in numbers(dim, (source, target), most):
            X, Y = A.train[order[:n]], B.train[order[:n]]
            for name, method in methods(found.scale, dim, n, same, most).items():
                yield figure(name, n, B.decoded(aligned(method, X, Y, A.test)))


def crowd(found: Networks, dim: int, n: int) -> Figures:
    """Yield the same errors for every two networks of one size, with a ridge."""
    order = torch.randperm(len(found.images.train), generator=torch.Generator().manual_seed(0))[:n]
    networks = {f"{kind} {seed}": found.get(kind, dim, seed) for kind in KINDS for seed in found.scale.seeds}
    for (source, A), (target, B) in itertools.product(networks.items(), repeat=2):
        own = found.images.error(B.decoded(B.test))
        codes = A.test if A is B else aligned(MAPS["ridge"], A.train[order], B.train[order], A.test)
        value = found.images.error(B.decoded(codes)) / own
        yield {"source": source, "target": target, "method": "ridge", "metric": "ratio", "value": value}


def class_means(found: Networks, dim: int, seed: int) -> Figures:
    """Yield the same errors where the pairs are the means of the classes, in one architecture."""
    source, target, A, B = next(found.couples(dim, seed))
    figure, classes = found.measured(source, target, B), found.images.classes.unique()
    X, Y = (torch.stack([Z[found.images.classes == c].mean(0) for c in classes]) for Z in (A.train, B.train))
    for name in ("rigid", "similarity", "linear", "ridge"):
        yield figure(name, len(classes), B.decoded(aligned(MAPS[name], X, Y, A.test)))


def relative(found: Networks, dim: int, n: int, seed: int) -> Figures:
    """Yield the same errors for distances to anchors, read by a decoder that was trained on those of the target.

    The paper's baseline: its similarities are Euclidean distances, where those of Moschella et al. are cosines.
    """
    images = found.images
    anchors = torch.randperm(len(images.train), generator=torch.Generator().manual_seed(seed))[:n]
    for source, target, A, B in itertools.islice(found.couples(dim, seed), 2):
        distances = atlas.create(atlas.Aligner, "relative", similarity="euclidean")
        to_a, to_b = (copy.copy(distances).fit(M.train[anchors]) for M in (A, B))
        layers = KINDS[target](images.side, n)[1]
        head = HEADS["network"].from_config({"layers": layers, **found.how})
        head.fit(to_b.transform(B.train), images.train, seed=seed)
        figure = found.measured(source, target, B)
        yield {"way": f"{source} to {target}", "n": n, "metric": "sha256", "value": papers.digest(head)}
        with torch.no_grad():
            yield figure("relative, own", n, head.scores(to_b.transform(B.test)))
            yield figure("relative", n, head.scores(to_a.transform(A.test)))


if __name__ == "__main__":
    main()
