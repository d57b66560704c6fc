"""Every mistake is answered by one sentence and exit status 1, and nothing is lost or left half-written."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import Result
from conftest import space_of
from processtools import Forked

from atlas.artefacts.loading import load
from atlas.artefacts.vectors import Vectors
from atlas.cards.folder import CARD, MODEL

Run = Callable[..., Result]


def files(folder: Path) -> dict[str, bytes]:
    """Return everything in a folder, hidden files too."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def refused(atlas_command: Run, stored: Path) -> Callable[..., str]:
    """Run a command that must fail: returns its one sentence, after checking that nothing in the folder changed."""

    def run(*arguments: object) -> str:
        before = files(stored)
        result = atlas_command(*arguments, status=1)
        assert files(stored) == before
        assert result.stdout == ""
        lines = [line for line in result.stderr.splitlines() if not line.startswith(("Note: ", "Warning: "))]
        assert len(lines) == 1 and lines[0].startswith("Error: "), result.stderr
        assert "Traceback" not in result.output and "Unexpected" not in result.output
        return lines[0]

    return run


FIT = ("fit", "procrustes", "--source", "a", "--target", "b", "--out", "map")


@pytest.fixture
def fitted(atlas_command: Run, stored: Path) -> Path:
    """The folder of stored vectors, with an alignment 'map' from a to b and a head 'head' of b."""
    atlas_command(*FIT)
    atlas_command("train", "nearest-mean", "b", "--out", "head")
    return stored


# Files


@pytest.mark.parametrize("name", ["x.npy", "x.safetensors", "x.parquet", "./x"])
def test_missing_file(refused, name):
    kind = "folder" if name == "./x" else "file"
    assert f"There is no {kind} '{name.removeprefix('./')}'" in refused(
        "fit", "procrustes", "--source", name, "--target", "b", "--out", "m"
    )


@pytest.mark.parametrize("name", ["x.npy", "x.safetensors", "x.parquet"])
@pytest.mark.parametrize("cut", [0, 10, 0.5, -1])
def test_truncated_file(refused, pair, name, cut):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    pair.source.save_pretrained(name)
    whole = Path(name).read_bytes()
    Path(name).write_bytes(whole[: int(len(whole) * cut) if isinstance(cut, float) else cut])
    message = refused("fit", "procrustes", "--source", name, "--target", "b", "--out", "m")
    assert name in message and ("truncated" in message or "damaged" in message)


@pytest.mark.parametrize("file", [CARD, MODEL])
def test_truncated_folder(refused, fitted, file):
    raw = (fitted / "map" / file).read_bytes()
    (fitted / "map" / file).write_bytes(raw[: len(raw) // 2])
    assert f"map/{file}" in refused("apply", "map", "a", "--out", "x")


def test_a_file_of_something_else(refused):
    for name in ("x.npy", "x.safetensors", "x.parquet"):
        Path(name).write_text("hello, this is no such file at all, but long enough to be one")
        assert name in refused("fit", "procrustes", "--source", name, "--target", "b", "--out", "m")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), "x.npy: must hold a matrix (rows, features), has shape (5,)"),
        (np.zeros((5, 8, 2)), "x.npy: must hold a matrix (rows, features), has shape (5, 8, 2)"),
        (np.zeros((5, 8), dtype=complex), "x.npy: must hold real numbers, has dtype complex128"),
        (np.full((5, 8), "a"), "x.npy: must hold real numbers, has dtype <U1"),
        (np.zeros((0, 8)), "'x.npy' has no vectors: its shape is (0, 8)"),
        (np.zeros((5, 0)), "'x.npy' has no vectors: its shape is (5, 0)"),
    ],
)
def test_wrong_dtype_rank_or_no_rows(refused, array, message):
    np.save("x.npy", array)
    assert message in refused("fit", "procrustes", "--source", "x.npy", "--target", "b", "--out", "m")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "command",
    [
        ("fit", "procrustes", "--source", "x.npy", "--target", "y.npy", "--out", "m"),
        ("fit", "linear", "--source", "y.npy", "--target", "x.npy", "--out", "m"),
        ("fit", "relative", "--source", "x.npy", "--out", "m"),
        ("apply", "map", "x.npy", "--out", "m.npy"),
        ("apply", "map", "x.npy", "--out", "m"),
        ("apply", "map", "x.npy", "--inverse", "--out", "m"),
        ("sample", "uniform", "x.npy", "-n", "3", "--out", "m"),
        ("aggregate", "generalized-procrustes", "x.npy", "y.npy", "--out", "m"),
        ("compare", "x.npy", "y.npy"),
        ("evaluate", "map", "--source", "x.npy", "--target", "y.npy"),
        ("encode", "pixels", "x.npy", "--out", "m"),
    ],
    ids=lambda command: f"{command[0]}-{command[1]}",
)
def test_not_finite_says_how_many_and_where(refused, fitted, command, bad):
    X = np.random.default_rng(0).normal(size=(3000, 8))
    np.save("y.npy", X)
    X[[2100, 2999], [3, 4]] = bad
    np.save("x.npy", X)
    message = refused(*command)
    count = "at least 1 value that is" if command[0] == "encode" else "2 values that are"
    assert f"has {count} NaN or infinite, the first in row 2100" in message


@pytest.mark.parametrize("aligner", ["procrustes", "linear", "relative"])
def test_one_pair(refused, pair, aligner):
    for name, vectors in (("x", pair.source), ("y", pair.target)):
        vectors.of_items(["item-7"]).save_pretrained(name)
    target = () if aligner == "relative" else ("--target", "y")
    message = refused("fit", aligner, "--source", "x", *target, "--out", "m")
    assert f"Aligner '{aligner}' needs at least 2" in message and "got 1" in message


# Items


@pytest.mark.parametrize("common", [0, 1])
@pytest.mark.parametrize("command", ["fit", "evaluate", "compare"])
def test_ids_that_do_not_overlap(refused, fitted, pair, common, command):
    ids = [f"other-{i}" for i in range(120)]
    ids[0] = "item-0" if common else ids[0]
    Vectors.of(pair.target.data, pair.target.space, ids=ids).save_pretrained("c")
    commands = {
        "fit": ("fit", "procrustes", "--source", "a", "--target", "c", "--out", "m"),
        "evaluate": ("evaluate", "map", "--source", "a", "--target", "c"),
        "compare": ("compare", "a", "c"),
    }
    assert f"Only {common} of 120 and 120 items are in both" in refused(*commands[command])


def test_duplicate_ids(refused, pair):
    ids = torch.arange(120)
    ids[7] = ids[9] = 3
    safetensors.torch.save_file({"vectors": pair.source.data, "ids": ids}, "x.safetensors")
    message = refused("fit", "procrustes", "--source", "x.safetensors", "--target", "b", "--out", "m")
    assert "x.safetensors has 2 duplicate ids, the first is '3', in row 3 and row 7 - ids must be distinct" in message


COMMANDS = {
    "fit": ("fit", "procrustes", "--source", "{}", "--target", "{}", "--out", "m"),
    "evaluate": ("evaluate", "map", "--source", "{}", "--target", "{}"),
    "compare": ("compare", "{}", "{}"),
    "aggregate": ("aggregate", "mean", "{}", "{}", "--out", "m"),
    "sample": ("sample", "uniform", "{}", "-n", "5", "--also", "{}", "--out", "m"),
}


def filled(words: tuple[str, ...], *names: str) -> list[str]:
    """Return the words of a command, with names in its blanks."""
    left = iter(names)
    return [next(left) if word == "{}" else word for word in words]


@pytest.mark.parametrize("command", COMMANDS)
def test_rows_without_ids_must_be_as_many(refused, fitted, pair, command):
    np.save("x.npy", pair.source.data.numpy())
    np.save("y.npy", pair.target.data.numpy()[:50])
    message = refused(*filled(COMMANDS[command], "x.npy", "y.npy"))
    assert "Vectors of 'x' are 120, those of 'y' 50, and neither have ids, so that no pair is known - give" in message


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("command", COMMANDS)
def test_made_up_row_numbers_are_never_paired_with_ids(refused, fitted, pair, command, swapped):
    # Ids from 1 beside row numbers from 0: all but one of them are in both, and none is right.
    Vectors.of(pair.source.data, "x", ids=range(1, 121)).save_pretrained("x.safetensors")
    np.save("y.npy", pair.target.data.numpy())
    names = ["y.npy", "x.safetensors"] if swapped else ["x.safetensors", "y.npy"]
    message = refused(*filled(COMMANDS[command], *names))
    assert (
        "Vectors of 'y' have row numbers for ids, those of 'x' ids of their own ('1'...): no pair is known" in message
    )
    assert "give ids for both or for neither: --id-column NAME for a table" in message


def test_ids_that_are_the_row_numbers_are_paired_with_them(atlas_command, stored, pair):
    Vectors.of(pair.source.data, "x", ids=range(120)).save_pretrained("x.safetensors")
    np.save("y.npy", pair.target.data.numpy())
    result = atlas_command("fit", "procrustes", "--source", "x.safetensors", "--target", "y.npy", "--out", "m")
    assert "fitted on 120 items)" in result.stderr


def test_a_fit_counts_what_has_no_partner(atlas_command, stored, pair):
    pair.target.take(torch.arange(50)).save_pretrained("c")
    result = atlas_command("fit", "procrustes", "--source", "a", "--target", "c", "--out", "m")
    assert "fitted on 50 items, 70 vectors had no known partner)" in result.stderr
    assert load("m").n_unpaired == 70
    atlas_command("sample", "uniform", "c", "-n", "20", "--out", "anchors")
    result = atlas_command(*filled(COMMANDS["fit"][:-1], "a", "c"), "n", "--anchors", "anchors")
    assert "fitted on 20 items)" in result.stderr and load("n").n_unpaired == 0


def test_anchors_fewer_than_asked(refused, atlas_command, pair):
    message = refused("sample", "uniform", "a", "-n", "121", "--out", "m")
    assert message == "Error: Sampler 'uniform' cannot draw 121 anchors from 120 vectors - ask for 1 to 120"
    assert "cannot draw 0 anchors" in refused("sample", "uniform", "a", "-n", "0", "--out", "m")
    assert "cannot draw -1 anchors" in refused("sample", "uniform", "a", "-n", "-1", "--out", "m")


def test_anchors_that_are_not_in_the_vectors(refused, atlas_command, pair):
    atlas_command("sample", "uniform", "a", "-n", "20", "--out", "anchors")
    few = pair.target.take(torch.arange(50))
    few.save_pretrained("c")
    message = refused("fit", "procrustes", "--source", "a", "--target", "c", "--anchors", "anchors", "--out", "m")
    assert "Vectors of 'b' hold" in message and "of the 20 items of the anchors, the first missing is" in message


# Spaces


@pytest.mark.parametrize(
    "command",
    [
        ("apply", "map", "b", "--out", "m"),
        ("apply", "map", "a", "--inverse", "--out", "m"),
        ("evaluate", "map", "--source", "b", "--target", "a"),
        ("compose", "map", "map", "--out", "m"),
    ],
    ids=lambda command: "-".join(command[:1]),
)
def test_source_and_target_swapped(refused, fitted, command):
    message = refused(*command)
    assert "'a'" in message and "'b'" in message and "name is" in message


def test_a_space_of_the_same_name_and_another_revision(refused, fitted, pair):
    Vectors.of(pair.source.data, space_of("a", 8, revision="2"), ids=pair.source.ids).save_pretrained("a2")
    assert "revision is not set there, 2 here" in refused("apply", "map", "a2", "--out", "m")


@pytest.mark.parametrize(
    "command",
    [
        ("apply", "map", "x.npy", "--out", "m"),
        ("apply", "map", "x.npy", "--out", "m.npy"),
        ("evaluate", "map", "--source", "x.npy", "--target", "b"),
    ],
    ids=["apply", "apply-file", "evaluate"],
)
def test_unequal_dimensions(refused, fitted, command):
    np.save("x.npy", np.zeros((120, 5)))
    assert "dimension is 8 there, 5 here" in refused(*command)


def test_a_head_of_another_space(refused, fitted, atlas_command):
    atlas_command("train", "nearest-mean", "a", "--out", "other")
    assert "Head 'a__nearest-mean' reads 'a', but" in refused(
        "evaluate", "map", "--source", "a", "--target", "b", "--head", "other"
    )


def test_spaces_that_do_not_meet_in_a_stitched_model(refused, fitted, atlas_command, pair):
    np.save("x.npy", pair.source.data.numpy())
    message = refused("stitch", "pixels", "head", "x.npy")
    assert "Head 'b__nearest-mean' reads 'b', but the encoder's vectors are of 'pixels-" in message
    message = refused("stitch", "pixels", "map", "head", "x.npy")
    assert (
        "maps from 'a', but the encoder's vectors are of 'pixels-" in message
        and "encoder is 'planted' there" in message
    )


# Names and options


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("fit", "procrustse", *FIT[2:]), "Unknown aligner 'procrustse' - did you mean 'procrustes'?"),
        (("sample", "unifrom", "a", "-n", "3", "--out", "m"), "Unknown sampler 'unifrom' - did you mean 'uniform'?"),
        (("train", "linaer", "b", "--out", "m"), "Unknown head 'linaer' - did you mean 'linear'?"),
        (("aggregate", "relative-maen", "a", "b", "--out", "m"), "Unknown aggregator 'relative-maen' - did you mean"),
        (("encode", "pixel", "a", "--out", "m"), "Unknown encoder or space 'pixel' - did you mean 'pixels'?"),
        (("compare", "a", "b", "--metric", "ckaa"), "Unknown metric 'ckaa' - did you mean 'cka'?"),
        (("aligners", "show", "procrustse"), "Unknown aligner 'procrustse' - did you mean 'procrustes'?"),
        (("show", "no-such"), "There is no folder 'no-such', and no artefact of that id in the registry"),
        (("apply", "no-such", "a", "--out", "m"), "no alignment or atlas of that id in the registry"),
        ((*FIT, "--anchors", "no-such"), "no anchors of that id in the registry"),
        (("apply", "a", "a", "--out", "m"), "'a' is of kind vectors - expected alignment or atlas"),
        (("fit", "procrustes", "--source", "a", "--out", "m"), "Aligner 'procrustes' needs the vectors of both spaces"),
        (("fit", "relative", *FIT[2:]), "Aligner 'relative' fits on the source alone - leave out the target"),
        (("list", "--registry", "nowhere"), "There is no folder 'nowhere'"),
        (("check", "nowhere"), "There is no folder 'nowhere'"),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_unknown_names(refused, command, message):
    assert message in refused(*command)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("sclae", "true"), "Unknown option 'sclae' of aligner 'procrustes' - did you mean 'scale'?"),
        (("scale", "maybe"), "Option 'scale' of aligner 'procrustes' must be bool, got 'maybe' (str)"),
        (("scale", "2"), "Option 'scale' of aligner 'procrustes' must be bool, got '2' (str)"),
        (("scale", ""), "Option 'scale' of aligner 'procrustes' must be bool, got '' (str)"),
    ],
)
def test_unknown_options_and_wrong_types(refused, options, message):
    assert message in refused(*FIT, "-o", *options)


@pytest.mark.parametrize(
    ("component", "options", "message"),
    [
        ("linear", ("ridge", "much"), "Option 'ridge' of aligner 'linear' must be float or none, got 'much' (str)"),
        ("linear", ("ridge", "-1"), "ridge"),
        ("linear", ("ridge", "nan"), "ridge"),
        ("low-rank", ("rank", "2.5"), "must be int"),
        ("low-rank", ("rank", "0"), "rank"),
    ],
)
def test_impossible_options(refused, component, options, message):
    assert message in refused("fit", component, *FIT[2:], "-o", *options)


def test_an_option_given_twice(refused):
    message = refused("fit", "linear", *FIT[2:], "-o", "ridge", "1", "-o", "ridge", "2")
    assert message == "Error: Option 'ridge' of aligner 'linear' is given twice"


def test_options_of_a_stored_space(refused, atlas_command, pair):
    np.save("x.npy", pair.source.data.numpy())
    atlas_command("encode", "pixels", "x.npy", "--out", "x", "--save-space", "./space")
    message = refused("encode", "./space", "x.npy", "-o", "size", "3", "--out", "y")
    assert "Options are those of the stored space './space' - leave out size" in message


def test_unknown_columns(refused):
    Path("t.csv").write_text("id,text\na,hello there\nb,there you are\n")
    message = refused("encode", "tfidf-svd", "t.csv", "--text-column", "txet", "--out", "m")
    assert "t.csv: unknown column 'txet' - did you mean 'text'?" in message


def test_a_device_that_is_not_there(refused):
    np.save("x.npy", np.random.default_rng(0).normal(size=(20, 8)))
    for name in ("cuda:99", "warp", "meta"):
        message = refused("encode", "pixels", "x.npy", "--device", name, "--out", "m")
        assert f"Device '{name}' cannot be used: " in message and message.endswith(" - use 'cpu'")


# Cards


def edited(folder: Path, old: str, new: str) -> None:
    text = (folder / CARD).read_text()
    assert old in text
    (folder / CARD).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("aligner:", "licence: mit\naligner:", "map/config.yaml: Unknown field 'licence' - did you mean 'license'"),
        ("format: 1", "format: 2", "map/config.yaml: Format 2 is newer than this Atlas reads (1) - upgrade"),
        ("kind: alignment", "kind: alinment", "map/config.yaml: Unknown kind 'alinment' - did you mean 'alignment'"),
        ("aligner: procrustes\n", "", "map/config.yaml: Field 'aligner' is missing"),
        ("n_pairs: 120", "n_pairs: many", "map/config.yaml: Field 'n_pairs' must be int, got 'many' (str)"),
        ("[8, 8]", "[8, 7]", "map/model.safetensors does not match its card: tensor 'weight' is F32 [8, 8], the card"),
        ("format: 1", "format: [1", "map/config.yaml: not valid YAML"),
        ("format: 1", "format: 1\nformat: 1", "map/config.yaml: key 'format' is given twice"),
        ("format: 1", "format: !!python/name:os.system", "map/config.yaml: tags such as"),
    ],
)
def test_a_card_that_is_wrong(refused, fitted, old, new, message):
    edited(fitted / "map", old, new)
    assert message in refused("apply", "map", "a", "--out", "x")


def test_tensors_that_do_not_match_their_card(refused, fitted):
    raw = bytearray((fitted / "map" / MODEL).read_bytes())
    raw[-5] ^= 1
    (fitted / "map" / MODEL).write_bytes(raw)
    assert "map/model.safetensors does not match its card: sha256 is" in refused("apply", "map", "a", "--out", "x")


# Targets


@pytest.mark.parametrize(
    ("command", "out"),
    [
        (FIT[:-2], "map"),
        (("apply", "map", "a"), "a"),
        (("apply", "map", "a"), "x.npy"),
        (("train", "nearest-mean", "b"), "head"),
        (("sample", "uniform", "a", "-n", "3"), "map"),
        (("compose", "map"), "map"),
        (("aggregate", "generalized-procrustes", "a", "b"), "map"),
        (("encode", "pixels", "x.npy"), "a"),
        (("stitch", "./space", "own", "x.npy"), "p.csv"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_target_that_exists(refused, fitted, atlas_command, pair, command, out):
    np.save("x.npy", pair.source.data.numpy())
    Path("p.csv").write_text("old")
    atlas_command("encode", "pixels", "x.npy", "--out", "v.safetensors", "--save-space", "space")
    if command[0] == "stitch":
        Vectors.of(
            pair.source.data, load_space("space"), labels=pair.source.labels, classes=pair.source.classes
        ).save_pretrained("v")
        atlas_command("train", "nearest-mean", "v", "--out", "own")
    message = f"Error: '{out}' exists - choose another name, or pass --overwrite (overwrite=True) to replace it"
    assert refused(*command, "--out", out) == message
    atlas_command(*command, "--out", out, "--overwrite")


def load_space(folder: str):  # type: ignore[no-untyped-def]
    from atlas.artefacts.loading import load

    return load(Path(folder), "space").space()


def test_a_folder_of_something_else_is_never_replaced(refused, fitted):
    Path("photos").mkdir()
    Path("photos/x.jpg").write_text("precious")
    for flags in ((), ("--overwrite",)):
        message = refused("apply", "map", "a", "--out", "photos", *flags)
        assert message == "Error: 'photos' is a folder of something else - choose another name"


def test_overwriting_the_vectors_that_are_being_read(fitted, atlas_command, pair):
    atlas_command("apply", "map", "a", "--out", "a", "--overwrite")
    atlas_command("evaluate", "map", "--source", "b", "--target", "a", status=1)
    from atlas.artefacts.loading import read_vectors

    mapped = read_vectors("a")
    assert mapped.space.id == "b"
    errors = mapped.data - pair.target.of_items(mapped.ids).data
    assert float(errors.abs().mean()) < 0.2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(refused, fitted):
    Path("locked").mkdir(mode=0o500)
    assert "'locked/x' cannot be written: Permission denied" in refused("apply", "map", "a", "--out", "locked/x")


# The machine


def limited() -> None:
    """Let no file grow beyond 20 kB, as a full disk would; the signal that says so is ignored, as Python does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.parametrize("out", ["m", "m.npy", "m.safetensors", "m.parquet", "a"])
def test_a_full_disk(fitted, out):
    Vectors.of(torch.randn(2000, 8), space_of("a", 8)).save_pretrained("big")
    before = files(fitted)
    overwrite = ["--overwrite"] if out == "a" else []
    process = Forked(["apply", "map", "big", "--out", out, *overwrite], cwd=fitted, before=limited)
    stdout, stderr = process.communicate()
    assert process.returncode == 1 and stdout == ""
    assert stderr == f"Error: '{out}' cannot be written: {os.strerror(errno.EFBIG)}\n"
    assert files(fitted) == before


def test_a_full_output_is_told(fitted):
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "atlas", "list", "--registry", "."],
            cwd=fitted,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=240,
            check=False,
        )
    assert process.returncode == 1 and process.stderr == "Error: No space left on device\n"


def test_a_reader_that_has_gone_away_is_no_error(fitted):
    command = [sys.executable, "-m", "atlas", "list", "--registry", "."]
    process = subprocess.Popen(command, cwd=fitted, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert process.communicate(timeout=240)[1] == ""
    assert process.returncode == 1


@pytest.mark.parametrize("out", ["m", "m.npy", "a"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_in_the_middle_of_a_long_apply(fitted, out, number, status):
    # Written sparse: 2 GB of zeros take no room on the disk, and long enough to map.
    n = 60_000_000
    header = np.lib.format.header_data_from_array_1_0(np.zeros((1, 8), np.float32)) | {"shape": (n, 8)}
    with Path("big.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + n * 32)
    before = {name: len(data) for name, data in files(fitted / "a").items()}
    overwrite = ["--overwrite"] if out == "a" else []
    process = Forked(["apply", "map", "big.npy", "--out", out, *overwrite], cwd=fitted)
    until(lambda: any(size(path) > 10_000_000 for path in fitted.rglob(".*.tmp*")), process)
    process.send_signal(number)
    stdout, stderr = process.communicate()
    assert process.returncode == status and stdout == ""
    told = [line for line in stderr.splitlines() if not line.startswith("Note: ")]
    assert told == (["Interrupted - nothing half-written was left"] if number == signal.SIGINT else [])
    assert not list(fitted.rglob(".*"))
    assert {name: len(data) for name, data in files(fitted / "a").items()} == before
    assert (fitted / out).exists() == (out == "a")


def size(path: Path) -> int:
    """Return the size of a file, or of the files of a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")))


def until(happens: Callable[[], bool], process: Forked) -> None:
    for _ in range(600):
        if happens():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    pytest.fail("it never began to write")


def test_defects_show_no_traceback(refused, monkeypatch, atlas_command):
    monkeypatch.setattr("atlas.storage.registry.Registry.list", lambda *_, **__: 1 // 0)
    atlas_message = atlas_command("list", status=1).stderr
    assert atlas_message == (
        "Error: Unexpected ZeroDivisionError: integer division or modulo by zero"
        " - set ATLAS_DEBUG=1 to see where, and please report it\n"
    )
    monkeypatch.setenv("ATLAS_DEBUG", "1")
    assert isinstance(atlas_command("list", status=1).exception, ZeroDivisionError)


def test_too_little_memory_is_told(monkeypatch, atlas_command):
    def greedy(*_, **__):  # type: ignore[no-untyped-def]
        raise MemoryError

    monkeypatch.setattr("atlas.storage.registry.Registry.list", greedy)
    assert atlas_command("list", status=1).stderr.startswith("Error: There is not enough memory - use a smaller")
