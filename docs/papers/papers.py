"""Shared by the reproductions of the papers: their command, and parts that are measured once, whose figures are kept.

Each paper has a folder with a `run.py`, which measures everything its page tells, and the `results.json` that it wrote.
Without data it runs small, on the digits that ship with Atlas; `--data` and `--models` name real images and networks.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import save
from torch import Tensor

import atlas
from atlas.cards.names import sha256_of
from atlas.cli.errors import explained
from atlas.cli.output import say
from atlas.models.heads import HeadModel
from atlas.progress import bar
from atlas.recipes.reading import read_recipe
from atlas.recipes.running import Runner
from atlas.storage.files import sha256_file, whole_file

ROOT = Path(__file__).parent
NETWORKS = ROOT / "paper_networks.py"
SHARED = Path(os.environ.get("ATLAS_SHARED", ROOT.parent.parent.parent / "shared"))
Made = Callable[..., Any]
Measure = Callable[..., Iterable[Mapping[str, Any]]]


def command(function: Callable[..., None]) -> click.Command:
    """Make a command of a paper's `run(report, data, models)`: where the data are, and where what it makes goes."""
    folder = {"type": click.Path(path_type=Path, file_okay=False, resolve_path=True), "metavar": "FOLDER"}

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
            name = Path(function.__code__.co_filename).with_suffix(".json")
            kept = name.with_name("results.json") if name.stem == "run" else name
            if kept.exists() and not small:
                say(compared(json.loads((out / "results.json").read_text()), json.loads(kept.read_text())))

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
        left = iter(bar(range(len(read.jobs)), len(read.jobs), name))
        found = runner.run(report=lambda *_: next(left, None))
        list(left)
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
                for part in bar(found, len(cases), name):
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
        code = [sha256_file(path) for path in (Path(measure.__code__.co_filename), Path(__file__), NETWORKS)]
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
            # Of networks that are trained here: where these are the same, all figures are.
            "networks": digests(self.out / "networks"),
        }
        with whole_file(self.out / "results.json") as temporary:
            told = (json.dumps(rounded(row), ensure_ascii=False, separators=(",", ":")) for row in self.results)
            rows = ",\n".join(told)
            temporary.write_text(f'{{"about": {json.dumps(about)},\n"results": [\n{rows}\n]}}\n', encoding="utf-8")
        say(f"Wrote {len(self.results)} figures to {self.out / 'results.json'}")


def digests(folder: Path) -> dict[str, str]:
    """Return the first digits of the SHA-256 of the tensors of each stored network."""
    return {path.parent.name: sha256_file(path)[:12] for path in sorted(folder.glob("*/*.safetensors"))}


def digest(*networks: torch.nn.Module | HeadModel) -> str:
    """Return the first digits of the SHA-256 of the tensors of networks that are not stored."""
    found = hashlib.sha256()
    for net in networks:
        found.update(save({name: tensor.contiguous() for name, tensor in net.state_dict().items()}))
    return found.hexdigest()[:12]


def compared(made: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
    """Say how many figures and networks of a run are those of the committed results."""

    def figures(found: Mapping[str, Any]) -> dict[str, Any]:
        named = [{k: v for k, v in row.items() if k not in ("value", "native", "floor")} for row in found["results"]]
        return {
            json.dumps(name, sort_keys=True): row["value"] for name, row in zip(named, found["results"], strict=True)
        }

    ours, theirs = figures(made), figures(kept)
    common = ours.keys() & theirs.keys()
    same = sum(ours[name] == theirs[name] for name in common)
    off = [abs(ours[n] - theirs[n]) for n in common if isinstance(ours[n], float) and isinstance(theirs[n], float)]
    nets, known = made["about"]["networks"], kept["about"].get("networks", {})
    equal = sum(nets[name] == known[name] for name in nets.keys() & known.keys())
    told = f"{same} of {len(theirs)} committed figures come out the same, {len(theirs) - len(common)} were not measured"
    told += f", the largest difference is {max(off, default=0):.2g}"
    return f"{told}; {equal} of {len(known)} networks are the same"


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
