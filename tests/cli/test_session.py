"""What commands print, word for word: a session that is replayed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from click.testing import CliRunner
from conftest import Planted
from plugintools import look_again

from atlas.cli import main

SESSION = Path(__file__).parents[1] / "data" / "session.txt"
TEXTS = 'id,text,label\n1,"sea and ship",x\n2,"ship and storm",y\n3,"storm and sea",x\n4,"sea and sand",x\n5,"sand",y\n'
RECIPE = """\
format: 1
values: {methods: [procrustes, linear]}
steps:
  m: {each: {method: "${methods}"}, verb: fit, aligner: "${method}", source: a, target: b}
  r: {each: {step: m}, verb: evaluate, alignment: {step: m}, source: a, target: b, metrics: [r2, cosine]}
tables:
  Both: {of: r, rows: metric, columns: method}
"""


def replayed(session: str) -> str:
    """Run the commands of a session, and return it as it is now.

    Under each are its results, what it says on stderr behind '! ', and an exit status that is not 0 behind '= '.
    """
    lines = []
    for command in re.findall(r"^\$ atlas (.*)$", session, re.MULTILINE):
        done = CliRunner().invoke(main, shlex.split(command), prog_name="atlas", terminal_width=100)
        results, said = done.stdout.splitlines(), done.stderr.splitlines()
        status = [f"= {done.exit_code}"] if done.exit_code else []
        lines += [f"$ atlas {command}", *results[:40], *["..."][: len(results[40:])], *(f"! {line}" for line in said)]
        lines += [*status, ""]
    return "\n".join(everywhere(line)[:200] for line in lines)


def everywhere(line: str) -> str:
    """Return a line as it is on every machine: fewer digits, no hashes of numbers and no version."""
    line = re.sub(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}(?=\.\.\.)|(?<=-)[0-9a-f]{8}(?![0-9a-z])", "HASH", line)
    line = re.sub(r"(?<=latent-atlas )\d+\.\d+\.\d+[\w.+]*", "VERSION", line)
    return re.sub(r"-?\d+\.\d{5,}", lambda found: f"{float(found[0]):.4f}", line)


def test_commands_print_what_they_printed(pair: Planted, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATLAS_PLUGINS", "builtin")
    look_again()
    pair.source.save_pretrained("a")
    pair.target.save_pretrained("b")
    Path("t.csv").write_text(TEXTS)
    Path("r.yaml").write_text(RECIPE)
    session = SESSION.read_text(encoding="utf-8")
    assert replayed(session) == session
