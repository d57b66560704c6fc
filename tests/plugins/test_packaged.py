"""Models named by the installed package that has them: found without an import, and nothing else is."""

from __future__ import annotations

import pluggy
import pytest

from atlas.errors import AtlasError
from atlas.plugins.packaged import packaged


def test_files_and_folders_of_a_package_are_found():
    assert packaged("package:pluggy/pluggy/__init__.py").samefile(pluggy.__file__)
    assert packaged("package:pluggy/pluggy").is_dir()
    assert packaged("owner/name") is None


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("package:no-such-package/model", "needs the package no-such-package, which is not installed"),
        ("package:pluggy/click/core.py", "finds no 'click/core.py' in the package pluggy"),
        ("package:pluggy/pluggy/../click/core.py", "finds no"),
        ("package:pluggy//etc/passwd", "finds no '/etc/passwd' in"),
        ("package:pluggy", "write package:NAME/PATH"),
        ("package:../x/y", "finds|write|needs"),
        ("package:\x1b[31m/x", r"cannot read 'package:\\x1b\[31m/x'"),
    ],
)
def test_other_references_are_refused(ref, said):
    with pytest.raises(AtlasError, match=said):
        packaged(ref)
