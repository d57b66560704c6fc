"""The commands of the verbs, made of their signatures and docstrings: positional parameters become arguments."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from atlas.cli import params
from atlas.errors import NotFiniteError
from atlas.progress import bar as progress
from atlas.verbs.parameters.signatures import SCALARS, Parameter, Verb, verb

METAVARS = {"space": "ENCODER", "items": "INPUT", "head|space": "HEAD", "model": "[ENCODER] ALIGNMENT [HEAD]"}
NUMBERS = {"seed": click.IntRange(0, 2**63 - 1), "batch size": click.IntRange(1), "int": click.INT}
# Parameters of verbs that are no options of their commands, or options that several commands share.
SHARED = ("out", "overwrite", "progress", "options")
SAVE = click.Option(["--save"], is_flag=True, help="Write the figures into the card of the measured artefact.")


def command(name: str) -> click.Command:
    """Return the command of a verb."""
    found = verb(name)
    words: list[Parameter] = []
    options: list[click.Parameter] = []
    for parameter in found.parameters.values():
        if parameter.positional and parameter.kind not in NUMBERS and parameter.name not in SHARED:
            words.append(parameter)
        elif parameter.name not in SHARED:
            options.append(_option(parameter))
    if "options" in found.parameters:
        options.append(params.option(params.options))
    if found.stores or "out" in found.parameters:
        options += [_out(found), params.option(params.overwrite)]
    elif "overwrite" in found.parameters:
        options.append(_option(found.parameters["overwrite"]))
    if found.makes == "figures":
        options += [*([SAVE] if name == "evaluate" else []), params.option(params.as_json)]
    options.append(params.option(params.registry))
    return Derived(found, words, options)


class Derived(params.Spread):
    """The command of a verb."""

    def __init__(self, verb: Verb, words: Sequence[Parameter], options: Sequence[click.Parameter]) -> None:
        self.words = words
        # Words of which some may be left out are dealt out once it is known how many there are.
        self.dealt = len(words) > 1 and not all(word.required for word in words)
        dealt = click.Argument(["words"], nargs=-1, required=True, metavar=_shown(words))
        arguments = [dealt] if self.dealt else [_argument(word) for word in words]
        text = f"{verb.summary}\n\n{verb.description}"
        run = functools.partial(run_verb, verb)
        super().__init__(verb.name, params=[*arguments, *options], help=text, callback=run)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the arguments, then the options."""
        if self.words:
            with formatter.section("Arguments"):
                formatter.write_dl([(metavar(word).rstrip("."), word.help) for word in self.words])
        super().format_options(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb, each word under the name of its parameter."""
        if self.dealt:
            given = ctx.params.pop("words")
            words = [word for word in self.words if word.required or len(given) == len(self.words)]
            if len(words) != len(given):
                raise click.UsageError(f"Expected {_shown(self.words)}, got {len(given)} arguments")
            ctx.params |= dict(zip((word.name for word in words), given, strict=True))
        return super().invoke(ctx)


def metavar(parameter: Parameter) -> str:
    """Return the name of a parameter's values in help: the kind of something stored, or that of the type."""
    name = METAVARS.get(parameter.kind, (parameter.name if parameter.kind in SCALARS else parameter.kind).upper())
    return f"{name}..." if parameter.many and parameter.positional else name


def _argument(word: Parameter) -> click.Argument:
    several = word.many or word.kind == "model"
    return click.Argument([word.name], nargs=-1 if several else 1, required=word.required, metavar=metavar(word))


def _shown(words: Sequence[Parameter]) -> str:
    return " ".join(metavar(word) if word.required else f"[{metavar(word)}]" for word in words)


def _option(parameter: Parameter) -> click.Option:
    kind, name, many = parameter.kind, parameter.name, parameter.many
    # Of many texts, each is given with the name of one: --metric cka --metric cosine.
    flag = name.removesuffix("s") if many and kind == "text" else name
    flags = [f"-{flag}" if len(flag) == 1 else f"--{flag.replace('_', '-')}", name]
    # Vectors that are measured on may stand one after another; of anything else, each has the option before it.
    several = many and name == kind
    about: dict[str, Any] = {"required": parameter.required, "multiple": many, "help": parameter.help}
    if many and not several:
        about["help"] = f"{parameter.help.rstrip('.')}; may be repeated."
    if kind == "truth" and parameter.default is None:
        return click.Option([f"--{flag}/--no-{flag}", name], default=None, help=parameter.help)
    if kind == "truth":
        return click.Option(flags, is_flag=True, help=parameter.help)
    if kind in NUMBERS:
        about |= {"type": NUMBERS[kind], "metavar": "N"}
    elif kind == "path":
        about |= {"type": click.Path(path_type=Path), "metavar": "PATH"}
    else:
        about["metavar"] = "NAME" if kind == "text" else metavar(parameter) + "..." * several
    if parameter.default not in (None, "") and not many:
        about |= {"default": parameter.default, "show_default": True}
    return (params.Several if several else click.Option)(flags, **about)


def _out(found: Verb) -> click.Parameter:
    own = found.parameters.get("out")
    required = found.stores or (own is not None and own.required)
    return params.option(params.out(own.help if own else f"Folder for the {found.makes}.", required))


def run_verb(verb: Verb, **values: Any) -> None:
    """Run a verb on its command's values, write the result, and say so."""
    from atlas.artefacts.sources.stores import is_store
    from atlas.cli.made import own_folder, tell

    given = {name: value for name, value in values.items() if name in verb.parameters and value not in (None, ())}
    out, overwrite = values.get("out"), values.get("overwrite", False)
    to_store = verb.name == "apply" and is_store(out)
    if out is not None and verb.stores and "out" not in verb.parameters:
        from atlas.storage.files import check_target

        # Before anything is read.
        check_target(out, overwrite)
    if values.get("save"):
        own_folder(given["artefact"])
    if values.get("options"):
        given["options"] = config_of(verb, given)
    # A store is read batch by batch into a store.
    vectors = [name for name in given if verb.parameters[name].kind == "vectors" and not to_store]
    refs = {name: given[name] if isinstance(given[name], tuple) else (given[name],) for name in vectors}
    columns = {name: given[name] for name in ("vector_column", "id_column") if name in given}
    views = dict(zip(sum(refs.values(), ()), params.read_all(*sum(refs.values(), ()), **columns), strict=True))
    for name in vectors:
        found = [views[ref] for ref in refs[name]]
        given[name] = found if verb.parameters[name].many else found[0]
    if "model" in given:
        given["model"] = model_of(given["model"])
    try:
        made = verb.make(given, out, overwrite=overwrite, progress=progress)
    except NotFiniteError as error:
        advice = ", or leave them out with --skip-bad LIST.txt" if "skip_bad" in verb.parameters else ""
        raise NotFiniteError(f"{error}{advice}") from None
    tell(verb, made, values, given)


def config_of(verb: Verb, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a verb's component, each of the type that the component declares."""
    from atlas.components.encoder import Encoder
    from atlas.components.kinds import KINDS
    from atlas.models.heads import HEADS
    from atlas.plugins.catalogue import component, components

    kind = next(iter(verb.parameters))
    name, pairs = given[kind], given["options"]
    # The verb refuses any other name.
    if (kind == "head" and name not in HEADS) or (kind == "encoder" and name not in components(Encoder)):
        return dict(pairs)
    cls = HEADS[name] if kind == "head" else component(KINDS[kind], name)
    return cls.parse_config(list(pairs))


def model_of(words: Sequence[str]) -> Any:
    """Return the alignment that a single word stands for, or the stitched model of three."""
    from atlas.artefacts.loading import loaded
    from atlas.verbs.stitch import stitch

    if len(words) not in (1, 3):
        raise click.UsageError(f"Expected ALIGNMENT alone, or ENCODER ALIGNMENT HEAD, got {len(words)} arguments")
    return loaded(words[0], ["alignment"]) if len(words) == 1 else stitch(*words)
