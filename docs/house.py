"""The plan of the house, as `docs/architecture.md` shows it: a table of the floors and `house.svg`.

python docs/house.py        # draw house.svg anew
"""

from __future__ import annotations

import ast
import html
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PICTURE = Path(__file__).with_name("house.svg")
WIDTH, ROOM, GAP = 960, 44, 12
INK, PAPER, FLOOR = "#333333", "#ffffff", "#dce6f2"


def floors() -> list[list[str]]:
    """Return the packages of each floor, from the ground up, as the layering test has them."""
    tree = ast.parse((ROOT / "tests" / "test_layering.py").read_text(encoding="utf-8"))
    found = next(n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "FLOORS")
    return ast.literal_eval(found)


def face(name: str) -> Path:
    """Return the file whose docstring says what a package, or a module beside the packages, is for."""
    folder = ROOT / "atlas" / name
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


def subject(name: str) -> str:
    """Return what a package is for: the first sentence of its docstring."""
    said = ast.get_docstring(ast.parse(face(name).read_text(encoding="utf-8"))) or "The version."
    return " ".join(said.split("\n\n")[0].split())


def rooms(name: str) -> list[str]:
    """Return the modules of a package; none for a module that stands beside the packages."""
    modules = face(name).parent.glob("*.py") if folder(name) else ()
    return sorted(path.stem for path in modules if path.stem != "__init__")


def folder(name: str) -> bool:
    """Whether a name is that of a package."""
    return (ROOT / "atlas" / name).is_dir()


def table() -> str:
    """Return the floors as a Markdown table, the top one first."""
    lines = ["| floor | package | subject | modules |", "|---|---|---|---|"]
    for number, names in reversed(list(enumerate(floors(), 1))):
        for name in names:
            where = f"`{name}/`" if folder(name) else f"`{name}.py`"
            lines.append(f"| {number} | {where} | {subject(name)} | {', '.join(rooms(name))} |")
    return "\n".join(lines)


def svg() -> str:
    """Return the house as a picture: a row of rooms for each floor, the top one first."""
    rows = list(reversed(floors()))
    height = len(rows) * (ROOM + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="15" role="img" aria-label="The packages of Atlas, floor by floor">',
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
    ]
    for i, names in enumerate(rows):
        y = GAP + i * (ROOM + GAP)
        room = (WIDTH - GAP * (len(names) + 1)) / len(names)
        for k, name in enumerate(names):
            x = GAP + k * (room + GAP)
            label = html.escape(f"{name}/" if folder(name) else f"{name}.py")
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{room:.1f}" height="{ROOM}" rx="6" fill="{FLOOR}"/>')
            parts.append(
                f'<text x="{x + room / 2:.1f}" y="{y + ROOM / 2 + 5}" text-anchor="middle" fill="{INK}">{label}</text>'
            )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(svg(), encoding="utf-8")
    print(f"Drew {PICTURE.name}", file=sys.stderr)
