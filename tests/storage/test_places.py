from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas.artefacts.loading import load, read_vectors, save
from atlas.cards.folder import CARD, MODEL, read_card
from atlas.errors import AtlasError
from atlas.storage import places
from atlas.storage.checks import problems
from atlas.storage.files import as_path, check_list, check_target, whole_file, whole_folder
from atlas.storage.registry import Registry, find_local
from atlas.storage.remote import reached

KILLED = 9
# Of whatever the system is asked for, what may change files.
STEPS = ("open", "os.", "shutil.", "ctypes.dlsym")


def killed_at(step: int, work: Callable[[], None]) -> bool:
    """Do some work in a process that is killed as it comes to a step; return whether it came so far."""
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, _: object) -> None:
            nonlocal seen
            if event.startswith(STEPS):
                seen += 1
                if seen > step:
                    os._exit(KILLED)

        sys.addaudithook(count)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


@pytest.fixture(params=["exchanged", "put aside"])
def way(request, monkeypatch) -> str:
    """Both ways in which a folder takes the place of another; the second is that of systems without an exchange."""
    if request.param == "put aside":
        monkeypatch.setattr(places, "exchange", lambda a, b: False)
    return request.param


@pytest.fixture
def two(tmp_path: Path, pair) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The files of two sound artefacts of one name."""
    found = []
    for name, vectors in (("old", pair.source), ("new", pair.target)):
        save(vectors, tmp_path / name / "x")
        found.append({file.name: file.read_bytes() for file in (tmp_path / name / "x").iterdir()})
    return found[0], found[1]


def write(folder: Path, files: dict[str, bytes]) -> None:
    with whole_folder(folder) as temporary:
        for name, content in files.items():
            (temporary / name).write_bytes(content)


def test_a_write_killed_anywhere_leaves_the_old_artefact_or_the_new_one(tmp_path, two, way):
    old, new = two
    folder, step, met = tmp_path / "at" / "x", 0, set()
    going_on = True
    while going_on:
        write(folder, old)
        (folder / "curve.csv").write_text("mine")
        (folder / "notes").mkdir(exist_ok=True)
        (folder / "notes" / "a").write_text("mine, too")
        going_on = killed_at(step, lambda: write(folder, new))
        found = find_local(folder)
        assert problems(found) == [], step
        met.add(read_card(found).space.id)  # type: ignore[attr-defined]
        assert (found / "curve.csv").read_text() == "mine" and (found / "notes" / "a").read_text() == "mine, too"
        step += 1
    assert met == {"a", "b"} and step > 15
    write(folder, old)
    assert [path.name for path in folder.parent.iterdir()] == ["x"]


def test_a_first_write_killed_anywhere_leaves_nothing_or_the_whole(tmp_path, two):
    folder, step = tmp_path / "at" / "x", 0
    while killed_at(step, lambda: write(folder, two[0])):
        assert not folder.exists() or problems(folder) == []
        step += 1
    assert step > 5 and problems(folder) == []
    assert [path.name for path in folder.parent.iterdir()] == ["x"]


def test_a_file_killed_anywhere_is_the_old_one_or_the_new_one(tmp_path):
    def work() -> None:
        with whole_file(tmp_path / "at" / "x") as temporary:
            temporary.write_bytes(b"new" * 1000)

    step, met = 0, set()
    while True:
        (tmp_path / "at").mkdir(exist_ok=True)
        (tmp_path / "at" / "x").write_bytes(b"old")
        killed = killed_at(step, work)
        met.add((tmp_path / "at" / "x").read_bytes())
        if not killed:
            break
        step += 1
    assert met == {b"old", b"new" * 1000} and [path.name for path in (tmp_path / "at").iterdir()] == ["x"]


def seen(folder: Path) -> bytes | None:
    """Return the tensors of an artefact if its card is of them, b'' if it is not; None if it is replaced meanwhile."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        card, tensors = (Path(f"/proc/self/fd/{opened}", name).read_bytes() for name in (CARD, MODEL))
    except FileNotFoundError:
        return None
    finally:
        os.close(opened)
    return tensors if hashlib.sha256(tensors).hexdigest().encode() in card else b""


def test_several_writes_at_once_leave_one_whole_artefact(tmp_path, two, way):
    folder = tmp_path / "at" / "x"
    write(folder, two[0])
    (folder / "curve.csv").write_text("mine")
    children = []
    for number in range(4):
        children.append(os.fork())
        if children[-1] == 0:
            try:
                for turn in range(40):
                    write(folder, two[(number + turn) % 2])
            except BaseException:
                os._exit(1)
            os._exit(0)
    done = 0
    while done < len(children):
        # With the exchange, there is a whole artefact at every moment.
        assert way != "exchanged" or seen(folder) in (None, two[0][MODEL], two[1][MODEL])
        done += bool(os.waitpid(-1, os.WNOHANG)[0])
    assert problems(folder) == [] and (folder / "curve.csv").read_text() == "mine"
    assert [path.name for path in folder.parent.iterdir()] == ["x"]


def test_what_replaces_something_is_on_the_disk_before_it_takes_its_place(tmp_path, two, monkeypatch):
    synced: list[tuple[str, bool]] = []

    def fsync(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        synced.append((path.name, ".tmp" in str(path)))

    monkeypatch.setattr(os, "fsync", fsync)
    folder = tmp_path / "at" / "x"
    write(folder, two[0])
    assert synced == []
    write(folder, two[1])
    assert sorted(synced) == [(CARD, True), (MODEL, True)]
    synced.clear()
    for _ in range(2):
        with whole_file(tmp_path / "y") as temporary:
            temporary.write_text("")
    assert len(synced) == 1 and synced[0][1]


@pytest.fixture
def left(tmp_path, two) -> Path:
    """What a killed write has left of an artefact, beside the artefact."""
    folder = tmp_path / "at" / "x"
    write(folder, two[0])
    temporary = f"""
from atlas.storage.files import whole_folder
with whole_folder(__import__("pathlib").Path({str(folder)!r})) as temporary:
    (temporary / "model.safetensors").write_text("half")
    print("ready", flush=True)
    input()
"""
    process = subprocess.Popen([sys.executable, "-c", temporary], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout and process.stdin and process.stdout.readline() == b"ready\n"
    [found] = [path for path in folder.parent.iterdir() if path.name != "x"]
    # What a living process writes is nobody's business.
    assert Registry(folder.parent).check() == {folder: []}
    write(folder, two[1])
    assert found.is_dir()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    return found


def test_what_a_killed_write_left_is_reported_and_goes_with_the_next_write(left, two, atlas_command):
    folder = left.parent / "x"
    assert Registry(left.parent).check() == {folder: [f"{left}: left by a write that was killed - remove it"]}
    assert str(left) in atlas_command("check", left.parent, status=1).output
    write(folder.with_name("y"), two[1])
    assert left.exists()
    write(folder, two[0])
    assert not left.exists() and Registry(left.parent).check()[folder] == []


def test_what_another_computer_writes_is_left_alone_for_a_week(left, two):
    name = left.name.split(".")
    other = left.with_name(".".join([*name[:2], f"00000000-{name[2].partition('-')[2]}", "tmp"]))
    left.rename(other)
    write(left.parent / "x", two[0])
    assert other.exists()
    os.utime(other, (time.time() - 8 * 24 * 3600,) * 2)
    write(left.parent / "x", two[0])
    assert not other.exists()


def test_what_was_put_aside_comes_back_when_it_is_looked_for(tmp_path, two):
    folder = tmp_path / "at" / "x"
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    for look in (
        lambda: load(folder),
        lambda: check_target(folder, overwrite=True),
        lambda: Registry(folder.parent).list(),
        lambda: write(folder, two[0]),
    ):
        write(folder, two[0])
        aside = places.temporary_name(folder, "old")
        folder.rename(folder.with_name(aside.name.replace(str(os.getpid()), str(int(gone.stdout)))))
        look()
        assert [path.name for path in folder.parent.iterdir()] == ["x"] and problems(folder) == []


def test_a_place_that_cannot_be_taken_is_given_back(tmp_path, two, monkeypatch):
    folder = tmp_path / "at" / "x"
    write(folder, two[0])
    monkeypatch.setattr(places, "exchange", lambda a, b: False)
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.suffix == ".tmp" and not Path(target).exists():
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(AtlasError, match=r"'.*x' cannot be written: Permission denied"):
        write(folder, two[1])
    assert [path.name for path in folder.parent.iterdir()] == ["x"] and problems(folder) == []


def test_files_beside_the_tensors_are_kept_without_links_too(tmp_path, two, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    folder = tmp_path / "at" / "x"
    write(folder, two[0])
    (folder / "notes").write_text("mine")
    (folder / "else").symlink_to("nowhere")
    write(folder, two[1])
    assert (folder / "notes").read_text() == "mine" and (folder / "else").is_symlink()


def test_a_link_in_place_of_a_folder_is_not_followed(tmp_path, pair):
    save(pair.source, tmp_path / "precious")
    before = (tmp_path / "precious" / CARD).read_bytes()
    for target in (tmp_path / "precious", tmp_path / "nowhere"):
        (tmp_path / "x").symlink_to(target)
        for overwrite in (True, False):
            with pytest.raises(AtlasError, match=r"'.*x' is a link, which is not followed - give the path of the"):
                save(pair.target, tmp_path / "x", overwrite=overwrite)
        (tmp_path / "x").unlink()
    (tmp_path / "x.npy").symlink_to(tmp_path / "precious" / CARD)
    pair.target.save_pretrained(tmp_path / "x.npy", overwrite=True)
    assert not (tmp_path / "x.npy").is_symlink() and (tmp_path / "precious" / CARD).read_bytes() == before


@pytest.mark.parametrize("name", ["o.csv", "o.npz", "o.NPY", "o.txt", "o.h5"])
def test_the_ending_of_another_file_is_refused_for_vectors(tmp_path, pair, name):
    message = rf"'.*{name}' ends in \.\w+, but the output is a folder - choose a name that ends in \.npy, "
    with pytest.raises(AtlasError, match=message + r"\.safetensors, \.parquet, or in none of a file"):
        pair.source.save_pretrained(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_the_ending_of_a_file_is_refused_for_a_folder(tmp_path, pair):
    for name in ("map.safetensors", "map.pt"):
        with pytest.raises(AtlasError, match=r"but the output is a folder - choose a name without it"):
            check_target(tmp_path / name, overwrite=True)
    for name in ("resnet50.a1_in1k", "clip-v1.5"):
        assert check_target(tmp_path / name, overwrite=False) == tmp_path / name


@pytest.mark.parametrize("name", ["skipped", "skipped.csv", "skipped.TXT"])
def test_a_list_of_ids_has_one_ending(tmp_path, name):
    with pytest.raises(AtlasError, match=rf"'.*{name}' must end in \.txt - it gets a list of ids, one a line"):
        check_list(tmp_path / name, overwrite=True)


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_what_has_no_name_is_refused(name):
    with pytest.raises(AtlasError, match=r"gives no name for the output - add one"):
        check_target(name, overwrite=True)


def test_a_tilde_is_the_home(tmp_path, pair, monkeypatch, atlas_command):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in ("~/a", "~/a.npy"):
        pair.source.save_pretrained(name)
        assert len(read_vectors(name)) == len(read_vectors(Path(name))) == 120
    assert read_card("~/a") == read_card(tmp_path / "home" / "a")
    assert Registry("~").list()[0].card.id == "a"
    monkeypatch.setenv("ATLAS_REGISTRY", "~")
    assert find_local("a") == tmp_path / "home" / "a"
    (tmp_path / "home" / "i.txt").write_text("one\ntwo\n")
    from atlas.items.files import read_items

    assert len(read_items("~/i.txt")) == 2
    atlas_command("encode", "precomputed", "~/a", "-o", "model", "m", "--out=~/c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"] and (tmp_path / "home" / "c").is_dir()


def test_a_tilde_that_names_nobody_is_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert as_path("~no-such-user-here/x") == Path("~no-such-user-here/x")


@pytest.mark.parametrize("page", ["https://huggingface.co/alice/map", "https://hf.co/alice/map/tree/main"])
def test_the_address_of_a_page_of_the_hub_says_how_to_name_what_is_there(atlas_command, page):
    for words in (["show", page], ["compare", page, page]):
        assert "hf://alice/map\n" in atlas_command(*words, status=1).output


def test_links_in_a_folder_that_is_kept_stay_links(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "notes").mkdir(parents=True)
    new.mkdir()
    (tmp_path / "large").mkdir()
    (old / "notes" / "link").symlink_to(tmp_path / "large")
    places.keep_others(old, new)
    assert (new / "notes" / "link").readlink() == tmp_path / "large"


def test_an_error_of_atlas_within_a_place_stays_as_it_is(tmp_path):
    pytest.importorskip("fsspec")
    with pytest.raises(AtlasError, match=r"^two rows are missing$"), reached(f"file://{tmp_path}"):
        raise AtlasError("two rows are missing")
