"""Commands that put artefacts to work: apply, stitch and export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from atlas.cli import params
from atlas.cli.output import progress
from atlas.cli.params import config_of, count, read_all, wrote


@click.command("apply")
@click.argument("mapping", metavar="ALIGNMENT|ATLAS")
@click.argument("vectors", nargs=-1, required=True, metavar="VECTORS...")
@params.out("Folder for the vectors, or a .npy, .safetensors or .parquet file.")
@click.option("--inverse", is_flag=True, help="Run the alignment backwards: vectors of the target to the source.")
@params.overwrite
@params.registry
def apply_command(mapping: str, vectors: tuple[str, ...], out: Path, inverse: bool, overwrite: bool, **_: Any) -> None:
    """Map VECTORS of the source to the target, or VECTORS of several spaces through an atlas to the shared one."""
    from atlas.artefacts.loading import load
    from atlas.cards.folder import BARE
    from atlas.storage.files import check_target
    from atlas.verbs.apply import apply

    check_target(out, overwrite, BARE)
    found = load(mapping, ("alignment", "atlas"))
    views = read_all(*vectors)
    made = apply(found, *views, out=out, inverse=inverse, overwrite=overwrite, progress=progress)
    wrote(f"{count(len(made), 'vector')} of '{made.space.id}' ({made.space.dim} dimensions)", out)


@click.command("stitch")
@click.argument("parts", nargs=-1, required=True, metavar="ENCODER [ALIGNMENT] HEAD INPUT")
@params.options
@params.out("Write the predictions here: a .csv or .jsonl file; vectors, if the head is no classifier.", required=False)
@params.columns
@params.batch_size
@params.device
@params.overwrite
@params.as_json
@params.registry
def stitch_command(parts: tuple[str, ...], options: Any, out: Path | None, **rest: Any) -> None:
    """Run the encoder of one model and the head of another on INPUT.

    ENCODER is a component or a stored space, ALIGNMENT maps from it to the space HEAD reads; without one, the encoder's
    vectors go to the head as they are. HEAD may be a stored space, too, whose encoder carries a head. Prints the
    accuracy if the items have labels.
    """
    from atlas.artefacts.loading import load
    from atlas.cli.make import encoder_config
    from atlas.cli.measure import put_metrics
    from atlas.verbs.arguments import find_encoder, find_head, find_items, make_ready
    from atlas.verbs.predict import predict
    from atlas.verbs.stitch import stitch

    if len(parts) not in (3, 4):
        raise click.UsageError(f"Expected ENCODER [ALIGNMENT] HEAD INPUT, got {len(parts)} arguments")
    encoder, *alignment, head, input = parts
    columns = {name: rest[name] for name in ("text_column", "label_column", "id_column")}
    how = {name: rest[name] for name in ("batch_size", "device", "overwrite")}
    found, items = find_encoder(encoder, encoder_config(encoder, options)), find_items(input, **columns)
    make_ready(found, items)
    model = stitch(found, load(alignment[0], "alignment") if alignment else None, find_head(head))
    metrics = predict(model, items, out=out, progress=progress, **how)
    if out:
        wrote("the predictions", out)
    put_metrics(metrics, rest["as_json"], "The items have no classes to compare with")


@click.command("export")
@click.argument("exporter")
@click.argument("parts", nargs=-1, required=True, metavar="[ENCODER] ALIGNMENT [HEAD]")
@params.options
@params.out("The file, or a new folder.")
@params.overwrite
@params.registry
def export_command(exporter: str, parts: tuple[str, ...], options: Any, out: Path, overwrite: bool, **_: Any) -> None:
    """Write ALIGNMENT in the form that another program reads.

    `atlas exporters` lists the forms. With ENCODER, a stored space, and HEAD, it is the stitched model that is written.
    """
    from atlas.artefacts.loading import load
    from atlas.components.exporter import Exporter
    from atlas.plugins.catalogue import component
    from atlas.verbs.arguments import find_encoder, find_head
    from atlas.verbs.export import export
    from atlas.verbs.stitch import stitch

    if len(parts) not in (1, 3):
        raise click.UsageError(f"Expected ALIGNMENT alone, or ENCODER ALIGNMENT HEAD, got {len(parts)} arguments")
    config = config_of(component(Exporter, exporter), options)
    alignment = load(parts[len(parts) // 2], "alignment")
    whole = len(parts) == 3
    model = stitch(find_encoder(parts[0]), alignment, find_head(parts[2])) if whole else alignment
    made = export(exporter, model, out, overwrite=overwrite, **config)
    wrote(f"{'stitched model with ' * whole}alignment '{alignment.id}' for {exporter}", made)
