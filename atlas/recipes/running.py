"""Runs recipes: each job once, until something that went into it changes.

A job's output lies in OUT/<step>__<values of its variables>; in OUT/.steps, a stamp holds the hash of everything that
went into it: the verb, its arguments, the contents of files, the keys of the jobs it builds on, and the versions of
Atlas and of the plugin. The device and the size of batches are left out, because they do not change the result.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from atlas._version import __version__
from atlas.artefacts.loading import save
from atlas.artefacts.sources.stores import is_store, shown
from atlas.cards.folder import CARD, MODEL, read_card
from atlas.cards.names import sha256_of, slug
from atlas.components.encoder import Encoder
from atlas.components.kinds import KINDS
from atlas.errors import AtlasError, NotFoundError, located
from atlas.hub.pulling import locate
from atlas.items.files import images_in, named
from atlas.models.heads import create_head
from atlas.pictures import plots
from atlas.pictures.projections import projected
from atlas.plugins.catalogue import components, create, provider
from atlas.progress import Progress, silent
from atlas.recipes.reading import TAKES, VERBS, Job, Recipe
from atlas.recipes.tables import draw, figure, summarise
from atlas.recipes.threads import side_by_side
from atlas.storage.files import as_path, explained, refuse_device, sha256_file, size, whole_file, write_text
from atlas.verbs.parameters.arguments import encoder_of, items_of, stored
from atlas.verbs.parameters.signatures import SCALARS

STAMPS = ".steps"
# Letters of the name of a picture.
LONGEST = 80
# Reported of a job that is at work when another fails.
FINISHING = "is finished before the failure of another is told"
# Arguments that do not change the result: device and size of batches.
HOW = ("batch_size", "device")
# A head, or a space whose encoder carries one.
HEAD = "head|space"


def quiet(number: int, job: Job, state: str) -> None:
    """Say nothing."""


class Runner:
    """Runs the jobs of a recipe in a folder.

    Attributes:
        recipe: the recipe to run.
        out: the folder.
        progress: shows how far a job is.
    """

    def __init__(self, recipe: Recipe, out: str | Path, progress: Progress = silent) -> None:
        """Prepare to run a recipe: everything it names is looked for before anything is done.

        Args:
            recipe: the recipe to run.
            out: the folder; it must be new, empty, or one of a run before.
            progress: shows how far a job is.

        Raises:
            AtlasError: a component, option, file or registry entry that is not there; the message names the step.
        """
        self.recipe = recipe
        self.out = Path(out)
        self.progress = progress
        mine = (self.out / STAMPS).is_dir() and not (self.out / STAMPS).is_symlink()
        if self.out.exists() and not mine and (self.out.is_file() or any(self.out.iterdir())):
            raise AtlasError(f"'{out}' is not the folder of a run - choose another name")
        self._content = functools.cache(content_hash)
        # The key tells two makings of the same thing apart.
        self._load = functools.lru_cache(maxsize=32)(lambda where, kind, key: stored(kind, where))
        self._keys: dict[int, str] = {}
        for job in recipe.jobs:
            with located(f"{recipe.path}: step {job}"):
                self._keys[id(job)] = self._key(job)

    def run(
        self, *, force: bool = False, at_once: int = 1, report: Callable[[int, Job, str], None] = quiet
    ) -> dict[str, Any]:
        """Do the remaining jobs, and return all figures and tables, which are in OUT/results.json too.

        The pictures that the recipe asks for are drawn by `draw`.

        Args:
            force: do everything again.
            at_once: how many jobs are done side by side, which does not change the results.
            report: called with every job, in order: its number, from 1, the job, and 'cached' or 'to do'; and of a job
                at work when another fails.

        Raises:
            AtlasError: a job cannot be done; the output of earlier jobs is kept.
        """
        if at_once > 1:
            # Bars of several jobs would overwrite each other.
            self.progress = silent
        # First of all: a run that is killed in its first step is taken up again, too.
        with explained(self.out):
            (self.out / STAMPS).mkdir(parents=True, exist_ok=True)
        numbers = {id(job): number for number, job in enumerate(self.recipe.jobs, 1)}
        with side_by_side(at_once, lambda job: report(numbers[id(job)], job, FINISHING)) as threads:
            for job in self.recipe.jobs:
                state = "to do" if force else self.state(job)
                if state != "cached":
                    threads.wait_for([given for given in _listed(job.arguments.values()) if isinstance(given, Job)])
                report(numbers[id(job)], job, state)
                if state != "cached":
                    threads.begin(job, functools.partial(self._do, job))
        results = list(self.results())
        tables = {summary.name: summarise(summary, results) for summary in self.recipe.summaries}
        found = {"results": results, "tables": tables}
        write_text(self.out / "results.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        return found

    def made(self, step: str, **scope: Any) -> Any:
        """Load the output of a step.

        Args:
            step: its name.
            **scope: the values of its variables, as many as tell one of its results from the others.

        Raises:
            AtlasError: there is no such result, or more than one.
        """
        jobs = [j for j in self.recipe.jobs if j.step == step and scope.items() <= dict(j.scope).items()]
        if len(jobs) != 1:
            raise AtlasError(f"Step '{step}' has {len(jobs)} results for {scope} - say which")
        return self._load(self.target(jobs[0]), jobs[0].makes, self._keys[id(jobs[0])])

    def draw(self, found: Mapping[str, Any]) -> list[Path]:
        """Draw the pictures that the recipe asks for into OUT, and return their files.

        Args:
            found: the result of `run`.

        Raises:
            AtlasError: matplotlib is not installed.
        """
        return [*self._draw_tables(found["tables"]), *self._draw_spaces()]

    def _draw_tables(self, tables: Mapping[str, Any]) -> Iterator[Path]:
        for summary in self.recipe.summaries:
            if summary.picture and tables[summary.name]:
                with whole_file(self.picture(summary.name)) as temporary:
                    draw(summary, tables[summary.name], temporary)
                yield self.picture(summary.name)

    def _draw_spaces(self) -> Iterator[Path]:
        for title, panels in self.recipe.pictures.items():
            views = {name: self._vectors(value) for name, value in panels.items()}
            classes = {name: view.labels for name, view in views.items() if view.labels is not None}
            with whole_file(self.picture(title)) as temporary:
                plots.scatter(projected(views), classes, temporary, title=title)
            yield self.picture(title)

    def picture(self, title: str) -> Path:
        """Return the file of a picture."""
        return self.out / f"{slug(title)[:LONGEST].rstrip('-_')}.png"

    def _vectors(self, value: Job | str) -> Any:
        key = self._keys[id(value)] if isinstance(value, Job) else ""
        return self._load(self.target(value) if isinstance(value, Job) else self.path(value), "vectors", key)

    def state(self, job: Job) -> str:
        """Return 'cached' if the job has been done with the very same inputs, else 'to do'."""
        return "to do" if self.figures(job) is None else "cached"

    def results(self) -> Iterator[dict[str, Any]]:
        """Yield every figure that has been measured, with the step and the variables it was measured under."""
        for job in self.recipe.jobs:
            for one in self.figures(job) or []:
                yield {"step": job.step, **job.scope, **one}

    def figures(self, job: Job) -> list[dict[str, Any]] | None:
        """Return the figures of a job that has been done ([] if it makes something else), None if it has not been."""
        try:
            stamp = json.loads(self.stamp(job).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        # A damaged stamp means that the job is to be done.
        figures = stamp.get("figures") if isinstance(stamp, dict) else None
        if not isinstance(figures, list) or not all(isinstance(one, dict) for one in figures):
            return None
        same = stamp.get("key") == self._keys[id(job)] and stamp.get("cards") == self._cards(job)
        return figures if same else None

    def stamp(self, job: Job) -> Path:
        """Return the file that says how a job was done."""
        return self.out / STAMPS / f"{job.name}.json"

    def target(self, job: Job) -> Path:
        """Return the folder of a job's output."""
        return self.out / job.name

    def space(self, job: Job) -> Path | str:
        """Return where the encoder of an encoding is stored: beside its vectors, unless it was stored before."""
        encoder = job.arguments["encoder"]
        if isinstance(encoder, Job):
            return self.space(encoder)
        return self.out / f"{job.name}.space" if encoder in components(Encoder) else self.path(encoder)

    def path(self, text: str) -> Path | str:
        """Return the path a text of the recipe means, relative to it; the text itself if it can only be an id."""
        if is_store(text):
            raise AtlasError(f"Store '{shown(text)}' cannot be read in a recipe - save its vectors to a folder first")
        beside = as_path(self.recipe.path.parent / text)
        is_path = beside.exists() or "/" in text or text.startswith(".") or Path(text).suffix
        return beside if is_path and not text.startswith("hf://") else text

    def _key(self, job: Job) -> str:
        """Return the hash of everything that goes into a job."""
        takes = {name: TAKES[job.verb][name].kind for name in job.arguments if name not in HOW}
        arguments = {name: self._plain(job.arguments[name], kind) for name, kind in takes.items()}
        return sha256_of([__version__, job.verb, check_component(job), arguments])

    def _plain(self, value: Any, kind: str) -> Any:
        if isinstance(value, list):
            return [self._plain(item, kind) for item in value]
        if isinstance(value, Job):
            return {"job": self._keys[id(value)]}
        if kind in SCALARS or (kind == "space" and value in components(Encoder)):
            return value
        kinds = ("vectors", "items") if kind == "items" else (*kind.split("|"),)
        return {"content": self._content(self.path(value), kinds)}

    def _cards(self, job: Job) -> list[str]:
        """Return the fingerprint of a job's artefacts: hashes of cards, and sizes of files of tensors."""
        folders = [] if job.makes == "figures" else [self.target(job)]
        if makes_space(job):
            folders.append(Path(self.space(job)))
        return [f"{sha256_file(f / CARD)} {size(f / MODEL)}" if (f / CARD).is_file() else "" for f in folders]

    def _do(self, job: Job) -> None:
        with located(f"{self.recipe.path}: step {job}"):
            given = self._given(job)
            out = self.target(job) if VERBS[job.verb].stores else None
            made = VERBS[job.verb].make(given, out, overwrite=True, progress=self.progress)
            if makes_space(job):
                given["encoder"].stored_id = made.space.id
                save(given["encoder"], self.space(job), overwrite=True)
            figures = [figure(one) for one in made] if job.makes == "figures" else []
            stamp = {"key": self._keys[id(job)], "cards": self._cards(job), "figures": figures}
            write_text(self.stamp(job), json.dumps(stamp, indent=1))

    def _given(self, job: Job) -> dict[str, Any]:
        """Return the arguments of a job with everything they stand for in place of its name."""
        given: dict[str, Any] = {"id": job.name} if "id" in TAKES[job.verb] and job.verb != "encode" else {}
        for name, value in job.arguments.items():
            kind = TAKES[job.verb][name].kind
            found = [self._find(item, kind, job) for item in _listed([value])]
            given[name] = found if isinstance(value, list) else found[0]
        if "backwards" in given:
            turned = [alignment.inverse() for alignment in given.pop("backwards")]
            given["alignments"] = [*given.get("alignments", ()), *turned]
        return given

    def _find(self, value: Any, kind: str, job: Job) -> Any:
        if kind in SCALARS:
            return value
        if kind == "space":
            encoder = self.space(value) if isinstance(value, Job) else value
            known = isinstance(encoder, str) and encoder in components(Encoder)
            return encoder_of(encoder if known else self.path(str(encoder)), job.arguments.get("options"))
        if kind == "items":
            columns = {name: text for name, text in job.arguments.items() if name.endswith("_column")}
            made = isinstance(value, Job)
            return items_of(self._find(value, "vectors", job) if made else self.path(value), **columns)
        if isinstance(value, Job):
            # A space is wanted of an encoding where its encoder's own head is to read vectors.
            where = self.space(value) if kind == HEAD and value.makes == "vectors" else self.target(value)
            return self._load(where, kind, self._keys[id(value)])
        return self._load(self.path(value), kind, "")


def makes_space(job: Job) -> bool:
    """Whether an encoder is to be stored beside the vectors it makes: it is a component, not a stored space."""
    encoder = job.arguments.get("encoder")
    return job.verb == "encode" and isinstance(encoder, str) and encoder in components(Encoder)


def check_component(job: Job) -> str:
    """Return the provider of the component that a job names, or raise `AtlasError` if it is not as its options say."""
    options = job.arguments.get("options", {})
    for name, parameter in TAKES[job.verb].items():
        given = job.arguments.get(name)
        if parameter.kind == "head model":
            create_head(str(given), options)
        elif name in KINDS and isinstance(given, str) and (name != "encoder" or given in components(Encoder)):
            return provider(type(create(KINDS[name], given, options)))
    return ""


def content_hash(ref: Path | str, kinds: tuple[str, ...]) -> str:
    """Return a hash of a reference's content: of a file, of images, or of a card, with the hash of its tensors.

    Args:
        ref: a path, the id of a registry entry, or 'hf://owner/name[@revision]'.
        kinds: kinds it may be; with "items" among them, a folder of images, too.
    """
    path = locate(ref, kinds)
    if not path.exists():
        raise NotFoundError(f"There is no file or folder '{path}'")
    refuse_device(path)
    if path.is_dir() and not (path / CARD).is_file() and "items" in kinds:
        with named(path):
            return sha256_of([[name, sha256_file(path / name)] for name in images_in(path)[0]])
    if path.is_dir():
        read_card(path)
        return sha256_file(path / CARD)
    return sha256_file(path)


def _listed(values: Iterable[Any]) -> list[Any]:
    return [item for value in values for item in (value if isinstance(value, list) else [value])]
