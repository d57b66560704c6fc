from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import orthogonal, planted, space_of

from atlas.artefacts.loading import save
from atlas.artefacts.vectors import Vectors
from atlas.cards.folder import CARD, MODEL
from atlas.components.encoder import Encoder
from atlas.errors import AtlasError
from atlas.plugins.catalogue import create
from atlas.recipes import reading
from atlas.recipes.reading import one_of, read_recipe, substitute
from atlas.recipes.running import Runner, content_hash
from atlas.recipes.tables import pivot, read_summary

GRID = """
format: 1
values:
  spaces: [a, b]
  counts: [10, 60]
steps:
  heads:
    each: {space: "${spaces}"}
    verb: train
    head: nearest-mean
    vectors: data/${space}
  anchors:
    each: {n: "${counts}", seed: {range: 2}}
    verb: sample
    sampler: uniform
    vectors: data/a
    n: ${n}
    seed: ${seed}
  fit:
    each:
      source, target: {pairs: "${spaces}"}
      method, options: [[procrustes, {scale: false}], [linear, {}]]
      step: anchors
    verb: fit
    aligner: ${method}
    options: ${options}
    source: data/${source}
    target: data/${target}
    anchors: {step: anchors}
  evaluate:
    each: {step: fit}
    verb: evaluate
    alignment: {step: fit}
    source: data/${source}
    target: data/${target}
    head: {step: heads, space: "${target}"}
    metrics: [accuracy, r2]
tables:
  R2:
    of: evaluate
    metric: r2
    rows: method
    columns: n
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the vectors of 90 items in three spaces, rotations of each other, and the recipe 'grid.yaml'."""
    pair = planted(90)
    for i, name in enumerate("abc"):
        X = pair.source.data.double() @ orthogonal(8, 10 + i)
        vectors = Vectors.of(
            X.float(), space_of(name, 8), ids=pair.source.ids, labels=pair.source.labels, classes=pair.source.classes
        )
        vectors.save_pretrained(tmp_path / "data" / name)
    (tmp_path / "grid.yaml").write_text(GRID)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(path: str = "grid.yaml", out: str = "out", values: Any = None, **how: Any) -> tuple[dict[str, Any], list[str]]:
    """Run a recipe; return what it found, and the jobs that were not cached."""
    done: list[str] = []
    runner = Runner(read_recipe(path, values), out)
    found = runner.run(report=lambda _, job, state: done.append(str(job)) if state == "to do" else None, **how)
    return found, done


def recipe(steps: str, extra: str = "") -> str:
    Path("x.yaml").write_text(f"format: 1\n{extra}\nsteps:\n{steps}")
    return "x.yaml"


def test_a_grid_of_pairs_methods_counts_and_seeds(folder):
    found, done = run()
    assert len(done) == 2 + 4 + 2 * 2 * 4 * 2
    results = found["results"]
    assert len(results) == 2 * 2 * 4 * 2
    one = next(r for r in results if r["metric"] == "r2" and r["method"] == "procrustes")
    assert {"step", "source", "target", "method", "options", "n", "seed", "value", "native", "floor", "items"} <= set(
        one
    )
    # The spaces are rotations of each other, which a rotation recovers exactly, and so does a map of enough pairs.
    assert all(r["value"] > 0.999 for r in results if r["metric"] == "r2" and r["method"] == "procrustes")
    assert all(r["value"] > 0.98 for r in results if r["metric"] == "r2" and r["n"] == 60)
    assert all(r["value"] > r["floor"] for r in results)
    assert json.loads(Path("out/results.json").read_text()) == json.loads(json.dumps(found))


def test_a_table_is_the_mean_over_everything_it_does_not_name(folder):
    found, _ = run()
    [cell] = [cell for cell in found["tables"]["R2"] if cell["method"] == "linear" and cell["n"] == 10]
    values = [r["value"] for r in found["results"] if (r["metric"], r["method"], r["n"]) == ("r2", "linear", 10)]
    mean = sum(values) / len(values)
    spread = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    assert cell["count"] == len(values) == 4
    assert cell["mean"] == pytest.approx(mean) and cell["sd"] == pytest.approx(spread)
    [summary] = read_recipe("grid.yaml").summaries
    header, lines = pivot(summary, found["tables"]["R2"])
    assert header == ["method", "n=10", "n=60"] and [line[0] for line in lines] == ["procrustes", "linear"]
    assert lines[1][1] == f"{mean:.4f} ± {spread:.4f}"


def test_a_second_run_does_nothing_and_finds_the_same(folder):
    first, _ = run()
    before = {file: file.stat().st_mtime_ns for file in Path("out").rglob("*") if file.name != "results.json"}
    again, done = run()
    assert done == [] and again == first
    assert {file: file.stat().st_mtime_ns for file in Path("out").rglob("*") if file.name != "results.json"} == before


def test_a_run_that_was_cut_off_goes_on(folder):
    runner = Runner(read_recipe("grid.yaml"), "out")
    count = 0

    def stop(number: int, job: Any, state: str) -> None:
        nonlocal count
        count += 1
        if count == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run(report=stop)
    _, done = run()
    assert len(done) == len(runner.recipe.jobs) - 19


def edit(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "steps"),
    [
        ("scale: false", "scale: true", {"fit", "evaluate"}),
        ("metrics: [accuracy, r2]", "metrics: [accuracy]", {"evaluate"}),
        ("sampler: uniform", "sampler: k-means", {"anchors", "fit", "evaluate"}),
        ("head: nearest-mean", "head: knn", {"heads", "evaluate"}),
        ("rows: method", "rows: source", set()),
        ("values:", "description: another\nvalues:", set()),
    ],
)
def test_what_changes_is_done_again_with_what_builds_on_it(folder, old, new, steps):
    run()
    edit("grid.yaml", old, new)
    if "metrics" in old:
        edit("grid.yaml", "metric: r2", "metric: accuracy")
    _, done = run()
    assert {job.split("'")[1] for job in done} == steps


def test_other_data_are_noticed(folder):
    run()
    planted(90, seed=5).source.save_pretrained("data/other")
    for name in (CARD, "model.safetensors"):
        Path("data/b", name).write_bytes(Path("data/other", name).read_bytes())
    edit("data/b/config.yaml", "name: a", "name: b")
    _, done = run()
    steps = {job.split("'")[1] for job in done}
    assert "heads" in steps and "fit" in steps and "anchors" not in steps


def test_one_more_value_costs_only_what_is_new(folder):
    run()
    _, done = run(values={"counts": [10, 60, 30]})
    assert done and all("n=30" in job for job in done)


def test_what_was_deleted_or_changed_is_made_again(folder):
    run()
    victim, *_, other = sorted(Path("out").glob("fit__*"))
    shutil.rmtree(victim)
    (other / CARD).write_text((other / CARD).read_text() + "description: changed\n")
    found, done = run()
    assert len(done) == 2 and all(job.startswith("'fit'") for job in done)
    assert len(found["results"]) == 32


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 100)])
def test_tensors_that_are_gone_or_cut_are_made_again(folder, damage):
    run()
    damage(next(Path("out").glob("fit__*")) / MODEL)
    found, done = run()
    assert len(done) == 1 and done[0].startswith("'fit'") and len(found["results"]) == 32


def test_force_does_everything_again(folder):
    first, everything = run()
    again, done = run(force=True)
    assert done == everything and again == first


def test_where_to_compute_does_not_count(folder):
    recipe("  e: {verb: encode, encoder: pixels, input: data/a}")
    run("x.yaml")
    recipe("  e: {verb: encode, encoder: pixels, input: data/a, batch_size: 7, device: cpu}")
    assert run("x.yaml")[1] == []
    recipe("  e: {verb: encode, encoder: pixels, input: data/b, batch_size: 7}")
    assert len(run("x.yaml")[1]) == 1


def test_every_verb_composes(folder):
    recipe(
        """
  encode: {each: {space: [a, b]}, verb: encode, encoder: pixels, input: "data/${space}", id: "${space}-pixels"}
  again: {verb: encode, encoder: {step: encode, space: a}, input: data/b}
  anchors: {verb: sample, sampler: uniform, vectors: data/a, n: 40, seed: 1, also: [data/b, data/c]}
  half: {each: {space: [a, b]}, verb: fit, aligner: relative, source: "data/${space}", anchors: {step: anchors}}
  through:
    verb: compose
    alignments: {step: half, space: a}
    backwards: {step: half, space: b}
  moved: {verb: apply, mapping: {step: through}, vectors: data/a}
  back: {verb: apply, mapping: {step: half, space: a}, vectors: {step: relative}, inverse: true}
  first: {verb: aggregate, aggregator: generalized-procrustes, vectors: [data/a, data/b]}
  atlas: {verb: extend, atlas: {step: first}, vectors: [data/c]}
  chart: {verb: chart, atlas: {step: atlas}, space: c}
  charted: {verb: apply, mapping: {step: chart}, vectors: data/c}
  together: {verb: apply, mapping: {step: atlas}, vectors: [data/a, data/b]}
  head: {verb: train, head: nearest-mean, vectors: {step: encode, space: a}}
  stitched: {verb: stitch, encoder: {step: encode, space: a}, head: {step: head}, input: data/a}
  measured: {verb: evaluate, alignment: {step: through}, source: data/a, target: data/b, metrics: [cosine]}
  read: {verb: evaluate, artefact: {step: head}, vectors: {step: encode, space: a}}
  same: {verb: compose, alignments: [{step: half, space: a}, {step: half, space: b}], inverse: {step: half, space: b}}
  mapped: {verb: evaluate, artefact: {step: same}, source: data/a, target: data/b, metrics: [cosine]}
  compared: {verb: compare, vectors: {step: encode}, metrics: [cka]}
""".replace("  back:", "  relative: {verb: apply, mapping: {step: half, space: a}, vectors: data/a}\n  back:")
    )
    found, _ = run("x.yaml")
    figures = {r["step"]: r for r in found["results"]}
    assert figures["stitched"]["value"] > 0.95 and figures["stitched"]["items"] == 90
    assert figures["measured"]["value"] > 0.95 and figures["mapped"]["value"] == figures["measured"]["value"]
    assert figures["read"]["metric"] == "accuracy" and figures["read"]["value"] > 0.95
    assert figures["compared"]["value"] == pytest.approx(1, abs=1e-3) and figures["compared"]["a"] == "a-pixels"
    assert run("x.yaml")[1] == []
    for name in ("encode__a", "encode__a.space", "through", "atlas", "together", "head"):
        assert Path("out", name, CARD).is_file()


def test_an_encoder_that_learned_is_used_for_what_comes_later(folder):
    Path("train.txt").write_text("a cat sat\na dog sat\nthe dog and the cat\n")
    Path("test.txt").write_text("the dog\na cat\n")
    recipe(
        """
  train: {verb: encode, encoder: tfidf-svd, options: {dim: 2, min_df: 1}, input: train.txt, id: words}
  test: {verb: encode, encoder: {step: train}, input: test.txt}
"""
    )
    run("x.yaml")
    from atlas.artefacts.loading import read_vectors

    train, test = read_vectors("./out/train"), read_vectors("./out/test")
    assert train.space == test.space and train.space.id == "words"


def test_a_component_is_stitched_as_it_is(folder):
    recipe(
        """
  encode: {verb: encode, encoder: pixels, input: data/a}
  head: {verb: train, head: nearest-mean, vectors: {step: encode}}
  stitched: {verb: stitch, encoder: pixels, head: {step: head}, input: data/a}
"""
    )
    [figure] = run("x.yaml")[0]["results"]
    assert figure["metric"] == "accuracy" and figure["value"] > 0.95 and "floor" not in figure


def test_another_stored_encoder_is_noticed(folder):
    def store(seed: int) -> None:
        layers = [{"type": "linear", "in_features": 8, "out_features": 3}]
        weights = torch.randn(3, 8, generator=torch.Generator().manual_seed(seed))
        encoder = create(Encoder, "network", layers=layers)
        encoder.load_state_dict({"0.weight": weights, "0.bias": torch.zeros(3)})
        save(encoder, "net", overwrite=True)

    store(0)
    recipe("  e: {verb: encode, encoder: ./net, input: data/a}")
    assert run("x.yaml")[1] == ["'e'"] and run("x.yaml")[1] == []
    assert not Path("out/e.space").exists()
    store(1)
    assert run("x.yaml")[1] == ["'e'"]


def test_the_content_of_a_folder_is_what_its_images_are_called_and_hold(tmp_path):
    def hashed() -> str:
        return content_hash(tmp_path, ("vectors", "items"))

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_text("1")
    (tmp_path / "y.png").write_text("2")
    first = hashed()
    assert hashed() == first
    (tmp_path / "y.png").write_text("3")
    second = hashed()
    (tmp_path / "notes").write_text("no image")
    assert hashed() == second
    (tmp_path / "y.png").rename(tmp_path / "z.png")
    assert len({first, second, hashed()}) == 3
    with pytest.raises(AtlasError, match=r"There is no file or folder '.*/none'"):
        content_hash(tmp_path / "none", ())
    with pytest.raises(AtlasError, match=r"is not an artefact of Atlas: it has no config.yaml"):
        content_hash(tmp_path, ("vectors",))


def test_paths_are_relative_to_the_recipe(folder, monkeypatch):
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert len(run("../grid.yaml")[0]["results"]) == 32
    assert Path("out/results.json").exists()


def test_names_of_steps_may_be_long_and_share_their_beginning():
    long = "s" * 60
    assert one_of("earlier step", f"{long}-1", {long: 0, f"{long}-1": 1}) == f"{long}-1"
    with pytest.raises(AtlasError, match="Unknown earlier step"):
        one_of("earlier step", f"{long}-2", {long: 0})


def test_a_text_that_is_a_variable_becomes_its_value():
    values = {"n": 3, "name": "x", "items": [1, 2]}
    given = {"a": "${n}", "b": ["${items}", "${name}-${n}"], "c": 1.5, "d": "$n {n}"}
    assert substitute(given, values) == {"a": 3, "b": [[1, 2], "x-3"], "c": 1.5, "d": "$n {n}"}


STEP = "  s: {verb: sample, sampler: uniform, vectors: data/a, n: 3}\n"
MANY = '  m: {each: {k: [1, 2]}, verb: sample, sampler: uniform, vectors: data/a, n: "${k}"}\n'


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("  s: {verb: encod}", "x.yaml: step 's': Unknown verb 'encod' - did you mean 'encode'"),
        ("  s: {n: 3}", r"x.yaml: step 's': Unknown verb 'None \(NoneType\)' - known: aggregate, "),
        ("  s: 3", "x.yaml: step 's': it must be a mapping, got 3"),
        ("  S: {}", "x.yaml: step 'S' must have a name of at most 42 lower-case letters, digits and single '-'"),
        ("  - {verb: encode}", "x.yaml: steps must be a mapping, got"),
        (
            STEP.replace("n: 3", "m: 3"),
            "step 's': Unknown argument 'm' of sample - known: also, id, id_column, n, options, sampler",
        ),
        (STEP.replace(", n: 3", ""), "step 's': sample needs 'n'"),
        (STEP.replace("n: 3", "n: three"), r"step 's': 'n': must be int, got 'three' \(str\)"),
        (STEP.replace("n: 3", "n: true"), r"step 's': 'n': must be int, got True \(bool\)"),
        (STEP.replace("data/a", "3"), "step 's': 'vectors': must be a path, an id, or {step: NAME}, got 3"),
        (STEP.replace("data/a", "{step: t}"), "step 's': 'vectors': Unknown earlier step 't' - known: none"),
        (STEP.replace("data/a", "{step: s}"), "Unknown earlier step 's' - known: none"),
        (STEP + "  t: {verb: train, head: knn, vectors: {step: s}}", "step 's' makes anchors, not vectors"),
        (STEP.replace("data/a", '"data/${x}"'), r"step 's': 'vectors': Unknown variable 'x' - known: none"),
        (STEP.replace("uniform", "unifrom"), r"step 's': Unknown sampler 'unifrom' - did you mean 'uniform'"),
        (STEP.replace("n: 3", "n: 3, options: {x: 1}"), "step 's': Unknown option 'x' of sampler 'uniform'"),
        (STEP.replace("data/a", "data/z"), "step 's': There is no file or folder 'data/z'"),
        (STEP.replace("data/a", "zzz"), "step 's': There is no folder 'zzz', and no vectors of that id"),
        (
            "  s: {verb: train, head: lniear, vectors: data/a}",
            "step 's': Unknown head 'lniear' - did you mean 'linear'",
        ),
        (
            MANY + "  t: {verb: fit, aligner: identity, source: data/a, target: data/b, anchors: {step: m}}",
            "step 't': 'anchors': stands for 2 results of step 'm' - say which: k",
        ),
        (
            MANY + "  t: {verb: fit, aligner: identity, source: data/a, target: data/b, anchors: {step: m, j: 1}}",
            "step 't': 'anchors': Unknown variable 'j' of step 'm' - known: k",
        ),
        (
            MANY + "  t: {verb: fit, aligner: identity, source: data/a, target: data/b, anchors: {step: m, k: 5}}",
            "step 't': 'anchors': step 'm' has no result for k=5",
        ),
        (MANY.replace("[1, 2]", "[]"), r"step 'm': each: 'k': must be a list, {range: N} or, for two variables,"),
        (MANY.replace("[1, 2]", "{range: -1}"), "step 'm': each: 'k': must be a list"),
        (MANY.replace("[1, 2]", "3"), "step 'm': each: 'k': must be a list"),
        (MANY.replace("[1, 2]", "[1, 1]"), "step 'm': each: {\"k\":1} is there twice"),
        (MANY.replace("{k: [1, 2]}", '{"k, j": [1, 2]}'), "step 'm': each: 'k, j': takes lists of 2 values, got 1"),
        (MANY.replace("{k: [1, 2]}", '{"k, j": {pairs: 3}}'), "step 'm': each: 'k, j': must be a list"),
        (
            MANY.replace("{k:", "{value:"),
            "step 'm': each: 'value': 'value' is a field of every figure - choose another",
        ),
        (MANY.replace("{k:", "{K:"), "step 'm': each: 'K': 'K' must be lower-case letters"),
        (MANY.replace("{k: [1, 2]}", "{step: z}"), "step 'm': each: 'step': Unknown earlier step 'z'"),
        (MANY.replace("{k: [1, 2]}", "3"), "step 'm': each must be a mapping, got 3"),
        ("  s: {verb: compare, vectors: []}", "step 's': 'vectors': must not be empty"),
        (
            "  s: {verb: evaluate, artefact: ./m, alignment: ./m}",
            "step 's': evaluate is given one argument under two names",
        ),
        (
            "  s: {verb: encode, encoder: pixels, input: data/a, options: {sise: 1}}",
            "step 's': Unknown option 'sise' of encoder 'pixels' - did you mean 'size'",
        ),
    ],
)
def test_every_mistake_is_a_sentence_that_names_the_step(folder, steps, message):
    path = recipe(steps)
    with pytest.raises(AtlasError, match=message) as caught:
        run(path)
    assert "\n" not in str(caught.value) and "x.yaml" in str(caught.value)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "x.yaml: a recipe must be a mapping, got int"),
        ("format: 1", "x.yaml: field 'steps' is missing"),
        ("format: 2\nsteps: {}", "x.yaml: format must be 1, got 2 - a newer one needs a newer Atlas"),
        ("format: 1\nstep: {}\nsteps: {}", "x.yaml: Unknown field 'step' - did you mean 'steps'"),
        ("format: 1\nvalues: 3\nsteps: {}", "x.yaml: values must be a mapping, got 3"),
        ("format: 1\nsteps: {", "x.yaml: not valid YAML"),
        ("format: 1\nsteps: {a: !!python/name:os.system {}}", "x.yaml: tags such as"),
    ],
)
def test_a_recipe_that_is_none_is_refused(folder, text, message):
    Path("x.yaml").write_text(text)
    with pytest.raises(AtlasError, match=message):
        read_recipe("x.yaml")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("{of: evaluate}", "table 't': field 'rows' is missing"),
        ("{of: evaluate, rows: method, colums: n}", "table 't': Unknown field 'colums' - did you mean 'columns'"),
        ("{of: fit, rows: method}", "table 't': Unknown step with figures 'fit' - known: evaluate"),
        ("{of: evaluate, rows: mehtod}", "table 't': Unknown variable 'mehtod' - did you mean 'method'"),
        ("{of: evaluate, rows: method, figure: high-score}", "table 't': Unknown figure 'high-score'"),
        ("{of: evaluate, rows: method, metric: 3}", "table 't': metric must be a text, got 3"),
        ("{of: evaluate, rows: 3}", "table 't': rows must be a name or a list of names, got 3"),
        ("{of: evaluate, rows: method, picture: pie}", "table 't': Unknown picture 'pie' - known: heat-map, lines"),
        (
            "{of: evaluate, rows: [method, n], picture: lines}",
            "lines are drawn along one variable, got rows method, n",
        ),
        ("{of: evaluate, rows: method, where: {nn: 10}}", "table 't': Unknown variable 'nn'"),
        ("{of: evaluate, rows: method, where: n}", "table 't': where must be a mapping, got 'n'"),
        ("3", "table 't' must be a mapping, got 3"),
    ],
)
def test_a_table_that_cannot_be_made_is_refused(folder, table, message):
    Path("x.yaml").write_text(GRID.split("tables:")[0] + f"tables:\n  t: {table}\n")
    with pytest.raises(AtlasError, match=message):
        read_recipe("x.yaml")


def test_a_table_can_be_of_some_values_only(folder):
    edit("grid.yaml", "    columns: n\n", "    where: {n: 10, source: a}\n")
    found, _ = run()
    values = [r["value"] for r in found["results"] if (r["metric"], r["n"], r["source"]) == ("r2", 10, "a")]
    means = [cell["mean"] for cell in found["tables"]["R2"]]
    assert sum(cell["count"] for cell in found["tables"]["R2"]) == len(values) == 4
    assert sum(means) / 2 == pytest.approx(sum(values) / 4)


PICTURES = """
pictures:
  Before and after:
    a, its own: data/a
    anything: {step: mapped, source: a}
"""
MAPPED = """
  mapped:
    each: {source: [a, b]}
    verb: apply
    mapping: {step: fit, target: c, method: procrustes, n: 60, seed: 0}
    vectors: data/${source}
tables:"""


def test_tables_and_spaces_are_drawn(folder, atlas_command):
    pytest.importorskip("matplotlib")
    edit("grid.yaml", "    rows: method\n    columns: n\n", "    rows: n\n    columns: method\n    picture: lines\n")
    edit("grid.yaml", "tables:", MAPPED.lstrip("\n"))
    edit("grid.yaml", "[a, b]\n  counts", "[a, b, c]\n  counts")
    with Path("grid.yaml").open("a") as file:
        file.write("  By method:\n    of: evaluate\n    metric: r2\n    rows: [source, target]\n    columns: method\n")
        file.write("    picture: heat-map\n" + PICTURES)
    said = atlas_command("run", "grid.yaml", "--out", "out").stderr
    for name in ("r2", "by-method", "before-and-after"):
        assert f"Drew out/{name}.png\n" in said
        assert Path(f"out/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_told_and_the_figures_stay(folder, atlas_command):
    pytest.importorskip("matplotlib")
    edit("grid.yaml", "    columns: n\n", "    picture: lines\n")
    said = atlas_command("run", "grid.yaml", "--out", "out")
    reason = "Table 'R2' cannot be drawn as lines: method is 'procrustes', no number"
    assert said.stderr.endswith(f"The pictures were not drawn: {reason}\n")
    assert "procrustes" in said.stdout and Path("out/results.json").exists()


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ("3", "pictures must be a mapping, got 3"),
        ("{p: 3}", "picture 'p' must be a mapping, got 3"),
        ("{p: {}}", "picture 'p' has no panels - give each a name and vectors"),
        ("{p: {x: {step: evaluate}}}", "picture 'p': 'x': step 'evaluate' makes figures, not vectors"),
        ("{p: {x: {step: mapped}}}", "picture 'p': 'x': Unknown earlier step 'mapped'"),
    ],
)
def test_a_picture_that_cannot_be_made_is_refused(folder, pictures, message):
    Path("x.yaml").write_text(GRID + f"pictures: {pictures}\n")
    with pytest.raises(AtlasError, match=message):
        read_recipe("x.yaml")


def test_different_metrics_are_never_averaged(folder):
    edit("grid.yaml", "    metric: r2\n", "")
    with pytest.raises(AtlasError, match="Table 'R2' has figures of accuracy, r2 - say which with 'metric'"):
        run()


def test_an_unknown_value_is_refused(folder):
    with pytest.raises(AtlasError, match="Unknown value 'count' of the recipe - did you mean 'counts'"):
        read_recipe("grid.yaml", {"count": [1]})


def test_what_goes_wrong_while_it_runs_names_the_step_and_its_variables(folder):
    path = recipe(MANY.replace("[1, 2]", "[5, 500]"))
    with pytest.raises(
        AtlasError, match=r"x.yaml: step 'm' \(k=500\): Sampler 'uniform' cannot draw 500 anchors from 90"
    ):
        run(path)
    assert Path("out/m__5", CARD).exists()
    _, done = run(recipe(MANY.replace("[1, 2]", "[5, 50]")))
    assert done == ["'m' (k=50)"]


@pytest.mark.parametrize("what", ["a file", "a folder of something else"])
def test_something_else_is_never_written_into(folder, what):
    if what == "a file":
        Path("out").write_text("mine")
    else:
        Path("out").mkdir()
        Path("out/thesis.tex").write_text("mine")
    with pytest.raises(AtlasError, match="'out' is not the folder of a run - choose another name"):
        run()


def test_long_and_equal_labels_are_told_apart(folder):
    long = ["x" * 60 + "-1", "x" * 60 + "-2"]
    values = [[{"a": 1}, long], [{"a": 2}, long]]
    steps = (
        f"  s: {{each: {{o: [{{a: 1}}, {{a: 2}}], long: {long}, more: [A, a]}}, verb: sample, sampler: uniform,"
        " vectors: data/a, n: 3}"
    )
    assert values
    labels = [job.label for job in read_recipe(recipe(steps)).jobs]
    assert len(set(labels)) == len(labels) == 8 and max(map(len, labels)) < 96


def test_a_run_folder_is_a_registry(folder, atlas_command):
    run()
    listed = json.loads(atlas_command("list", "--registry", "out", "--kind", "alignment", "--json").stdout)
    assert len(listed) == 16 and {one["id"] for one in listed} == {path.name for path in Path("out").glob("fit__*")}


def test_the_command_prints_the_plan_and_does_nothing(folder, atlas_command):
    result = atlas_command("run", "grid.yaml", "--out", "out", "--dry-run")
    assert result.stdout.splitlines()[0].split() == ["step", "verb", "for", "state"]
    assert result.stdout.count("to do") == 38 and not Path("out").exists()
    run()
    plan = json.loads(atlas_command("run", "grid.yaml", "--out", "out", "--dry-run", "--json").stdout)
    assert {job["state"] for job in plan} == {"cached"} and plan[-1]["variables"]["n"] == 60
    assert "to do" in atlas_command("run", "grid.yaml", "--out", "out", "--dry-run", "--force").stdout


def test_the_command_prints_tables_and_tells_progress_on_stderr(folder, atlas_command):
    result = atlas_command("run", "grid.yaml", "--out", "out", "--set", "counts", "[60]", "--set", "spaces", "[a, c]")
    assert result.stdout.splitlines()[0] == "R2" and "method      n=60" in result.stdout
    assert "[1/20] train 'heads' (space=a) to do" in result.stderr
    again = atlas_command("run", "grid.yaml", "--out", "out", "--set", "counts", "[60]", "--json")
    assert set(json.loads(again.stdout)) == {"results", "tables"}


def test_without_tables_the_command_prints_every_figure(folder, atlas_command):
    recipe('  s: {each: {space: [b, c]}, verb: compare, vectors: [data/a, "data/${space}"], metrics: [cka]}')
    lines = atlas_command("run", "x.yaml", "--out", "out").stdout.splitlines()
    assert lines[0].split()[:6] == ["step", "space", "metric", "a", "b", "value"] and len(lines) == 3


@pytest.mark.parametrize(
    "each",
    [
        "{s: {range: 1000000000}}",
        "{" + ", ".join(f"{name}: {{range: 10}}" for name in "klmopqrt") + "}",
    ],
)
def test_more_jobs_than_anybody_would_wait_for_are_refused_at_once(stored, each):
    Path("recipe.yaml").write_text(f"format: 1\nsteps:\n  fit: {{verb: compare, each: {each}, vectors: [a, b]}}\n")
    with pytest.raises(
        AtlasError, match=r"recipe.yaml: step 'fit': .*combinations are too many - the limit is 100,000$"
    ):
        read_recipe("recipe.yaml")


def test_a_recipe_may_have_as_many_jobs_and_things_as_the_limit_says(stored, monkeypatch):
    text = "format: 1\nsteps:\n  s: {verb: compare, each: {k: {range: 3}, x: [1, 2]}, vectors: [a, b]}\n"
    Path("recipe.yaml").write_text(text)
    monkeypatch.setattr(reading, "MOST_JOBS", 6)
    monkeypatch.setattr(reading, "MOST_NAMES", 12)
    assert len(read_recipe("recipe.yaml").jobs) == 6
    monkeypatch.setattr(reading, "MOST_NAMES", 11)
    with pytest.raises(AtlasError, match="step 's': its jobs take over 11 things together - give each only those it"):
        read_recipe("recipe.yaml")
    monkeypatch.setattr(reading, "MOST_JOBS", 5)
    with pytest.raises(AtlasError, match="step 's': each: 6 combinations are too many - the limit is 5"):
        read_recipe("recipe.yaml")
    # Of several steps together, and of pairs before there are any.
    three = text.replace(", x: [1, 2]", "")
    Path("recipe.yaml").write_text(three + three[three.index("  s:") :].replace("  s:", "  t:"))
    with pytest.raises(AtlasError, match="step 't': each: 6 combinations"):
        read_recipe("recipe.yaml")
    Path("recipe.yaml").write_text(text.replace("k: {range: 3}, x: [1, 2]", "'k, x': {pairs: [1, 2, 3]}"))
    with pytest.raises(AtlasError, match="step 's': each: 'k, x': each: 6 combinations are too many"):
        read_recipe("recipe.yaml")


def test_a_table_without_a_cell_is_not_drawn(folder, monkeypatch):
    edit("grid.yaml", "    columns: n\n", "    picture: heat-map\n")
    monkeypatch.setattr("atlas.recipes.running.draw", lambda *given: pytest.fail("drawn"))
    assert Runner(read_recipe("grid.yaml"), "out").draw({"tables": {"R2": []}}) == []


@pytest.mark.parametrize("stamp", ["[]", "null", "{}", '{"figures": 5}', '{"figures": [1]}', "[" * 100_000])
def test_a_damaged_stamp_means_to_do(stored, stamp):
    Path("recipe.yaml").write_text("format: 1\nsteps:\n  fit: {verb: compare, vectors: [a, b]}\n")
    runner = Runner(read_recipe("recipe.yaml"), "out")
    runner.run()
    [job] = runner.recipe.jobs
    assert runner.state(job) == "cached"
    runner.stamp(job).write_text(stamp)
    assert runner.state(job) == "to do"
    runner.run()


def test_a_run_that_was_killed_in_its_first_step_is_taken_up_again(stored, monkeypatch):
    Path("recipe.yaml").write_text("format: 1\nsteps:\n  fit: {verb: fit, aligner: linear, source: a, target: b}\n")
    runner = Runner(read_recipe("recipe.yaml"), "out")
    monkeypatch.setattr(Runner, "_do", lambda self, job: (Path("out/.fit.ab12.tmp").mkdir(), 1 // 0))
    with pytest.raises(ZeroDivisionError):
        runner.run()
    monkeypatch.undo()
    monkeypatch.chdir(stored)
    Runner(read_recipe("recipe.yaml"), "out").run()
    assert Path("out/fit/config.yaml").is_file()


def test_a_link_in_place_of_the_mark_of_a_run_is_not_followed(stored):
    Path("recipe.yaml").write_text("format: 1\nsteps:\n  fit: {verb: compare, vectors: [a, b]}\n")
    Path("elsewhere").mkdir()
    Path("out").mkdir()
    Path("out/.steps").symlink_to(Path("elsewhere").resolve())
    with pytest.raises(AtlasError, match="'out' is not the folder of a run - choose another name"):
        Runner(read_recipe("recipe.yaml"), "out")


def test_a_device_is_no_input(stored):
    Path("recipe.yaml").write_text("format: 1\nsteps:\n  x: {verb: encode, encoder: pixels, input: /dev/zero}\n")
    with pytest.raises(AtlasError, match="'/dev/zero' is a device or a pipe - give a file or a folder"):
        Runner(read_recipe("recipe.yaml"), "out")


def test_a_table_may_name_self_recall_as_it_was_called():
    summary = read_summary(Path("x.yaml"), "t", {"of": "m", "rows": "k", "metric": "recall@5"}, {"m": {"k": [1, 2]}})
    assert summary.metric == "self-recall@5"
