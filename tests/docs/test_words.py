"""The prose of docs, docstrings, comments and messages: phrases that read as translated stay away."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Where prose is; tests and generated pages are looked at through their sources.
PAGES = ["README.md", "SECURITY.md", "docs/**/*.md", "plugins/*/README.md"]
CODE = ["atlas/**/*.py", "plugins/atlas_builtin/*.py", "plugins/latent-atlas-*/atlas_*/**/*.py"]
# Phrases with a plain one to prefer, as docs/contributing.md lists them.
AVOIDED = [
    r"told of\b",
    r"\bat hand\b",
    r"\bwhoever\b",
    r"\bWhat (?:reads|makes|gives|takes|is|was|has|it)\b[^?.\n]*[.:]",
]
# "What" as a pronoun, in every thousand lines; comparable projects have 1.4.
MOST_WHATS = 2.0


def prose_of_code(path: Path) -> Iterator[str]:
    """Yield comments and texts of a module: docstrings, help and messages."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) or token.type == getattr(tokenize, "FSTRING_MIDDLE", -1):
            yield re.sub(r"\{[^{}]*\}", "", token.string) if token.string[:1] in "fFrR" else token.string


def prose_of_page(path: Path) -> str:
    """Return a page without its code."""
    return re.sub(r"```.*?```|<!--.*?-->|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(scope="module")
def prose() -> dict[str, str]:
    """Return the prose of every file by its path."""
    pages = {p: prose_of_page(p) for pattern in PAGES for p in sorted(ROOT.glob(pattern))}
    code = {p: "\n".join(prose_of_code(p)) for pattern in CODE for p in sorted(ROOT.glob(pattern))}
    return {str(path.relative_to(ROOT)): text for path, text in {**pages, **code}.items()}


@pytest.mark.parametrize("pattern", AVOIDED)
def test_phrases_to_avoid_stay_away(prose, pattern):
    found = {path: re.findall(pattern, text) for path, text in prose.items() if re.search(pattern, text)}
    found.pop("docs/contributing.md", None)
    assert not found, "docs/contributing.md says which words to prefer"


def test_what_is_rare(prose):
    count = sum(len(re.findall(r"\bwhat\b", text, flags=re.IGNORECASE)) for text in prose.values())
    lines = sum(len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in prose)
    assert count / lines * 1000 < MOST_WHATS, "begin with the thing itself: docs/contributing.md, Words"


def test_the_check_sees_docstrings_comments_and_messages(tmp_path):
    module = tmp_path / "m.py"
    module.write_text('"""What reads vectors."""\n# told of it\nraise ValueError(f"{what} is at hand")\nwhat = 1\n')
    text = "\n".join(prose_of_code(module))
    assert "What reads vectors." in text and "told of" in text and "at hand" in text
    assert len(re.findall(r"\bwhat\b", text, flags=re.IGNORECASE)) == 1
