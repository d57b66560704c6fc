"""Listings of components with their options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from atlas.cli import params
from atlas.cli.output import put, put_either, put_json, put_table


def listing(kind: str) -> click.Group:
    """Return the command that lists the components of a kind, and shows one with its options."""

    @click.group(kind + "s", invoke_without_command=True, help=f"List the {kind}s that are installed.")
    @params.as_json
    @click.pass_context
    def group(ctx: click.Context, as_json: bool) -> None:
        if ctx.invoked_subcommand is None:
            found = described(kind)
            rows = [[one["name"], one["summary"], one["plugin"]] for one in found.values()]
            header = ["name", "description", "from"]
            put_either(as_json, [*found.values()], header, rows, f"No {kind} is installed")

    @group.command("show", help=f"Describe {'an' if kind[0] in 'ae' else 'a'} {kind} and its options.")
    @click.argument("name")
    @params.as_json
    def show(name: str, as_json: bool) -> None:
        found = described(kind)
        if name not in found:
            from atlas.plugins.catalogue import missing

            raise missing(kind, name, found)
        one = found[name]
        if as_json:
            put_json(one)
        else:
            put(f"{kind} {name}\n  {one['summary']}\n")
            put_options(one["options"])

    return group


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
        put_table(["option", "type", "default", "description"], [[str(value) for value in row] for row in rows])
    else:
        put("It has no options.")


def described(kind: str) -> Mapping[str, dict[str, Any]]:
    """Describe the components of a kind by name; of a name that two plugins claim, the first."""
    from atlas.plugins.remembered import remembered

    return remembered("heads", found_heads) if kind == "head" else remembered("components", found_components)[kind]


def found_components() -> tuple[Any, bool]:
    """Describe the components of every kind, and say whether no plugin has faults, which would have to be told."""
    from atlas.components.kinds import KINDS
    from atlas.plugins.catalogue import components, describe, faults

    found = {name: [classes[0] for classes in components(kind).values()] for name, kind in KINDS.items()}
    return {name: by_name(describe(classes)) for name, classes in found.items()}, not faults()


def by_name(described: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return descriptions by name."""
    return {one["name"]: one for one in described}


def found_heads() -> tuple[Any, bool]:
    """Describe the heads, which are the same always."""
    from atlas.models.heads import HEADS
    from atlas.plugins.catalogue import describe

    return by_name(describe(HEADS.values())), True


@click.command("metrics")
@params.as_json
def metrics_command(as_json: bool) -> None:
    """List the metrics of `atlas evaluate` and `atlas compare`."""
    from atlas.plugins.remembered import remembered

    header = ["name", "of", "better", "what_it_measures"]
    rows = remembered("metrics", found_metrics)
    data = [dict(zip(header, row, strict=True)) for row in rows]
    put_either(as_json, data, [name.replace("_", " ") for name in header], rows)


def found_metrics() -> tuple[Any, bool]:
    """Describe the metrics, which are the same always."""
    from atlas.metrics import METRICS

    better = {True: "higher", False: "lower"}
    return [[one.name, one.takes, better[one.higher_is_better], one.summary] for one in METRICS.values()], True


encoders_command = listing("encoder")
samplers_command = listing("sampler")
aligners_command = listing("aligner")
aggregators_command = listing("aggregator")
exporters_command = listing("exporter")
engines_command = listing("engine")
heads_command = listing("head")
