"""Options that several commands share, and the reading of their values."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atlas.cli.output import say

if TYPE_CHECKING:
    from atlas.artefacts.vectors import Vectors

F = Callable[..., Any]
PATH = click.Path(path_type=Path)


def _use_registry(ctx: click.Context, param: click.Parameter, folders: tuple[str, ...]) -> None:
    """Look ids up in these folders first, as long as this command runs."""
    if folders:
        from atlas.storage.registry import searched_first

        ctx.with_resource(searched_first(folders))


registry = click.option(
    "--registry",
    multiple=True,
    metavar="FOLDER",
    callback=_use_registry,
    # Before anything whose value is looked up, and for that alone.
    is_eager=True,
    expose_value=False,
    help="Look ids up in this folder before those of ATLAS_REGISTRY and the shipped one; may be repeated.",
)


def _values(ctx: click.Context, param: click.Parameter, pairs: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    return {name: value_of(name, text) for name, text in pairs}


def value_of(name: str, text: str) -> Any:
    """Return a value given on the command line, where a path is from here, not from the recipe's folder."""
    from atlas.cards.yaml import parse_yaml

    value = parse_yaml(text, f"--set {name}")
    is_path = isinstance(value, str) and "/" in value and Path(value).exists()
    return str(Path(value).resolve()) if is_path else value


values = click.option(
    "--set",
    "values",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    callback=_values,
    help="Set an entry of a recipe's `values`, in YAML; a value with a '/' is a path from this folder, if it exists.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
overwrite = click.option("--overwrite", is_flag=True, help="Replace files that are there.")
options = click.option(
    "-o", "--option", "options", nargs=2, multiple=True, metavar="KEY VALUE", help="Set an option; may be repeated."
)


class Several(click.Option):
    """An option, `multiple`, that takes one value or more where it is given; its command is a `Spread`."""


class Spread(click.Command):
    """A command in which `--on A B` means `--on A --on B`, for options that are `Several`."""

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show the options last where one of them takes all that follows."""
        options, *arguments = super().collect_usage_pieces(ctx)
        spread = any(isinstance(param, Several) for param in self.params)
        return [*arguments, options] if spread else [options, *arguments]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the name of such an option before each of its values, which end at the next option."""
        several = {name for param in self.params if isinstance(param, Several) for name in param.opts}
        found: list[str] = []
        option = ""
        for arg in args:
            if arg.startswith("-"):
                option = arg if arg in several else ""
            elif option and found[-1] != option:
                found.append(option)
            found.append(arg)
        return super().parse_args(ctx, found)


def out(what: str, required: bool = True) -> Callable[[F], F]:
    """Return the option that says where to write."""
    return click.option("--out", required=required, metavar="PATH", type=place, help=what)


def columns(function: F) -> F:
    """Add the options that name columns of tables of vectors, as those verbs have them that read such tables."""
    from atlas.verbs.parameters.signatures import verb

    known = verb("fit").parameters
    for name in ("id_column", "vector_column"):
        function = click.option(f"--{name.replace('_', '-')}", metavar="NAME", help=known[name].help)(function)
    return function


def lock_file(flag: str) -> Callable[[F], F]:
    """Return the option that says where the lock file is."""
    return click.option(flag, metavar="FILE", type=PATH, default="atlas.lock", show_default=True, help="The lock file.")


def place(text: str) -> Path | str:
    """Return a path; a URL stays as it is, where a path would lose a slash."""
    return text if "://" in text else Path(text)


def option(decorator: Callable[[F], F]) -> click.Parameter:
    """Return the option that a decorator adds to a command."""
    return decorator(lambda: None).__click_params__[0]  # type: ignore[attr-defined]


def read_all(*refs: str, **columns: str) -> list[Vectors]:
    """Read vectors, with notes on those without an encoder, told by dimension alone, and on those without ids."""
    from atlas.artefacts.loading import read_vectors

    found = [read_vectors(ref, **columns) for ref in refs]
    bare = list(dict.fromkeys(ref for ref, vectors in zip(refs, found, strict=True) if not vectors.space.known))
    if bare:
        do = "does" if len(bare) == 1 else "do"
        say(f"Note: {_named(bare)} {do} not say which encoder made the vectors - only the dimension was checked")
    tell_numbered([ref for ref, vectors in zip(refs, found, strict=True) if vectors.numbered], paired=len(refs) > 1)
    return found


def tell_numbered(refs: Sequence[str], paired: bool = False) -> None:
    """Say which rows have made-up numbers for ids, if they may be paired by these or a column may hold better."""
    tables = [ref for ref in refs if ref.lower().endswith((".csv", ".jsonl", ".parquet", ".tsv"))]
    if tables or (refs and paired):
        said = f"Note: the rows of {_named(refs)} have no ids and are numbered from 0"
        say(said + (" - name the column that holds ids with --id-column" if tables else ""))


def _named(refs: Sequence[str]) -> str:
    from atlas.artefacts.sources.stores import shown

    names = [f"'{shown(ref)}'" for ref in refs]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def wrote(what: str, path: str | os.PathLike[str], then: str = "") -> None:
    """Report the output, and which command may be next."""
    say(f"Wrote {what} to {path}" + (f" - next: {then}" if then else ""))


def count(n: int, what: str) -> str:
    """Return '1 row', '1,000 rows'."""
    plural = what + ("es" if what.endswith("s") else "s")
    return f"{n:,} {what if n == 1 else plural}"
