"""The page for the authors of plugins lists every name they may use beside the public ones, with a sentence each."""

from __future__ import annotations

import re
from pathlib import Path

from atlas import authors

PAGE = Path(__file__).parents[2] / "docs" / "authors.md"


def test_the_page_lists_every_name_and_no_other():
    listed = re.findall(r"^- `(\w+)`: .+\.$", PAGE.read_text(), re.MULTILINE)
    assert sorted(listed) == authors.__all__
