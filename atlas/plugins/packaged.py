"""Models in installed packages, by names that hold on any computer: 'package:NAME/PATH'."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath

from atlas.errors import AtlasError

SCHEME = "package:"
_REF = re.compile(SCHEME + r"([A-Za-z0-9][A-Za-z0-9._-]*)/([^\\:\0]+)")


def packaged(ref: str) -> Path | None:
    """Return the file or folder that 'package:NAME/PATH' means; None for a text of another form.

    Nothing is imported. An encoder made by such a name need not store its weights: its space has their hash.

    Args:
        ref: NAME is that of the distribution, as pip has it, and PATH an installed file, such as wordllama/weights.

    Raises:
        AtlasError: the package is not installed, or has no such path; the sentence lacks its subject, the component.
    """
    if not ref.startswith(SCHEME):
        return None
    if not (match := _REF.fullmatch(ref)):
        raise AtlasError(f"cannot read {ref!r} - write package:NAME/PATH")
    try:
        found = distribution(match[1])
    except PackageNotFoundError:
        raise AtlasError(f"needs the package {match[1]}, which is not installed - install it if you trust it") from None
    parts = PurePosixPath(match[2]).parts
    if not any(file.parts[: len(parts)] == parts for file in found.files or ()):
        raise AtlasError(f"finds no {match[2]!r} in the package {match[1]} {found.version}")
    return Path(str(found.locate_file(match[2])))
