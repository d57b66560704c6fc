"""Listings of components with their options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from atlas.cli import params
from atlas.cli.output import put, put_json, put_table
from atlas.errors import AtlasError, unknown

if TYPE_CHECKING:
    from atlas.components.options import Component

Found = Callable[[], Mapping[str, "type[Component]"]]


def listing(kind: str, find: Found) -> click.Group:
    """Return the command that lists the components of a kind, and shows one with its options."""

    @click.group(kind + "s", invoke_without_command=True, help=f"List the {kind}s that are installed.")
    @params.as_json
    @click.pass_context
    def group(ctx: click.Context, as_json: bool) -> None:
        if ctx.invoked_subcommand is None:
            described = describe(find())
            if as_json:
                put_json(described)
            else:
                rows = [[one["name"], one["summary"], one["plugin"]] for one in described]
                put_table(["name", "what it does", "from"], rows, f"No {kind} is installed")

    @group.command("show", help=f"Describe a {kind} and its options.")
    @click.argument("name")
    @params.as_json
    def show(name: str, as_json: bool) -> None:
        found = find()
        if name not in found:
            raise AtlasError(unknown(kind, name, found))
        [one] = describe({name: found[name]})
        if as_json:
            put_json(one)
        else:
            put(f"{kind} {name}\n  {one['summary']}\n")
            put_options(one["options"])

    return group


def describe(found: Mapping[str, type[Component]]) -> list[dict[str, Any]]:
    """Return name, sentence, provider and options of components."""
    from atlas.plugins.catalogue import describe as described

    return described(found.values())


def put_options(options: list[dict[str, Any]]) -> None:
    """Print the options of a component."""
    rows = [
        [
            f"-o {opt['name']}",
            opt["type"],
            "required" if opt["required"] else str(opt["default"]).lower() if opt["type"] == "bool" else opt["default"],
            opt["help"] + (f" (one of {', '.join(opt['choices'])})" if "choices" in opt else ""),
        ]
        for opt in options
    ]
    if rows:
        put_table(["option", "type", "default", "what it does"], [[str(value) for value in row] for row in rows])
    else:
        put("It has no options.")


def installed(kind: str) -> Found:
    """Return a function that finds the components of a kind; of a name that two plugins claim, the first is shown."""

    def find() -> Mapping[str, type[Component]]:
        from atlas.components.kinds import KINDS
        from atlas.plugins.catalogue import components

        return {name: classes[0] for name, classes in components(KINDS[kind]).items()}

    return find


def heads() -> Any:
    """Return the heads by name."""
    from atlas.models.heads import HEADS

    return HEADS


@click.command("metrics")
@params.as_json
def metrics_command(as_json: bool) -> None:
    """List the metrics of `atlas evaluate` and `atlas compare`."""
    from atlas.metrics import METRICS

    header = ["name", "of", "better", "what_it_measures"]
    rows = [
        [one.name, one.takes, "higher" if one.higher_is_better else "lower", one.summary] for one in METRICS.values()
    ]
    if as_json:
        put_json([dict(zip(header, row, strict=True)) for row in rows])
    else:
        put_table([name.replace("_", " ") for name in header], rows)


encoders_command = listing("encoder", installed("encoder"))
samplers_command = listing("sampler", installed("sampler"))
aligners_command = listing("aligner", installed("aligner"))
aggregators_command = listing("aggregator", installed("aggregator"))
exporters_command = listing("exporter", installed("exporter"))
heads_command = listing("head", heads)
