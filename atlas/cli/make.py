"""Commands that make something: vectors, anchors, alignments, heads, atlases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from atlas.cli import params
from atlas.cli.params import config_of, count, read_all, wrote
from atlas.progress import bar


@click.command("encode")
@click.argument("encoder")
@click.argument("input")
@params.options
@params.out("Folder for the vectors, or a .npy, .safetensors or .parquet file.")
@click.option("--id", help="Id of the space; by default that of the stored space, or one made of the options.")
@click.option("--save-space", metavar="FOLDER", type=click.Path(path_type=Path), help="Store the encoder here, too.")
@params.columns
@params.batch_size
@params.device
@params.overwrite
@params.registry
def encode_command(
    encoder: str, input: str, options: Any, out: Path, id: str | None, save_space: Path | None, **rest: Any
) -> None:
    """Turn the items of INPUT into vectors.

    ENCODER is a component (`atlas encoders` lists them) or a stored space: a folder or the id of a registry entry.
    INPUT is a folder of images (subfolders name the classes), a .txt, .csv, .tsv or .jsonl file of texts, a .npy,
    .safetensors or .parquet file of arrays, or stored vectors.
    """
    from atlas.artefacts.loading import save
    from atlas.cards.names import slug
    from atlas.storage.files import check_target
    from atlas.verbs.arguments import find_encoder, find_items
    from atlas.verbs.encode import encode

    if save_space:
        check_target(save_space, rest["overwrite"])
        id = id or slug(save_space.name)
    columns = {name: rest[name] for name in ("text_column", "label_column", "id_column")}
    model = find_encoder(encoder, encoder_config(encoder, options))
    items = find_items(input, **columns)
    how = {name: rest[name] for name in ("batch_size", "device", "overwrite")}
    made = encode(model, items, out=out, id=id, progress=bar, **how)
    wrote(f"{count(len(made), 'vector')} of '{made.space.id}' ({made.space.dim} dimensions)", out)
    if save_space:
        model.stored_id = made.space.id
        save(model, save_space, overwrite=rest["overwrite"])
        wrote(f"space '{made.space.id}'", save_space)


def encoder_config(name: str, options: Any) -> dict[str, Any]:
    """Return the options of an encoder, typed if it is a component."""
    from atlas.components.encoder import Encoder
    from atlas.plugins.catalogue import component, components

    return config_of(component(Encoder, name), options) if name in components(Encoder) else dict(options)


@click.command("sample")
@click.argument("sampler")
@click.argument("vectors")
@click.option("-n", required=True, type=int, help="How many anchors.")
@params.seed
@params.options
@click.option("--also", multiple=True, metavar="VECTORS", help="Keep the anchors' vectors in this space, too.")
@params.out("Folder for the anchors.")
@click.option("--id", default="", help="Id of the anchors; by default made of data set, sampler, number and seed.")
@params.overwrite
@params.registry
def sample_command(
    sampler: str, vectors: str, n: int, seed: int, options: Any, also: tuple[str, ...], out: Path, **rest: Any
) -> None:
    """Draw anchors from VECTORS: the items on which spaces are aligned.

    `atlas samplers` lists the samplers.
    """
    from atlas.artefacts.loading import save
    from atlas.components.sampler import Sampler
    from atlas.plugins.catalogue import component
    from atlas.storage.files import check_target
    from atlas.verbs.sample import sample

    check_target(out, rest["overwrite"])
    config = config_of(component(Sampler, sampler), options)
    first, *others = read_all(vectors, *also)
    anchors = sample(sampler, first, n, seed=seed, id=rest["id"], **config)
    for other in others:
        anchors = anchors.encoded_in(other)
    save(anchors, out, overwrite=rest["overwrite"])
    wrote(f"{count(n, 'anchor')} '{anchors.id}'", out)


@click.command("fit")
@click.argument("aligner")
@click.option("--source", required=True, metavar="VECTORS", help="Vectors of the space to map from.")
@click.option("--target", metavar="VECTORS", help="Vectors of the space to map to, of the same items.")
@click.option("--anchors", metavar="ANCHORS", help="Fit on these items alone; by default on all that both have.")
@params.options
@params.out("Folder for the alignment.")
@click.option("--id", default="", help="Id of the alignment; by default made of its spaces and method.")
@params.overwrite
@params.registry
def fit_command(
    aligner: str, source: str, target: str | None, anchors: str | None, options: Any, out: Path, **rest: Any
) -> None:
    """Fit a map from one space to another.

    Rows are paired by item id. `atlas aligners` lists the methods; those that fit on the source alone, such as
    `relative`, take no --target. Those that fit on seeds take the items of --anchors, or all that both have, as
    pairs, and all other vectors of either side without a partner.
    """
    from atlas.artefacts.loading import load, save
    from atlas.components.aligner import Aligner
    from atlas.plugins.catalogue import component
    from atlas.storage.files import check_target
    from atlas.verbs.fit import fit

    check_target(out, rest["overwrite"])
    config = config_of(component(Aligner, aligner), options)
    chosen = load(anchors, "anchors") if anchors else None
    first, *second = read_all(source, *([target] if target else []))
    made = fit(
        aligner,
        source=first,
        target=second[0] if second else None,
        anchors=chosen,
        id=rest["id"],
        progress=bar,
        **config,
    )
    save(made, out, overwrite=rest["overwrite"])
    dims = f"{made.source.dim} to {made.target.dim} dimensions"
    seen = [count(made.n_pairs, "item")] if made.n_pairs else []
    seen += [f"{count(made.n_unpaired, 'vector')} without a known partner"] if made.n_unpaired else []
    wrote(f"alignment '{made.id}' ({dims}, fitted on {' and '.join(seen)})", out, f"atlas apply {out} VECTORS")


@click.command("train")
@click.argument("head")
@click.argument("vectors")
@params.options
@params.seed
@params.out("Folder for the head.")
@click.option("--id", default="", help="Id of the head; by default made of its space and name.")
@params.overwrite
@params.registry
def train_command(head: str, vectors: str, options: Any, seed: int, out: Path, **rest: Any) -> None:
    """Train a head on labelled VECTORS.

    `atlas heads` lists the heads.
    """
    from atlas.artefacts.loading import save
    from atlas.models.heads import HEADS
    from atlas.storage.files import check_target
    from atlas.verbs.train import train

    check_target(out, rest["overwrite"])
    config = config_of(HEADS[head], options) if head in HEADS else {}
    [labelled] = read_all(vectors)
    made = train(head, labelled, id=rest["id"], seed=seed, **config)
    save(made, out, overwrite=rest["overwrite"])
    wrote(f"head '{made.id}' of '{made.space.id}' ({count(len(made.classes), 'class')})", out)


@click.command("compose")
@click.argument("alignments", nargs=-1, required=True, metavar="ALIGNMENT...")
@params.out("Folder for the alignment.")
@click.option("--inverse", multiple=True, metavar="ALIGNMENT", help="Run this one of them backwards; may be repeated.")
@click.option("--id", default="", help="Id of the alignment; by default made of its spaces.")
@params.overwrite
@params.registry
def compose_command(alignments: tuple[str, ...], out: Path, inverse: tuple[str, ...], **rest: Any) -> None:
    """Chain alignments into one: each must reach the space the next one maps from.

    `atlas compose A B --inverse B` with two `relative` alignments on the same anchors maps A's space to B's.
    """
    from atlas.artefacts.loading import load, save
    from atlas.errors import AtlasError, unknown
    from atlas.storage.files import check_target
    from atlas.verbs.compose import compose

    check_target(out, rest["overwrite"])
    for name in set(inverse) - set(alignments):
        raise AtlasError(unknown("alignment to run backwards", name, alignments))
    parts = [(name, load(name, "alignment")) for name in alignments]
    made = compose(*(part.inverse() if name in inverse else part for name, part in parts), id=rest["id"])
    save(made, out, overwrite=rest["overwrite"])
    wrote(f"alignment '{made.id}' ({made.source.dim} to {made.target.dim} dimensions)", out)
