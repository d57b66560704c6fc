"""Signatures of verbs, read from the source of their functions: commands and steps of recipes are made of them.

The source is read, not imported, so that the help of a command needs no torch.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.progress import Progress, silent

# Each verb is the function of its name in the module of its name, but for these.
_ELSEWHERE = {
    "extend": ("aggregate", "extend"),
    "chart": ("aggregate", "chart"),
    "stitch": ("stitch", "predict"),
    "merge": ("moments", "merge"),
    "calibrate": ("serving.calibrate", "calibrate"),
}
_NAMES = (
    "encode sample moments merge fit train compose aggregate extend chart apply "
    "stitch calibrate export evaluate compare"
)
VERBS = {name: _ELSEWHERE.get(name, (name, name)) for name in _NAMES.split()}
_NOUNS = (
    "Aligner",
    "Sampler",
    "Aggregator",
    "Exporter",
    "Engine",
    "Items",
    "Vectors",
    "Anchors",
    "Moments",
    "Alignment",
    "Atlas",
)
# The types of parameters and their names: something stored is named by its kind, alternatives joined by '|'. The
# first that an annotation names counts.
KINDS = {
    "Stitched": "model",
    **{f"{noun}Like": noun.lower() for noun in _NOUNS},
    "HeadModelLike": "head model",
    "EncoderLike": "space",
    "HeadLike": "head|space",
    "MappingLike": "alignment|atlas",
    "MeasuredLike": "alignment|head|atlas",
    "Seed": "seed",
    "BatchSize": "batch size",
    "Progress": "progress",
    "Path": "path",
    "int": "int",
    "bool": "truth",
    "str": "text",
    "Any": "options",
}
# Results of verbs that are no artefacts, by the type they return.
_MAKES = {"Path": "file", "tuple": "figures", "list": "figures"}
# Kinds of value that are written down as they are: everything else is a reference to something stored.
SCALARS: dict[str, type] = {
    **dict.fromkeys(("aligner", "sampler", "aggregator", "exporter", "engine", "head model", "text"), str),
    **dict.fromkeys(("int", "seed", "batch size"), int),
    "truth": bool,
    "options": dict,
}


@dataclass(frozen=True)
class Parameter:
    """One thing that a verb takes.

    Attributes:
        name: of the parameter.
        kind: one of `KINDS`.
        help: a sentence.
        positional: whether it is given by position.
        required: whether it must be given.
        many: whether it is any number of values.
        default: its value where it is not given.
    """

    name: str
    kind: str
    help: str = ""
    positional: bool = False
    required: bool = False
    many: bool = False
    default: Any = None


@dataclass(frozen=True)
class Verb:
    """A verb.

    Attributes:
        name: of the verb.
        parameters: its parameters, by name.
        makes: the kind of artefact it returns, "figures", or "file".
        summary: a sentence.
        description: more of them, in paragraphs.
    """

    name: str
    parameters: Mapping[str, Parameter]
    makes: str
    summary: str
    description: str

    @property
    def stores(self) -> bool:
        """Whether its result is an artefact."""
        return self.makes not in ("figures", "file")

    def __call__(self, given: Mapping[str, Any]) -> Any:
        """Do it, given arguments by their names, and options of its component in a mapping `options`."""
        words: list[Any] = []
        named: dict[str, Any] = dict(given.get("options", {}))
        for name, parameter in self.parameters.items():
            if parameter.positional:
                words += given.get(name, ()) if parameter.many else [given.get(name)]
            elif name in given and parameter.kind != "options":
                named[name] = given[name]
        module, function = VERBS[self.name]
        return getattr(importlib.import_module(f"atlas.verbs.{module}"), function)(*words, **named)

    def make(
        self,
        given: Mapping[str, Any],
        out: str | Path | None = None,
        *,
        overwrite: bool = False,
        progress: Progress = silent,
    ) -> Any:
        """Do it, write the result to `out`, if that is given, and return it."""
        from atlas.artefacts.loading import save

        how = {"out": out, "overwrite": overwrite, "progress": progress}
        # A component of a plugin may change the working folder, in which the next path would then be looked for.
        with contextlib.chdir("."):
            made = self({**given, **{name: value for name, value in how.items() if name in self.parameters}})
        if out is not None and "out" not in self.parameters:
            save(made, out, overwrite=overwrite)
        return made


@functools.cache
def verb(name: str) -> Verb:
    """Return the signature of a verb."""
    module, function = VERBS[name]
    tree = ast.parse((Path(__file__).parents[1] / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    # Before the function itself there may be overloads of it.
    node = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function][-1]
    text, _, rest = (ast.get_docstring(node) or "").partition("\n\nArgs:\n")
    summary, _, description = text.partition("\n\n")
    helps = {
        found[1]: _sentence(found[2])
        for found in re.finditer(r"^    \**(\w+): (.*(?:\n {8}.*)*)", rest.partition("\n\n")[0], re.MULTILINE)
    }
    parameters = {p.name: p for p in _parameters(node.args, helps)}
    assert node.returns is not None
    returned = ast.unparse(node.returns).partition("[")[0]
    return Verb(name, parameters, _MAKES.get(returned, returned.lower()), " ".join(summary.split()), description)


def _parameters(args: ast.arguments, helps: Mapping[str, str]) -> list[Parameter]:
    """Return the parameters of a function, in their order."""
    found = [_parameter(arg, helps, positional=True, required=True) for arg in [*args.posonlyargs, *args.args]]
    if args.vararg:
        # Where moments may be given in place of vectors, there may be none of these.
        required = all(arg.arg != "moments" for arg in args.kwonlyargs)
        found.append(_parameter(args.vararg, helps, positional=True, required=required, many=True))
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        found.append(_parameter(arg, helps, required=default is None, default=_value(default)))
    return [*found, *([_parameter(args.kwarg, helps)] if args.kwarg else [])]


def _parameter(arg: ast.arg, helps: Mapping[str, str], required: bool = False, **about: Any) -> Parameter:
    assert arg.annotation is not None
    words = re.findall(r"\w+", ast.unparse(arg.annotation))
    kind = next(kind for name, kind in KINDS.items() if name in words)
    many = about.pop("many", "Sequence" in words)
    # Only a parameter that may be None can be left out by position.
    left_out = required and about.get("positional") and "None" in words
    return Parameter(arg.arg, kind, helps.get(arg.arg, ""), required=required and not left_out, many=many, **about)


def _value(default: ast.expr | None) -> Any:
    return ast.literal_eval(default) if isinstance(default, (ast.Constant, ast.Tuple)) else None


def _sentence(text: str) -> str:
    return " ".join(f"{text[0].upper()}{text[1:]}".split())
