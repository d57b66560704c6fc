"""The model card of an exported model: its description, before the library's own text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from atlas import Alignment, AtlasError
from atlas.authors import dump_yaml, parse_yaml
from atlas_sentence_transformers.source import Source

_FRONT = re.compile(r"\A\ufeff?---[ \t]*\n(.*?\n)?---[ \t]*(\n|\Z)", re.DOTALL)
# Fields on the card of the source's model that hold for the whole as well. Its figures do not.
_KEPT = ("language", "license", "license_name", "license_link")
_BELOW = "The rest is written by sentence-transformers: the card of the source's model, if it had one."


def write_card(path: Path, alignment: Alignment, source: Source, documents: Source | None = None) -> None:
    """Put the description of an exported model before the library's text.

    Args:
        path: the README.md that the library has written, if it has.
        alignment: the map.
        source: the model it maps from.
        documents: the model of the target, if it encodes documents.
    """
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    match = _FRONT.match(old)
    metadata = _metadata(match[1] or "" if match else "", source)
    rest = old[match.end() :].strip() if match else old.strip()
    below = f"\n\n---\n\n{_BELOW}\n\n{rest}" if rest else ""
    body = _body(alignment, source, documents)
    path.write_text(f"---\n{dump_yaml(metadata)}---\n\n{body}{below}\n", encoding="utf-8")


def _metadata(block: str, source: Source) -> dict[str, Any]:
    try:
        found = parse_yaml(block, "the metadata") if block.strip() else {}
    except AtlasError:
        found = {}
    kept = {name: found[name] for name in _KEPT if name in found} if isinstance(found, dict) else {}
    return {
        **kept,
        "library_name": "sentence-transformers",
        "pipeline_tag": "feature-extraction",
        "tags": ["sentence-transformers", "feature-extraction", "vector-alignment", "latent-atlas"],
        **({} if source.local else {"base_model": source.name}),
    }


def _body(alignment: Alignment, source: Source, documents: Source | None) -> str:
    target = alignment.target
    fitted = f"fitted with `{alignment.method}`" + (f" on {alignment.n_pairs} pairs" if alignment.n_pairs else "")
    terms = f" under the licence {alignment.license}" if alignment.license else ""
    route = " of the route for queries" if documents else ""
    both = f"Queries only: {_named(documents)} encodes documents, as they are.\n" if documents else ""
    call = "encode_query" if documents else "encode"
    more = '\nindex = model.encode_document(["a text"])' if documents else ""
    return f"""\
# Vectors of {target.id}, made by {source.name}

{_named(source)[0].upper()}{_named(source)[1:]},
followed by an affine map from its vectors (`{alignment.source.id}`, {alignment.source.dim} dimensions)
to those of `{target.id}` ({target.dim} dimensions).
{both}Its vectors can be compared with those of `{target.id}`, such as those of an index that was built with it.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
vectors = model.{call}(["a text"])  # shape (1, {target.dim}){more}
```

The map is the alignment `{alignment.id}`, {fitted}{terms}, and its weight and bias are in the last module{route}.
{_figures(alignment)}It was written by Atlas (`pip install latent-atlas`), which is not needed to use it."""


def _named(source: Source) -> str:
    kind, pin = ("local model", "sha256 of its files") if source.local else ("model", "commit")
    return f"the {kind} `{source.name}` ({pin} `{source.revision}`)"


def _figures(alignment: Alignment) -> str:
    if not alignment.metrics:
        return ""
    rows = [f"| {m.name} | {m.value:.4g} | {m.dataset} {m.split} ({m.n} items) |" for m in alignment.metrics]
    return "\n".join(["", "| measured of the map | | on |", "|---|---|---|", *rows, "", ""])
