"""Commands that are killed at any moment, and two at once: nothing half-written is there, and the next try succeeds.

    python tests/hostile/kills.py [--kills 240] [--pairs 40] [--seed 1] [COMMAND...]

Half of the kills come at a random moment of the work, half at a random step of all that the command asks the system
for; each is a SIGKILL, which nothing can catch. After each: every artefact that is there is whole, what was there
before is the old or the new, and the same command then succeeds and leaves what it leaves when nobody disturbs it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import io
import itertools
import os
import pkgutil
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
from hubserver import HubServer

# Of whatever the system is asked for, what may change files or talk to a server.
STEPS = ("open", "os.", "shutil.", "ctypes.dlsym", "socket.")
TOKEN = "hf_test_write"


@dataclass(frozen=True)
class Command:
    """What is killed.

    Attributes:
        arguments: of the `atlas` command, in the folder of the round; {repo} is a name of its own for each round.
        made: what it writes there.
    """

    arguments: tuple[str, ...]
    made: str


FIT = ("fit", "--source", "a", "--target", "b")
COMMANDS = {
    # Before rounds of pushes make repositories of their own.
    "index": Command(("index", "tester", "--registry", "registry"), "registry"),
    "lock": Command(("lock", "hf://tester/there", "--out", "made.lock"), "made.lock"),
    "encode to a folder": Command(("encode", "tfidf-svd", "t.csv", "-o", "dim", "4", "--out", "made"), "made"),
    "encode over a folder": Command(
        ("encode", "tfidf-svd", "t.csv", "-o", "dim", "4", "--out", "old-v", "--overwrite"), "old-v"
    ),
    "encode to a file": Command(("encode", "tfidf-svd", "t.csv", "-o", "dim", "4", "--out", "made.npy"), "made.npy"),
    "fit": Command((*FIT, "linear", "--out", "made"), "made"),
    "fit over a folder": Command((*FIT, "linear", "--out", "old-m", "--overwrite"), "old-m"),
    "train": Command(("train", "linear", "a", "--out", "made"), "made"),
    "aggregate": Command(("aggregate", "generalized-procrustes", "a", "b", "--out", "made"), "made"),
    "apply to a file": Command(("apply", "m", "a", "--out", "made.safetensors"), "made.safetensors"),
    "apply over a file": Command(("apply", "m", "a", "--out", "old.npy", "--overwrite"), "old.npy"),
    "apply over a folder": Command(("apply", "m", "a", "--out", "old-v", "--overwrite"), "old-v"),
    "run": Command(("run", "r.yaml", "--out", "made"), "made"),
    "run again": Command(("run", "r.yaml", "--out", "run", "--set", "method", "linear"), "run"),
    "push": Command(("push", "m", "tester/{repo}"), ""),
    "push once more": Command(("push", "m", "tester/there"), ""),
    "pull": Command(("pull", "hf://tester/there"), ""),
    "pull to a folder": Command(("pull", "hf://tester/there", "--to", "made"), "made"),
    "pull over a folder": Command(("pull", "hf://tester/there", "--to", "old-m", "--overwrite"), "old-m"),
}
RECIPE = """\
format: 1
values: {method: procrustes}
steps:
  a: {verb: encode, encoder: tfidf-svd, options: {dim: 4}, input: t.csv}
  b: {verb: encode, encoder: tfidf-svd, options: {dim: 3}, input: t.csv}
  m: {verb: fit, aligner: "${method}", source: {step: a}, target: {step: b}}
  y: {verb: apply, mapping: {step: m}, vectors: {step: a}}
  r: {verb: evaluate, alignment: {step: m}, source: {step: a}, target: {step: b}, metrics: [r2, cosine]}
tables:
  all: {of: r, rows: metric}
"""


def atlas(folder: Path, arguments: tuple[str, ...]) -> int:
    """Run a command in this process and in a folder, and return its exit status."""
    from huggingface_hub import constants

    from atlas.cli import main

    os.chdir(folder)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    constants.HF_HUB_CACHE = str(folder / "hub")
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main(list(arguments), prog_name="atlas")
        except SystemExit as ended:
            status = int(ended.code or 0)
        else:
            status = 0
    (folder / "said").write_text(said.getvalue())
    return status


def forked(work: Callable[[], int], prepare: Callable[[], None] = lambda: None) -> int:
    """Do something in a process of its own, whose number is returned."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            prepare()
            status = work()
        finally:
            os._exit(status)
    return child


def status_of(child: int) -> int:
    """Wait for a process, and return its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at_step(work: Callable[[], int], step: int) -> int:
    """Do something that is killed as it comes to a step, and return the exit status."""

    def prepare() -> None:
        seen = itertools.count()

        def count(event: str, _: object) -> None:
            if event.startswith(STEPS) and next(seen) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)

    return status_of(forked(work, prepare))


def killed_after(work: Callable[[], int], seconds: float) -> int:
    """Do something that is killed after a time, and return the exit status."""
    child = forked(work)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return status_of(child)


def steps_of(work: Callable[[], int], report: Path) -> int:
    """Return how many steps something has."""

    def counted() -> int:
        seen = itertools.count()
        sys.addaudithook(lambda event, _: next(seen) and None if event.startswith(STEPS) else None)
        status = work()
        report.write_text(str(next(seen)))
        return status

    assert status_of(forked(counted)) == 0, (report.parent / "said").read_text()
    return int(report.read_text())


def digest(path: Path) -> str:
    """Return a hash of a file, or of all that is in a folder; '' of nothing."""
    if not path.exists():
        return ""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    found = hashlib.sha256()
    for file in files:
        found.update(str(file.relative_to(path)).encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


def damaged(folder: Path) -> list[str]:
    """Return what is wrong with the artefacts in a folder, and with the cache beside them."""
    from atlas.cards.folder import CARD
    from atlas.storage.checks import problems

    wrong = []
    for card in folder.rglob(CARD):
        parts = card.relative_to(folder).parts
        if not any(part.startswith(".") and part.endswith(".tmp") for part in parts) and "hub" not in parts:
            wrong += problems(card.parent)
    for blob in folder.glob("hub/models--*/blobs/*"):
        if not blob.name.startswith("."):
            content = blob.read_bytes()
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            wrong += [] if blob.name in (git, hashlib.sha256(content).hexdigest()) else [f"{blob}: is damaged"]
    return wrong


def leftovers(folder: Path) -> list[str]:
    """Return what killed writes have left."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".*") if path.suffix in (".tmp", ".old")]


def published(repo: str) -> dict[str, str]:
    """Return the files at the head of a repository, by hash; nothing if it is not there."""
    from huggingface_hub import HfApi, errors

    try:
        tree = HfApi().list_repo_tree(f"tester/{repo}")
        # The README names the repository, and a new one has attributes before anything is pushed.
        files = {file.path: "" if file.path == "README.md" else file.blob_id for file in tree}
        return {name: blob for name, blob in files.items() if name != ".gitattributes"}
    except errors.RepositoryNotFoundError:
        return {}


def template(folder: Path) -> None:
    """Fill a folder with what the commands read, and with what they replace."""
    rng = np.random.default_rng(0)
    words = ["sea", "ship", "storm", "sun", "sand", "tree", "leaf", "root", "star", "moon", "night", "light"]
    texts = [" ".join(rng.choice(words, 8)) for _ in range(300)]
    lines = [f'{i},"{text}",c{i % 3}' for i, text in enumerate(texts)]
    (folder / "t.csv").write_text("\n".join(["id,text,label", *lines]))
    (folder / "r.yaml").write_text(RECIPE)
    np.save(folder / "old.npy", np.ones((300, 4), np.float32))
    for command in (
        ("encode", "tfidf-svd", "t.csv", "-o", "dim", "8", "--out", "a"),
        ("encode", "tfidf-svd", "t.csv", "-o", "dim", "6", "--out", "b"),
        (*FIT, "procrustes", "--out", "m"),
        ("run", "r.yaml", "--out", "run"),
        ("push", "m", "tester/there"),
        ("index", "tester", "--registry", "registry"),
        ("push", "a", "tester/a"),
    ):
        assert status_of(forked(lambda command=command: atlas(folder, command))) == 0, (folder / "said").read_text()
    shutil.copytree(folder / "a", folder / "old-v")
    shutil.copytree(folder / "m", folder / "old-m")
    shutil.rmtree(folder / "hub", ignore_errors=True)
    shutil.rmtree(folder / "cache", ignore_errors=True)


def again(command: Command) -> tuple[str, ...]:
    """Return the arguments of the next try: what was written before the kill came is replaced."""
    first = command.arguments
    whole = {"--out", "--to"} & {*first} and first[0] not in ("run", "lock")
    return (*first, "--overwrite") if whole and "--overwrite" not in first else first


class Rounds:
    """Rounds of kills of one command.

    Attributes:
        before: what was there before the command.
        after: what it leaves when nobody disturbs it.
    """

    def __init__(self, name: str, folder: Path, numbers: Iterator[int]) -> None:
        self.command, self.folder, self.numbers = COMMANDS[name], folder, numbers
        place = self.fresh()
        self.before = digest(place / self.command.made) if self.command.made else ""
        self.steps = steps_of(self.work(place, self.command.arguments), place / "steps")
        self.after = self.left(place)
        start = time.monotonic()
        place = self.fresh()
        assert status_of(forked(self.work(place, self.command.arguments))) == 0
        self.seconds = time.monotonic() - start

    def fresh(self) -> Path:
        """Return a folder of its own, as it is before the command."""
        place = self.folder.parent / f"round-{next(self.numbers)}"
        shutil.copytree(self.folder, place, symlinks=True)
        return place

    def work(self, place: Path, arguments: tuple[str, ...]) -> Callable[[], int]:
        """Return what runs a command in a folder."""
        return lambda: atlas(place, tuple(part.format(repo=place.name) for part in arguments))

    def left(self, place: Path) -> Any:
        """Return what a command has left, in a folder or in its repository."""
        if self.command.made:
            return digest(place / self.command.made)
        return published(place.name if "{repo}" in self.command.arguments[-1] else "there")

    def kill(self, rng: random.Random) -> tuple[bool, list[str]]:
        """Kill the command once; return whether it was at work, and everything that is wrong afterwards."""
        place = self.fresh()
        work = self.work(place, self.command.arguments)
        if rng.random() < 0.5:
            status = killed_at_step(work, rng.randrange(self.steps))
        else:
            status = killed_after(work, rng.uniform(0, self.seconds))
        wrong = damaged(place)
        made = self.left(place)
        whole = (self.before, self.after, "", {})
        # A run and a registry are whole in their parts.
        if made not in whole and self.command.made not in ("run", "registry") and self.command.arguments[0] != "run":
            wrong.append("what is there is neither the old nor the new")
        if code := status_of(forked(self.work(place, again(self.command)))):
            wrong.append(f"the next try ends with {code}: {(place / 'said').read_text().strip()}")
        if self.left(place) != self.after:
            wrong.append("the next try leaves something else than an undisturbed one")
        wrong += [f"{path} is left" for path in leftovers(place)] + damaged(place)
        shutil.rmtree(place)
        return status == -signal.SIGKILL, wrong

    def both(self, rng: random.Random) -> list[str]:
        """Run the command twice at once, into one place; return everything that is wrong afterwards."""
        place = self.fresh()
        work = self.work(place, again(self.command))
        first = forked(work)
        time.sleep(rng.uniform(0, self.seconds / 2))
        second = forked(work)
        codes = sorted(status_of(child) for child in (first, second))
        wrong = damaged(place) + [f"{path} is left" for path in leftovers(place)]
        if codes not in ([0, 0], [0, 1]):
            wrong.append(f"they end with {codes}")
        if self.left(place) != self.after:
            wrong.append("what is there is not what one leaves")
        shutil.rmtree(place)
        return wrong


@contextlib.contextmanager
def hub(folder: Path) -> Iterator[str]:
    """Run a Hub in a process of its own, and yield its address."""
    inbox, outbox = os.pipe()

    def serve() -> int:
        with HubServer(folder) as server:
            os.write(outbox, server.url.encode())
            signal.pause()
        return 0

    child = forked(serve)
    try:
        yield os.read(inbox, 1000).decode()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def settle(url: str, home: Path) -> None:
    """Let the client talk to a Hub; it reads this once, when it is imported."""
    settings = {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "0",
        "OMP_NUM_THREADS": "1",
    }
    os.environ.update({**settings, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"})
    import markupsafe  # noqa: F401
    import torch

    import atlas
    from atlas.plugins.catalogue import plugins

    # What every command would import by itself first, which changes no file.
    plugins()
    for module in pkgutil.walk_packages(atlas.__path__, "atlas."):
        with contextlib.suppress(ImportError):  # Some need a library that no command here does.
            importlib.import_module(module.name)
    torch.set_num_threads(1)


def rounds_of(names: list[str], folder: Path) -> Iterator[tuple[str, Rounds]]:
    """Yield the rounds of each command."""
    numbers = itertools.count()
    (folder / "sound").mkdir()
    template(folder / "sound")
    for name in names:
        yield name, Rounds(name, folder / "sound", numbers)


def main() -> int:
    """Do what the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("commands", nargs="*")
    parser.add_argument("--kills", type=int, default=240)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    names = [name for name in COMMANDS if not given.commands or any(word in name for word in given.commands)]
    rng, counts = random.Random(given.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as temporary, hub(Path(temporary) / "data") as url:
        settle(url, Path(temporary) / "home")
        for name, rounds in rounds_of(names, Path(temporary)):
            at_work = 0
            for _ in range(-(-given.kills // len(names))):
                killed, wrong = rounds.kill(rng)
                at_work += killed
                counts.update(kills=killed, damaged=bool(wrong))
                for one in wrong:
                    print(f"WRONG {name}: {one}")
            pairs = -(-given.pairs // len(names)) if rounds.command.made else 0
            for _ in range(pairs):
                wrong = rounds.both(rng)
                counts.update(pairs=1, pairs_damaged=bool(wrong))
                for one in wrong:
                    print(f"WRONG {name}, twice at once: {one}")
            print(
                f"{name:<24} killed {at_work:>3} times of {rounds.steps} steps, twice at once {pairs} times", flush=True
            )
    print(f"kills: {counts['kills']} at work, {counts['damaged']} damaged")
    print(f"two at once: {counts['pairs']}, {counts['pairs_damaged']} damaged")
    return 1 if counts["damaged"] or counts["pairs_damaged"] else 0


if __name__ == "__main__":
    sys.exit(main())
