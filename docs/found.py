"""Pages by which programs find Atlas, made of the program and the docs: the commands in SKILL.md, and llms.txt.

Both are brought up to date when cog is run on SKILL.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas.cards.yaml import parse_yaml
from atlas.cli import COMMANDS

DOCS = Path(__file__).parent
HEAD = """\
# Atlas

> A plugin-based model zoo and registry of latent-space alignments: small maps between the embedding spaces of encoders
> that were trained apart. With one, vectors of a new model search the index of an old one, and a head of one model
> reads vectors of another.

`pip install latent-atlas` brings the command `atlas` and the module `atlas`. SKILL.md says how an agent uses them.
"""


def commands() -> str:
    """Return the commands as a list in Markdown, by section."""
    parts = []
    for title, section in COMMANDS.items():
        parts += [f"\n{title}:\n", *(f"- `atlas {name}`: {said}" for name, (_, said) in section.items())]
    return "\n".join(parts)


def pages(entries: Any, title: str = "Start") -> Iterator[tuple[str, str]]:
    """Yield the section and the file of each page that the navigation of the site names."""
    for entry in entries if isinstance(entries, list) else [entries]:
        if isinstance(entry, dict):
            for name, inside in entry.items():
                yield from pages(inside, title if isinstance(inside, str) else name)
        else:
            yield title, entry


def about(page: str) -> tuple[str, str]:
    """Return the title of a page, and the first sentence of its text."""
    text = re.sub(r"<!--.*?-->|```.*?```", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    title, _, body = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL).lstrip().removeprefix("# ").partition("\n")
    prose = [line for line in body.splitlines() if re.match(r"[A-Z`*\[]", line) and not line.startswith("![")]
    first = re.split(r"(?<=[a-z0-9)`%][.:])\s(?![a-z])", prose[0])[0] if prose else ""
    return title.strip(), re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", first).rstrip(".:")


def llms() -> str:
    """Return llms.txt: every page of the docs with a sentence, by section."""
    nav = re.search(r"^nav:\n((?: +.*\n)+)", (DOCS / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert nav
    parts, before = [HEAD], ""
    for section, page in pages(parse_yaml(nav[0], "mkdocs.yml")["nav"]):
        parts += [f"\n## {section}\n\n"] if section != before else []
        title, said = about(page)
        parts.append(f"- [{title}]({page})" + (f": {said}\n" if said else "\n"))
        before = section
    return "".join(parts)


def write_llms() -> None:
    """Write llms.txt, if it is not as it should be."""
    if (DOCS / "llms.txt").read_text(encoding="utf-8") != (text := llms()):
        (DOCS / "llms.txt").write_text(text, encoding="utf-8")
