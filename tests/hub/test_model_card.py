"""What a push measures for the model card: figures between floor and ceiling, how few pairs would do, a picture."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hubtools import CLIENT_WARNS

import atlas
from atlas.cards.folder import read_card
from atlas.errors import AtlasError, CardError
from atlas.hub.pulling import pull
from atlas.sharing.publishing import push
from atlas.sharing.verifying import verify

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS
FIRST, LAST = torch.arange(80), torch.arange(80, 120)


@dataclass
class Fitted:
    """An alignment in a folder, the vectors it was fitted on, and references to those it was not, and to a head."""

    folder: Path
    fitted_on: list[str]
    held_out: list[str]
    head: str
    commits: dict[str, str]


@pytest.fixture
def fitted(hub, repo: str, pair, tmp_path: Path) -> Fitted:
    target = pair.target.of_items(list(pair.source.ids))
    train = pair.source.take(FIRST), target.take(FIRST)
    held_out: dict[str, Any] = {"source": pair.source.take(LAST), "target": target.take(LAST)}
    held_out["head"] = atlas.train("nearest-mean", train[1])
    folders = [str(tmp_path / name) for name in ("x", "y")]
    for vectors, folder in zip(train, folders, strict=True):
        vectors.save_pretrained(folder)
    atlas.fit("procrustes", source=train[0], target=train[1]).save_pretrained(tmp_path / "a")
    pinned = {name: artefact.push_to_hub(f"{repo}-{name}").pinned for name, artefact in held_out.items()}
    refs = {name: f"hf://{repo}-{name}" for name in held_out}
    return Fitted(tmp_path / "a", folders, [refs["source"], refs["target"]], refs["head"], pinned)


def rows_of(text: str) -> list[list[str]]:
    return [line.split(",") for line in text.splitlines()]


def test_a_push_measures_what_the_card_then_says(hub, repo: str, fitted: Fitted) -> None:
    on = [*fitted.held_out, fitted.head]
    done = push(fitted.folder, repo, evaluated_on=on, fitted_on=fitted.fitted_on)
    card: Any = pull(repo).card
    assert card.evaluation == fitted.commits
    figures = {metric.name: metric for metric in card.metrics}
    assert {"accuracy", "self-recall@10", "cosine"} <= set(figures)
    accuracy = figures["accuracy"]
    assert accuracy.n == 40
    assert accuracy.floor < accuracy.low <= accuracy.value <= accuracy.high
    assert accuracy.floor < accuracy.value - 0.2
    assert accuracy.native >= accuracy.value - 0.05
    rows = rows_of(done.files["curve.csv"].decode())  # type: ignore[union-attr]
    assert [row[0] for row in rows] == ["pairs", "10", "30", "80"]
    assert rows[0] == ["pairs", "draws", "accuracy", "lowest", "highest"]
    assert [row[1] for row in rows[1:]] == ["3", "3", "1"]
    # With all pairs it is the published map.
    assert float(rows[-1][2]) == pytest.approx(accuracy.value, abs=1e-4)
    assert "| 80 | 1 |" in done.readme
    assert "measured on the same items as above" in done.readme
    assert "![a__b__procrustes](picture.png)" in done.readme
    assert done.files["picture.png"][:8] == b"\x89PNG\r\n\x1a\n"  # type: ignore[index]
    assert {check.ok for check in verify(done.pinned)} == {True}
    # The same is measured again, so nothing changes; and no item is named.
    assert push(fitted.folder, repo, evaluated_on=on, fitted_on=fitted.fitted_on).changed == ()
    assert "item-" not in done.readme + done.files["curve.csv"].decode()  # type: ignore[union-attr]
    # The folder says the same as what was made of it.
    own: Any = read_card(fitted.folder)
    assert (own.metrics, own.evaluation) == (card.metrics, card.evaluation)


def test_without_a_head_or_the_pairs_less_is_said(hub, repo: str, fitted: Fitted, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    plan = push(fitted.folder, repo, evaluated_on=fitted.held_out, dry_run=True)
    assert set(plan.files) == {"config.yaml", "model.safetensors", "README.md"}
    assert "| cosine |" in plan.readme
    assert "accuracy" not in plan.readme
    assert "How few pairs" not in plan.readme


def test_files_beside_the_card_come_first(hub, repo: str, fitted: Fitted) -> None:
    (fitted.folder / "curve.csv").write_text("pairs,mine\n5,0.1\n")
    (fitted.folder / "picture.png").write_bytes(b"mine")
    done = push(fitted.folder, repo, evaluated_on=fitted.held_out, fitted_on=fitted.fitted_on)
    assert "| pairs | mine |\n|---|---|\n| 5 | 0.1 |\n" in done.readme
    folder = Path(hub_download(repo, "picture.png")).parent
    assert (folder / "picture.png").read_bytes() == b"mine"
    assert Path(hub_download(repo, "curve.csv")).read_text() == "pairs,mine\n5,0.1\n"


def hub_download(repo: str, name: str) -> str:
    from huggingface_hub import constants, hf_hub_download

    return hf_hub_download(repo, name, endpoint=constants.ENDPOINT)


def test_a_curve_is_measured_on_other_items(hub, repo: str, fitted: Fitted, pair, tmp_path: Path) -> None:
    for name in ("source", "target"):
        getattr(pair, name).save_pretrained(tmp_path / name)
    everything = [str(tmp_path / name) for name in ("source", "target")]
    # Its card tells which of all it was fitted on, and the curve is drawn from these.
    on = {"evaluated_on": fitted.held_out, "dry_run": True}
    curves = [push(fitted.folder, repo, **on, fitted_on=given) for given in (everything, fitted.fitted_on)]
    assert curves[0].files["curve.csv"] == curves[1].files["curve.csv"]
    whole = atlas.fit("procrustes", source=pair.source, target=pair.target)
    with pytest.raises(AtlasError, match="40 of the 40 items it is evaluated on are among those it was fitted on"):
        push(whole, repo, evaluated_on=fitted.held_out, fitted_on=everything)
    plan = push(whole, repo, evaluated_on=fitted.held_out, dry_run=True)
    assert "| 40, **40 of which it was fitted on** |" in plan.readme
    # That of a card that is too old, or too full, to tell.
    old = whole.with_card(fitted_on="", n_pairs=80)
    with pytest.raises(AtlasError, match="items it is evaluated on are among those it was fitted on"):
        push(old, repo, evaluated_on=fitted.held_out, fitted_on=everything)
    full = whole.with_card(fitted_on="0a:", n_pairs=80)
    with pytest.raises(AtlasError, match="fitted on 80 pairs, of the 120 given, and it is not known on which"):
        push(full, repo, evaluated_on=fitted.held_out, fitted_on=everything)
    with pytest.raises(AtlasError, match="A learning curve is that of an alignment"):
        push(fitted.folder, repo, fitted_on=fitted.fitted_on)
    with pytest.raises(AtlasError, match="is of kind vectors - only alignment, head, atlas can be measured"):
        push(tmp_path / "source", repo, evaluated_on=fitted.held_out)
    with pytest.raises(
        AtlasError,
        match="a head of the target, got vectors and vectors and vectors",
    ):
        push(fitted.folder, repo, evaluated_on=[*fitted.held_out, fitted.held_out[0]])


def test_the_command_measures_too(hub, repo: str, fitted: Fitted, atlas_command) -> None:
    wrong = atlas_command("push", fitted.folder, repo, "--fitted-on", *fitted.fitted_on, status=2)
    assert "--head and --fitted-on go with --evaluated-on" in wrong.output
    on = ["--evaluated-on", *fitted.held_out, "--head", fitted.head, "--fitted-on", *fitted.fitted_on]
    said = atlas_command("push", fitted.folder, repo, "--dry-run", *on).output
    assert "| accuracy |" in said
    assert "| 30 | 3 |" in said
    assert "picture.png" in said


def test_a_licence_is_published_or_its_absence_told(hub, repo: str, fitted: Fitted, atlas_command) -> None:
    none = "The card names no licence - name one with --license, such as cc-by-4.0\n"
    without = atlas_command("push", fitted.folder, repo)
    assert none in without.stderr
    assert pull(repo).card.license == ""
    known = atlas_command("push", fitted.folder, repo, "--license", "CC-BY-4.0")
    assert none not in known.stderr
    found = pull(repo)
    assert found.card.license == "cc-by-4.0"
    assert read_card(fitted.folder).license == ""
    assert "\nlicense: cc-by-4.0\n" in push(fitted.folder, repo, license="cc-by-4.0", dry_run=True).readme
    own = atlas.load(fitted.folder).push_to_hub(repo, license="My-Own")
    assert pull(repo).card.license == "My-Own"
    assert "\nlicense: other\n" in own.readme
    assert "\nlicense_name: My-Own\n" in own.readme
    # Named once, it stays until another is named; so does a language.
    push(fitted.folder, repo, language=["en"])
    later = push(fitted.folder, repo)
    assert (later.license, later.changed) == ("My-Own", ())
    assert pull(repo).card.language == ("en",)
    with pytest.raises(CardError, match="field 'license' holds the local path"):
        push(fitted.folder, repo, license="/home/me/LICENSE")
