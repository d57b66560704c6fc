"""The prose of docs, docstrings, comments and messages: phrases that read as translated stay away."""

import io
import re
import sys
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
MOST_WHATS = 1.4


def prose_of_code(path: Path) -> Iterator[str]:
    """Yield comments and texts of a module: docstrings, help and messages."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) or token.type == getattr(tokenize, "FSTRING_MIDDLE", -1):
            yield re.sub(r"\{[^{}]*\}", "", token.string) if token.string[:1] in "fFrR" else token.string


def prose_of_page(path: Path) -> str:
    """Return a page without its code."""
    return re.sub(r"```.*?```|<!--.*?-->|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def prose_in(root: Path) -> dict[str, str]:
    """Return the prose of every file of a checkout by its path."""
    pages = {p: prose_of_page(p) for pattern in PAGES for p in sorted(root.glob(pattern))}
    code = {p: "\n".join(prose_of_code(p)) for pattern in CODE for p in sorted(root.glob(pattern))}
    return {str(path.relative_to(root)): text for path, text in {**pages, **code}.items()}


@pytest.fixture(scope="module")
def prose() -> dict[str, str]:
    return prose_in(ROOT)


def whats_per_thousand_lines(prose: dict[str, str], root: Path = ROOT) -> float:
    """Return how often the word stands in a thousand lines of the files."""
    count = sum(len(re.findall(r"\bwhat\b", text, flags=re.IGNORECASE)) for text in prose.values())
    return 1000 * count / sum(len((root / path).read_text(encoding="utf-8").splitlines()) for path in prose)


@pytest.mark.parametrize("pattern", AVOIDED)
def test_phrases_to_avoid_stay_away(prose, pattern):
    found = {path: re.findall(pattern, text) for path, text in prose.items() if re.search(pattern, text)}
    found.pop("docs/contributing.md", None)
    assert not found, "docs/contributing.md says which words to prefer"


def test_what_is_rare(prose):
    assert whats_per_thousand_lines(prose) < MOST_WHATS, "begin with the thing itself: docs/contributing.md, Words"


def test_the_check_sees_docstrings_comments_and_messages(tmp_path):
    module = tmp_path / "m.py"
    module.write_text('"""What reads vectors."""\n# told of it\nraise ValueError(f"{what} is at hand")\nwhat = 1\n')
    text = "\n".join(prose_of_code(module))
    assert "What reads vectors." in text and "told of" in text and "at hand" in text
    assert len(re.findall(r"\bwhat\b", text, flags=re.IGNORECASE)) == 1


if __name__ == "__main__":
    checkout = Path(sys.argv[1])
    found = prose_in(checkout)
    found.pop("docs/contributing.md", None)
    print(f"what, in 1,000 lines: {whats_per_thousand_lines(found, checkout):.1f}")
    for pattern in AVOIDED:
        print(f"{pattern}: {sum(len(re.findall(pattern, text)) for text in found.values())}")
