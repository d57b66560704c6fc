"""Pages of the docs' site that lie outside `docs/`: the README, and those of the plugins. A hook of mkdocs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each README beside `docs/`, at the place that links from within `docs/` name without '../'."""
    for page in [ROOT / "README.md", *sorted((ROOT / "plugins").glob("*/README.md"))]:
        where = page.relative_to(ROOT).as_posix()
        name = "overview.md" if where == "README.md" else where
        files.append(File.generated(config, name, content=page.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links between `docs/` and its neighbours to where these pages are in the site."""
    where = page.file.src_uri
    if where == "overview.md":
        return re.sub(r"\]\((?:docs/([^)]+)|LICENSE)\)", lambda found: f"]({found[1] or 'index.md'})", markdown)
    if where.startswith("plugins/"):
        return markdown.replace("](../../docs/", "](../../")
    return markdown.replace("](../plugins/", "](plugins/").replace("](../README.md", "](overview.md")
