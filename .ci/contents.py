"""Compare the files in a wheel and an sdist with those of the repository: nothing more, nothing less, nothing large.

The README in their metadata may have no link to a file, since PyPI has none of them.

python .ci/contents.py dist/*
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST = 20 * 2**20
# A link in Markdown that is no address.
LINK = re.compile(r"\]\((?!https?:|#)([^)]*)\)")
# Where in the wheel each folder of the repository lies.
PLACES = {"atlas/": "atlas/", "plugins/atlas_builtin/": "atlas_builtin/", "registry/": "atlas/_registry/"}


def tracked() -> set[str]:
    """Return the files of the repository that are shipped."""
    listed = subprocess.run(["git", "ls-files", *PLACES], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.split())


def wheel_names(files: set[str]) -> set[str]:
    """Return what a wheel must hold beside its metadata."""
    return {new + name.removeprefix(old) for name in files for old, new in PLACES.items() if name.startswith(old)}


def check(path: Path) -> list[str]:
    """Return what is wrong with a wheel or an sdist."""
    if path.suffix == ".whl":
        archive = zipfile.ZipFile(path)
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
        wanted = wheel_names(tracked())
        [about] = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(about).decode()
    else:
        with tarfile.open(path) as file:
            found = {name.split("/", 1)[1] for name in file.getnames() if "/" in name}
            text = file.extractfile(f"{path.name.removesuffix('.tar.gz')}/PKG-INFO").read().decode()  # type: ignore[union-attr]
        wanted = tracked() | {"README.md", "LICENSE", "pyproject.toml", "PKG-INFO", ".gitignore"}
    wrong = [f"{path.name}: {name} is missing" for name in sorted(wanted - found)]
    wrong += [f"{path.name}: {name} does not belong there" for name in sorted(found - wanted)]
    wrong += [f"{path.name}: PyPI cannot follow the README's link to {link}" for link in LINK.findall(text)]
    if path.stat().st_size > MOST:
        wrong.append(f"{path.name}: {path.stat().st_size / 2**20:.0f} MB are more than {MOST // 2**20}")
    print(f"{path.name}: {len(found)} files, {path.stat().st_size / 2**20:.1f} MB")
    return wrong


if __name__ == "__main__":
    faults = [fault for path in sys.argv[1:] for fault in check(Path(path))]
    print("\n".join(faults) or "as they should be")
    sys.exit(bool(faults))
