"""What a model card says, in words: between the marks of a README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atlas.cards.kinds import Card, Metric
from atlas.cards.space import Space
from atlas.hub.model_card import method_of, spaces_of


def body(card: Card, repo: str, extras: Mapping[str, str] = {}, items: Sequence[str] = ()) -> str:
    """Return what stands between the marks.

    Args:
        card: of the artefact.
        repo: owner/name.
        extras: text of the optional files beside the card, by name: 'curve.csv', 'recipe.yaml'; a picture has ''.
        items: names of the files of raw items that the repository holds.
    """
    parts = [f"# {card.id}", plain(card.description), _summary(card), _picture(card, extras)]
    if hasattr(card, "metrics"):
        parts.append(_figures(card, repo))
    if "curve.csv" in extras:
        parts.append(_curve(extras["curve.csv"]))
    parts += [_usage(card, repo), _limits(card, items)]
    if "recipe.yaml" in extras:
        fence = "`" * 4
        parts.append(f"## How it was made\n\n{fence}yaml\n{extras['recipe.yaml'].strip()}\n{fence}")
    parts.append(_citation(card, repo))
    return "\n\n".join(part for part in parts if part)


def plain(text: Any) -> str:
    """Return text that Markdown shows as it is, on one line."""
    escaped = " ".join(str(text).split())
    for char in "\\|<>`*_[]":
        escaped = escaped.replace(char, {"<": "&lt;", ">": "&gt;"}.get(char, f"\\{char}"))
    return escaped


def _space(space: Space) -> str:
    made = f", made by {plain(space.encoder)}" if space.encoder else ""
    model = space.identity.get("model") or space.identity.get("repo")
    made += f" {plain(model)}" if model else ""
    return f"**{space.id}** ({space.dim} dimensions{made})"


def _with(config: Mapping[str, Any]) -> str:
    said = ", ".join(f"{key} = {plain(value)[:200]}" for key, value in config.items())
    return f" with {said}" if said else ""


def _summary(card: Any) -> str:
    """Say in a few sentences what the artefact is, and from what it was made."""
    how = f"`{method_of(card)}`{_with(getattr(card, 'config', {}))}" if method_of(card) else ""
    origin = f" of {plain(card.dataset)}" if getattr(card, "dataset", "") else ""
    anchors = f" (anchors `{card.anchors}`)" if getattr(card, "anchors", "") else ""
    spaces = spaces_of(card)
    if card.kind == "alignment":
        counts = ((card.n_pairs, "pairs"), (card.n_unpaired, "vectors without a known partner"))
        seen = " and ".join(f"{n:,} {what}" for n, what in counts if n)
        pairs = f", fitted on {seen}{origin}{anchors}" if seen else ""
        return (
            f"A map from the vectors of one encoder to those of another: from {_space(card.source)} to "
            f"{_space(card.target)}. Method: {how}{pairs}."
        )
    if card.kind == "atlas":
        charts = ", ".join(map(_space, spaces["source"]))
        fitted = f", fitted on items{origin}{anchors}" if origin or anchors else ""
        return f"Maps from several spaces into one: from {charts} to {_space(card.space)}. Method: {how}{fitted}."
    if card.kind == "anchors":
        within = f", with their vectors in {', '.join(map(_space, card.spaces))}" if card.spaces else ""
        drawn = f", drawn by {how}" if how else ""
        return f"{card.n:,} items{origin} that spaces are aligned on{drawn}{within}."
    if card.kind == "vectors":
        return f"{card.n:,} vectors{origin} in {_space(card.space)}."
    if card.kind == "head":
        classes = f" It tells {len(card.classes)} classes apart." if card.classes else ""
        trained = f", trained on vectors{origin}" if origin else ""
        return f"A head, {how}, that reads vectors of {_space(card.space)}{trained}.{classes}"
    return f"The encoder of {_space(card.space)}{_with({k: v for k, v in card.config.items() if k != 'layers'})}."


def _picture(card: Card, extras: Mapping[str, str]) -> str:
    return next((f"![{card.id}]({name})" for name in ("picture.svg", "picture.png") if name in extras), "")


def _figures(card: Any, repo: str) -> str:
    """Show the figures beside what gives them meaning, and say where they can be measured again."""
    if not card.metrics:
        return "## How good it is\n\nNothing has been measured. Measure it on vectors of your own first."
    floor = "no alignment" if card.kind == "alignment" else "always the commonest class"
    header = ["metric", "value", "95 % interval", "ceiling: the target's own vectors", f"floor: {floor}", "on", "items"]
    rows = [_row(metric) for metric in card.metrics]
    kept = [i for i in range(len(header)) if i != 3 or any(row[i] for row in rows)]
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join("| " + " | ".join(line[i] for i in kept) + " |" for line in lines)
    return f"## How good it is\n\n{table}{_where(card, repo)}"


def _row(m: Metric) -> list[str]:
    interval = f"{_number(m.low)} to {_number(m.high)}" if m.low is not None and m.high is not None else ""
    data = " ".join(plain(part) for part in (m.dataset, m.split) if part)
    figures = [f"**{_number(m.value)}**", interval, _number(m.native), _number(m.floor)]
    return [plain(m.name), *figures, data, f"{m.n:,}" if m.n else ""]


def _where(card: Any, repo: str) -> str:
    if not card.evaluation:
        return ""
    named = [f"- {plain(part)}: `{ref.replace('`', '')}`" for part, ref in card.evaluation.items()]
    return "\n".join(["", "", "Measured on:", "", *named, "", f"`atlas verify hf://{repo}` measures it again."])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _curve(text: str) -> str:
    how = ""
    if text.startswith("pairs,draws,"):
        how = "The same method fitted on random subsets of the pairs, each measured on the same items as above.\n\n"
    return f"## How few pairs would do\n\n{how}{_csv(text)}"


def _csv(text: str) -> str:
    rows = [[plain(cell) for cell in line.split(",")] for line in text.strip().splitlines()]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


_CALLS = {
    "alignment": ("alignment", "mapped = alignment(vectors)"),
    "atlas": ("merged", "shared = merged(vectors_of_one_space, vectors_of_another)"),
    "head": ("head", "classes = head.predict(vectors)"),
    "space": ("encoder", "vectors = list(encoder.encode(items))"),
    "anchors": ("anchors", "print(len(anchors), anchors.ids[:3])"),
    "vectors": ("vectors", "print(vectors.data.shape, vectors.ids[:3])"),
}


def _usage(card: Card, repo: str) -> str:
    name, call = _CALLS[card.kind]
    if card.kind == "alignment":
        call += f"  # (n, {card.source.dim}) to (n, {card.target.dim})"  # type: ignore[attr-defined]
    lines = ["## Use", "", "```python", "import atlas", f'{name} = atlas.load("hf://{repo}")', call, "```"]
    if set(card.tensors) == {"weight", "bias"}:
        lines += ["", "Without Atlas:", "", "```python"]
        lines += ["import huggingface_hub, safetensors.numpy"]
        lines += [f'file = huggingface_hub.hf_hub_download("{repo}", "model.safetensors")']
        made = "scores" if card.kind == "head" else "mapped"
        lines += [f"{made} = (lambda t: vectors @ t['weight'] + t['bias'])(safetensors.numpy.load_file(file))", "```"]
    return "\n".join(
        [*lines, "", f"Add `@` and a commit to the name, `hf://{repo}@...`, to always get the same bytes."]
    )


def _limits(card: Any, items: Sequence[str]) -> str:
    """Say what the artefact is for, and what it is not for."""
    found = []
    if items:
        names = " and ".join(f"[{name}]({name})" for name in items)
        found.append(f"**This repository holds raw items**, in {names}: whoever can read it can read them.")
    for part, spaces in spaces_of(card).items():
        if part != "target" and card.kind in ("alignment", "atlas", "head"):
            prints = ", ".join(f"`{s.id}` ({s.fingerprint[:12] or 'known by its dimension alone'})" for s in spaces)
            found.append(f"It reads vectors of {prints} and no other: same encoder, same weights, same options.")
    domain = getattr(card, "dataset", "")
    if card.kind in ("alignment", "atlas", "head"):
        what = f"on {plain(domain)}" if domain else "on data that its card does not name"
        found.append(f"It was fitted {what}; on items of another kind it may be much worse, so measure it there first.")
    found.append("Vectors are not anonymous: whoever has the encoder can recover much of an item from its vector.")
    if card.kind in ("anchors", "vectors"):
        found.append(
            f"This repository holds ids and vectors of items{'' if items else ', and none of the items themselves'}."
        )
    elif card.kind != "space":
        only_map = set(card.tensors) <= {"weight", "bias"}
        held = "no vector of any item" if only_map else "numbers that may contain vectors of items"
        none = "" if items else ", and none of the items it was fitted on"
        found.append(f"This repository holds {held}{none}.")
    return "## Intended use and limits\n\n" + "\n".join(f"- {line}" for line in found)


def _citation(card: Card, repo: str) -> str:
    owner = repo.split("/")[0]
    key = "".join(char if char.isalnum() else "_" for char in card.id)
    fields = {"title": card.id, "author": owner, "note": f"{repo}, made with latent-atlas"}
    inner = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"## Citation\n\n```bibtex\n@misc{{{key},\n{inner}\n}}\n```"
