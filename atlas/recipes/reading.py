"""Recipes: the verbs composed in a YAML file, read into the jobs that have to be done.

    format: 1
    values:
      spaces: [resnet20, resnet32]
    steps:
      vectors:
        each: {space: "${spaces}", split: [train, test]}
        verb: encode
        encoder: zoo/${space}
        input: data/${split}
      fit:
        each: {"source, target": {pairs: "${spaces}"}, method: [procrustes, linear], n: [100, 1000], seed: {range: 5}}
        verb: fit
        ...
        source: {step: vectors, space: "${source}", split: train}

Nothing in a recipe is executed: a verb is one of those of Atlas, and its arguments are data.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from atlas.cards.names import canonical, sha256_of, slug
from atlas.cards.schema import brief, of_type
from atlas.cards.yaml import read_yaml
from atlas.errors import AtlasError, check_known, located, unknown
from atlas.recipes.tables import RESERVED, Summary, check_fields, mapping, read_summary
from atlas.verbs.parameters import signatures
from atlas.verbs.parameters.signatures import SCALARS, Parameter, Verb, verb

FORMAT = 1
# Letters of the name of a step, and of the values in the name of its output: an id has 96 at most.
LONGEST = 42
# More jobs than anybody would wait for.
MOST_JOBS = 100_000
# Results of other steps that the jobs of one take together.
MOST_NAMES = 1_000_000
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_VARIABLE_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
# Arguments of verbs that are not of a step: where it writes is told by its name.
_NONE = ("out", "overwrite", "progress", "save_space", "split")
# The kinds a verb's result can be used as, besides its own: an encoding is of items, and has an encoder.
_ALSO_MADE = {"encode": ("items", "space"), "apply": ("items",)}
# Other names of arguments.
_ALSO = {("evaluate", "alignment"): "artefact"}


def _takes(verb: Verb) -> dict[str, Parameter]:
    """Return the arguments of a verb in a recipe, by name."""
    takes = {name: parameter for name, parameter in verb.parameters.items() if name not in _NONE}
    if verb.name == "compose":
        # Those that are run backwards may also stand alone, after the others.
        takes["alignments"] = replace(takes["alignments"], required=False)
        takes["backwards"] = Parameter("backwards", "alignment", many=True)
    return takes


VERBS = {name: verb(name) for name in signatures.VERBS if verb(name).makes != "file"}
TAKES = {name: _takes(verb) for name, verb in VERBS.items()}


@dataclass(frozen=True)
class Job:
    """One step with one value for each of its variables.

    Attributes:
        step: name of the step.
        verb: the verb to call.
        scope: the value of each variable of `each`.
        arguments: of the verb; a job stands for its output.
        label: the name of its output among those of its step; '' if the step has no variables.
    """

    step: str
    verb: str
    scope: Mapping[str, Any]
    arguments: Mapping[str, Any]
    label: str = ""

    @property
    def makes(self) -> str:
        """The kind of the job's output."""
        return VERBS[self.verb].makes

    @property
    def name(self) -> str:
        """The name of the job and of its output: an id, that of its step and of its label."""
        return slug(f"{self.step}__{self.label}" if self.label else self.step)

    def __str__(self) -> str:
        """Return step and variables, as messages call the job."""
        values = ", ".join(f"{name}={value}" for name, value in self.scope.items())
        return f"'{self.step}'" + (f" ({values})" if values else "")


class Jobs(list[Job]):
    """The jobs of a step, which are found by the values of any of their variables."""

    def __init__(self, jobs: Iterable[Job] = ()) -> None:
        super().__init__(jobs)
        self._of: dict[tuple[str, ...], dict[Any, list[Job]]] = {}

    def of(self, values: Mapping[str, Any]) -> list[Job]:
        """Return those with these values, without looking through all each time; none is added any more."""
        names = tuple(values)
        if names not in self._of:
            self._of[names] = {}
            for job in self:
                self._of[names].setdefault(_key(job.scope[name] for name in names), []).append(job)
        return self._of[names].get(_key(values.values()), [])


def _key(values: Iterable[Any]) -> Any:
    """Return plain values in a hashable form, equal where they are."""
    return tuple(
        _key(v)
        if isinstance(v, list)
        else frozenset(zip(v, _key(v.values()), strict=True))
        if isinstance(v, dict)
        else v
        for v in values
    )


@dataclass(frozen=True)
class Recipe:
    """A recipe, read and expanded.

    Attributes:
        path: the file; the paths in it are relative to its folder.
        jobs: the jobs, each after those it needs.
        summaries: the tables of means asked for.
        pictures: name of each to its panels: their titles, and the vectors in them, or the job that makes them.
    """

    path: Path
    jobs: tuple[Job, ...]
    summaries: tuple[Summary, ...] = field(default=())
    pictures: Mapping[str, Mapping[str, Job | str]] = field(default_factory=dict)


def read_recipe(path: str | Path, values: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe and expand its loops.

    Args:
        path: the YAML file.
        values: values to use in place of entries of `values` in the file.

    Raises:
        AtlasError: anything that is wrong with it; the message names the step.
    """
    path = Path(path)
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise AtlasError(f"{path}: a recipe must be a mapping, got {type(data).__name__}")
    check_fields(
        str(path), data, required=("format", "steps"), optional=("description", "values", "tables", "pictures")
    )
    if type(data["format"]) is not int or not 1 <= data["format"] <= FORMAT:
        raise AtlasError(f"{path}: format must be {FORMAT}, got {data['format']!r} - a newer one needs a newer Atlas")
    known = mapping(f"{path}: values", data.get("values", {}))
    for name in values or {}:
        check_known("value of the recipe", name, known)
    done: dict[str, Jobs] = {}
    known |= values or {}
    for name, step in mapping(f"{path}: steps", data["steps"]).items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > LONGEST:
            raise AtlasError(
                f"{path}: step {name!r} must have a name of at most {LONGEST} lower-case letters, digits and single '-'"
            )
        with located(f"{path}: step '{name}'"):
            done[name] = _expand(name, step, known, done)
            check_number(sum(map(len, done.values())))
    jobs = tuple(job for jobs in done.values() for job in jobs)
    measured = {name: jobs[0].scope for name, jobs in done.items() if jobs[0].makes == "figures"}
    tables = mapping(f"{path}: tables", data.get("tables", {}))
    summaries = tuple(read_summary(path, name, table, measured) for name, table in tables.items())
    return Recipe(path, jobs, summaries, _pictures(path, data.get("pictures", {}), known, done))


_PANEL = Parameter("panel", "vectors")


def _pictures(path: Path, data: Any, values: Mapping[str, Any], done: Any) -> dict[str, dict[str, Job | str]]:
    """Return the panels of each picture, jobs in place of references."""
    pictures: dict[str, dict[str, Job | str]] = {}
    for title, panels in mapping(f"{path}: pictures", data).items():
        where = f"{path}: picture '{title}'"
        pictures[str(title)] = {}
        for name, reference in mapping(where, panels).items():
            with located(f"{where}: '{name}'"):
                pictures[str(title)][str(name)] = _argument(_PANEL, substitute(reference, values), values, done)
        if not panels:
            raise AtlasError(f"{where} has no panels - give each a name and vectors")
    return pictures


def _expand(name: str, step: Any, values: Mapping[str, Any], done: Mapping[str, Jobs]) -> Jobs:
    """Return the jobs of a step, one for each combination of its variables."""
    step = dict(mapping("it", step))
    each, verb = step.pop("each", {}), step.pop("verb", None)
    one_of("verb", verb, VERBS)
    given = {_ALSO.get((verb, argument), argument): value for argument, value in step.items()}
    if len(given) < len(step):
        raise AtlasError(f"{verb} is given one argument under two names")
    for argument in given:
        check_known(f"argument of {verb}", argument, TAKES[verb])
    found, named = Jobs(), 0
    for scope in _scopes(mapping("each", each), values, done):
        found.append(_job(name, verb, scope, given, {**values, **scope}, done))
        named += sum(len(value) for value in found[-1].arguments.values() if isinstance(value, list))
        if named > MOST_NAMES:
            raise AtlasError(f"its jobs take over {MOST_NAMES:,} things together - give each only those it needs")
    return _labelled(found)


def _job(
    name: str, verb: str, scope: Mapping[str, Any], step: Mapping[str, Any], values: Mapping[str, Any], done: Any
) -> Job:
    arguments = {}
    for argument, parameter in TAKES[verb].items():
        if argument in step:
            with located(f"'{argument}'"):
                arguments[argument] = _argument(parameter, substitute(step[argument], values), values, done)
        elif parameter.required:
            raise AtlasError(f"{verb} needs '{argument}'")
    return Job(name, verb, scope, arguments)


def _argument(parameter: Parameter, value: Any, values: Mapping[str, Any], done: Mapping[str, Jobs]) -> Any:
    """Return the value of an argument, jobs in place of references, or say which values are allowed."""
    if parameter.many:
        listed = value if isinstance(value, list) else [value]
        result = [found for item in listed for found in _values(parameter.kind, item, values, done)]
        if not result:
            raise AtlasError("must not be empty")
        return result
    result = _values(parameter.kind, value, values, done)
    if len(result) != 1:
        names = ", ".join(result[0].scope) if result else ""
        raise AtlasError(f"stands for {len(result)} results of step '{value['step']}' - say which: {names}")
    return result[0]


def _values(kind: str, value: Any, values: Mapping[str, Any], done: Mapping[str, Jobs]) -> list[Any]:
    if kind in SCALARS:
        return [of_type(SCALARS[kind], value, "")]
    if isinstance(value, str) and value:
        return [value]
    if not isinstance(value, dict) or "step" not in value:
        raise AtlasError(f"must be a path, an id, or {{step: NAME}}, got {value!r}")
    return _referenced(kind, dict(value), values, done)


def _referenced(kind: str, reference: dict[str, Any], values: Mapping[str, Any], done: Any) -> list[Job]:
    """Return the jobs a reference means: those of the step whose variables have the values given, or those here."""
    name = reference.pop("step")
    jobs: Jobs = done[one_of("earlier step", name, done)]
    makes = {*kind.split("|")} & {jobs[0].makes, *_ALSO_MADE.get(jobs[0].verb, ())}
    if not makes:
        raise AtlasError(f"step '{name}' makes {jobs[0].makes}, not {kind.replace('|', ' or ')}")
    variables = jobs[0].scope
    for variable in reference:
        check_known(f"variable of step '{name}'", variable, variables)
    wanted = {**{v: values[v] for v in variables if v in values}, **reference}
    found = jobs.of(wanted)
    if not found:
        given = ", ".join(f"{v}={value}" for v, value in wanted.items())
        raise AtlasError(f"step '{name}' has no result for {given}")
    return found


def one_of(what: str, name: Any, known: Mapping[str, Any]) -> str:
    """Return a name that is known, or raise `AtlasError`, whatever stands where a name should be."""
    if not isinstance(name, str) or name not in known:
        raise AtlasError(unknown(what, brief(name), known))
    return name


def substitute(value: Any, values: Mapping[str, Any]) -> Any:
    """Replace ${name} in texts, at any depth; a text that is nothing else becomes the value, whatever its type."""
    if isinstance(value, dict):
        return {key: substitute(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, values) for item in value]
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> Any:
        check_known("variable", match[1], values)
        return values[match[1]]

    if whole := _VARIABLE.fullmatch(value):
        return look_up(whole)
    return _VARIABLE.sub(lambda match: str(look_up(match)), value)


def _scopes(each: dict[str, Any], values: Mapping[str, Any], done: Mapping[str, Jobs]) -> Iterator[dict[str, Any]]:
    """Yield every combination of the values of the variables, the last one changing fastest."""
    axes = []
    for name, given in each.items():
        with located(f"each: '{name}'"):
            axes.append(_axis(str(name), substitute(given, values), done))
    check_number(math.prod(map(len, axes)))
    for combination in itertools.product(*axes):
        yield {name: value for part in combination for name, value in part.items()}


def check_number(n: int) -> None:
    """Raise `AtlasError` if a recipe has too many jobs."""
    if n > MOST_JOBS:
        raise AtlasError(f"each: {n:,} combinations are too many - the limit is {MOST_JOBS:,}")


def _axis(name: str, given: Any, done: Mapping[str, Jobs]) -> list[dict[str, Any]]:
    """Return the values that the variables of one line of `each` take together."""
    if name == "step":
        return [dict(job.scope) for job in done[one_of("earlier step", given, done)]]
    names = [part.strip() for part in name.split(",")]
    for part in names:
        if not _VARIABLE_NAME.fullmatch(part):
            raise AtlasError(f"{part!r} must be lower-case letters, digits, '-' and '_'")
        if part in RESERVED:
            raise AtlasError(f"'{part}' is a field of every figure - choose another name")
    rows = _listed(given, len(names))
    if len(names) == 1:
        return [{name: value} for value in rows]
    for row in rows:
        if not isinstance(row, (list, tuple)) or len(row) != len(names):
            raise AtlasError(f"takes lists of {len(names)} values, got {row!r}")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _listed(given: Any, width: int) -> list[Any]:
    if isinstance(given, dict) and set(given) == {"range"} and type(given["range"]) is int and given["range"] > 0:
        check_number(given["range"])
        return list(range(given["range"]))
    if isinstance(given, dict) and set(given) == {"pairs"} and isinstance(given["pairs"], list) and width == 2:
        check_number(len(given["pairs"]) * (len(given["pairs"]) - 1))
        given = list(itertools.permutations(given["pairs"], 2)) or given
    if not isinstance(given, list) or not given:
        raise AtlasError(f"must be a list, {{range: N}} or, for two variables, {{pairs: [...]}}, got {given!r}")
    return given


def _labelled(jobs: Jobs) -> Jobs:
    """Return the jobs of a step with a name for each one's output: its values, and a hash if they are not enough."""
    if len(jobs) == 1 and not jobs[0].scope:
        return jobs
    plain = [slug("__".join(str(v) for v in job.scope.values() if not isinstance(v, (dict, list)))) for job in jobs]
    labels: list[str] = []
    times = Counter(plain)
    for job, label in zip(jobs, plain, strict=True):
        unclear = times[label] > 1 or len(label) > LONGEST
        labels.append(f"{label[:LONGEST].rstrip('-_')}-{sha256_of(dict(job.scope))[:8]}" if unclear else label)
    if len(set(labels)) != len(labels):
        times = Counter(labels)
        twice = next(job for job, label in zip(jobs, labels, strict=True) if times[label] > 1)
        raise AtlasError(f"each: {canonical(dict(twice.scope))} is there twice")
    return Jobs(
        Job(job.step, job.verb, job.scope, job.arguments, label) for job, label in zip(jobs, labels, strict=True)
    )
