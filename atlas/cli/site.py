"""The site command: registries as pages to look at."""

from __future__ import annotations

from pathlib import Path

import click

from atlas.cli import params


@click.command("site")
@click.argument("registries", nargs=-1, metavar="[REGISTRY]...", type=click.Path(path_type=Path))
@params.out("Folder for the pages.")
@params.overwrite
def site_command(registries: tuple[Path, ...], out: Path, overwrite: bool) -> None:
    """Write registries as pages to look at: a listing, a page for each artefact and space, and the graph of spaces.

    The pages work from the folder and on any host of static files, and load nothing from elsewhere. Without a REGISTRY,
    they show those of ATLAS_REGISTRY and the shipped one.
    """
    from atlas.site.pages import site

    shown = site(registries, out, overwrite=overwrite)
    params.wrote(f"a site of {params.count(shown, 'artefact')}", out, f"open {out / 'index.html'}")
