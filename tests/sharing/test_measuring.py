"""What a push measures of heads and atlases, and what a verification measures again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hubtools import CLIENT_WARNS

import atlas
from atlas.cards.folder import CARD, dump_card, read_card
from atlas.cards.yaml import parse_yaml
from atlas.errors import AtlasError, SpaceMismatchError
from atlas.hub.pulling import pull
from atlas.sharing.parts import parts
from atlas.sharing.publishing import push
from atlas.sharing.verifying import verify
from atlas.verbs.evaluate import evaluate

pytest_plugins = ["hub_fixtures"]
pytestmark = CLIENT_WARNS
FIRST, LAST = torch.arange(80), torch.arange(80, 120)


def of(figures, name: str) -> Any:
    return next(figure for figure in figures if figure.name == name)


def by_hand(head: Any, vectors: Any) -> list[bool]:
    """Return for each row whether its class was predicted, one row after the other."""
    right = []
    for row, label in zip(vectors.data, vectors.labels.tolist(), strict=True):
        scores = head(row[None])[0].tolist()
        right.append(head.classes[scores.index(max(scores))] == vectors.classes[label])
    return right


def test_a_head_is_measured_beside_the_commonest_class(pair) -> None:
    # Too few rows to be always right, and classes of different sizes: 3 ants, 8 bees, 11 cats and one without a class.
    head = atlas.train("nearest-mean", pair.source.take(torch.arange(4)))
    rows = [i for i in range(40, 73) if i % 3 == 2] + [i for i in range(40, 64) if i % 3 == 1] + [42, 45, 48, 51]
    chosen = pair.source.take(torch.tensor(rows))
    chosen.labels[-1] = -1
    noise = torch.randn(chosen.data.shape, generator=torch.Generator().manual_seed(0))
    noisy = replace(chosen, rows=type(chosen.rows)(chosen.data + 4 * noise))
    [found] = evaluate(head, vectors=noisy, split="test")
    right = by_hand(head, noisy.take(torch.arange(len(rows) - 1)))
    assert found.value == pytest.approx(sum(right) / len(right))
    assert (found.name, found.n, found.dataset, found.split, found.native) == ("accuracy", 22, "toy", "test", None)
    assert found.floor == pytest.approx(11 / 22)
    assert found.low < found.value < found.high


def test_what_has_no_accuracy_is_told(pair) -> None:
    head = atlas.train("nearest-mean", pair.source)
    with pytest.raises(SpaceMismatchError, match="Head 'a__nearest-mean' reads 'a', but the vectors are of 'b'"):
        evaluate(head, vectors=pair.target)
    with pytest.raises(AtlasError, match="'accuracy' needs labels, and the vectors have none"):
        evaluate(head, vectors=atlas.Vectors.of(pair.source.data, pair.source.space))
    others = atlas.Vectors.of(pair.source.data, pair.source.space, labels=["dog"] * 120)
    with pytest.raises(AtlasError, match=r"knows none of the vectors' classes \(dog\) - its own are ant, bee, cat"):
        evaluate(head, vectors=others)
    with pytest.raises(AtlasError, match="'a__nearest-mean' is no classifier - there is no accuracy to measure"):
        evaluate(head.with_card(classes=()), vectors=pair.source)
    with pytest.raises(AtlasError, match=r"^'.*' is of kind vectors - only alignment, head, atlas can be measured$"):
        parts(pair.source.card, ["vectors"])


@pytest.fixture
def head(hub, repo: str, pair, tmp_path: Path) -> Path:
    """A head in a folder; what it was not trained on is published."""
    pair.source.take(LAST).push_to_hub(f"{repo}-test")
    atlas.train("linear", pair.source.take(FIRST)).save_pretrained(tmp_path / "head")
    return tmp_path / "head"


def test_a_push_of_a_head_measures_it_and_a_verification_does_so_again(hub, repo: str, pair, head: Path) -> None:
    done = push(head, repo, evaluated_on=[f"hf://{repo}-test"])
    assert [check.name for check in verify(done.pinned)] == [
        "format",
        "hashes",
        "numbers",
        "plugin",
        "held out",
        "accuracy",
    ]
    pinned = atlas.pull(f"hf://{repo}-test").pinned
    card: Any = pull(repo).card
    assert card.evaluation == {"vectors": pinned}
    (figure,) = card.metrics
    right = by_hand(atlas.load(head), pair.source.take(LAST))
    assert (figure.value, figure.n) == (pytest.approx(sum(right) / 40), 40)
    assert figure.floor == pytest.approx(14 / 40)
    interval = f"{figure.low:.4g} to {figure.high:.4g}"
    assert f"| accuracy | **{figure.value:.4g}** | {interval} | {figure.floor:.4g} | toy | 40 |" in done.readme
    assert "floor: always the commonest class" in done.readme
    assert "ceiling" not in done.readme
    assert f"- vectors: `{pinned}`\n\n`atlas verify hf://{repo}` measures it again." in done.readme
    assert parse_yaml(done.readme.split("---\n")[1], "README")["metrics"] == ["accuracy"]
    assert of(verify(done.pinned), "accuracy").ok is True
    # As it is loaded and saved, the card still says where; and the same is measured again, so nothing changes.
    assert atlas.load(done.pinned).card.evaluation == card.evaluation
    assert push(head, repo, evaluated_on=f"hf://{repo}-test").changed == ()
    assert read_card(head).metrics == card.metrics  # type: ignore[attr-defined]


def test_a_figure_that_does_not_hold_is_told(hub, repo: str, pair, head: Path, tmp_path: Path) -> None:
    push(head, repo, evaluated_on=[f"hf://{repo}-test"])
    found = atlas.load(f"hf://{repo}")
    (figure,) = found.metrics
    wrong = (replace(figure, value=0.5), replace(figure, name="charm"), replace(figure, dataset="another"))
    atlas.save(found.with_card(metrics=wrong), tmp_path / "wrong")
    checks = verify(tmp_path / "wrong")[-3:]
    assert [check.ok for check in checks] == [False, None, None]
    assert checks[0].said == f"does not hold: the card says 0.5000, measured again {figure.value:.4f}"
    assert checks[1].said == "is not one that can be measured again"
    assert checks[2].said == "the card says it of another, the vectors are of toy"
    pair.source.save_pretrained(tmp_path / "own")
    assert verify(tmp_path / "wrong", {"vectors": str(tmp_path / "own")})[-3].ok is False


def test_a_card_cannot_have_local_files_read(hub, repo: str, pair, head: Path, tmp_path: Path) -> None:
    pair.source.save_pretrained(tmp_path / "own")
    [figure] = evaluate(head, vectors=pair.source)
    card: Any = read_card(head)
    for evaluation in ({"vectors": str(tmp_path / "own")}, {"charm": f"hf://{repo}-test"}):
        (head / CARD).write_text(dump_card(replace(card, metrics=(figure,), evaluation=evaluation)))
        assert verify(head)[-1].said == "the card does not say on which vectors - give --vectors"


def test_an_atlas_is_measured_with_a_head_of_its_space(hub, repo: str, pair, tmp_path: Path) -> None:
    target = pair.target.of_items(list(pair.source.ids))
    made = atlas.aggregate("mean", pair.source.take(FIRST), target.take(FIRST))
    made.save_pretrained(tmp_path / "atlas")
    head = atlas.train("nearest-mean", made(pair.source.take(FIRST), target.take(FIRST)))
    parts = {"vectors": pair.source.take(LAST), "vectors-2": target.take(LAST), "head": head}
    refs = {part: held.push_to_hub(f"{repo}-{part}").pinned for part, held in parts.items()}
    done = push(tmp_path / "atlas", repo, evaluated_on=list(refs.values()))
    card: Any = pull(repo).card
    assert card.evaluation == refs
    (figure,) = card.metrics
    right = by_hand(head, made(pair.source.take(LAST), target.take(LAST)))
    assert (figure.value, figure.n, figure.floor) == (pytest.approx(sum(right) / 40), 40, pytest.approx(14 / 40))
    assert of(verify(done.pinned), "accuracy").ok is True
    assert atlas.load(done.pinned).card.evaluation == refs
    assert ", fitted on items of toy." in done.readme
    # Vectors that are given take the place of all that the card names; the head is still its own.
    target.take(LAST).save_pretrained(tmp_path / "own")
    right = by_hand(head, made(target.take(LAST)))
    other = of(verify(done.pinned, {"vectors": str(tmp_path / "own")}), "accuracy")
    assert f"measured again {sum(right) / 40:.4f}" in other.said
    # The vectors of one space alone are read through its chart.
    alone = push(tmp_path / "atlas", repo, evaluated_on=[refs["head"], refs["vectors-2"]], dry_run=True)
    assert f"| accuracy | **{sum(right) / 40:.4g}** |" in alone.readme
    with pytest.raises(AtlasError, match=r"is measured on vectors of one or more of its spaces, and a head of the sha"):
        push(tmp_path / "atlas", repo, evaluated_on=[refs["vectors"]])


def test_the_commands_measure_heads(hub, repo: str, pair, head: Path, tmp_path: Path, atlas_command) -> None:
    ref = f"hf://{repo}-test"
    said = atlas_command("push", head, repo, "--evaluated-on", ref, "--dry-run").output
    assert "| accuracy |" in said
    atlas_command("push", head, repo, "--evaluated-on", ref, "--tag", "v1")
    again = atlas_command("verify", f"hf://{repo}").output
    assert "accuracy" in again
    assert "holds: the card says" in again
    assert "ok  held out  it was fitted on none of the 40 items" in again
    pair.source.take(LAST).save_pretrained(tmp_path / "own")
    assert "holds: the card says" in atlas_command("verify", f"hf://{repo}@v1", "--vectors", tmp_path / "own").output
    wrong = atlas_command("verify", f"hf://{repo}", "--source", "x", "--target", "y", status=1)
    assert "Head 'a__linear' is measured on vectors of its space - give --vectors" in wrong.stderr
    none = atlas_command("verify", ref, "--vectors", tmp_path / "own", status=1)
    assert "is of kind vectors - only alignment, head, atlas can be measured" in none.stderr
    two = atlas_command("push", head, repo, "--evaluated-on", ref, ref, "--dry-run", status=1)
    assert "Head 'a__linear' is measured on vectors of its space, got vectors and vectors" in two.stderr
    local = atlas_command("push", head, repo, "--evaluated-on", tmp_path / "own", status=1)
    assert "cannot be reached by others - push it, and give its hf:// reference" in local.stderr
