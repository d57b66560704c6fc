"""Files made to take all memory or time: each is read or refused within 1 GiB and 10 s of processor time.

    python tests/hostile/inputs.py [WORD...]

Every input is given to a command in a process of its own that gets no more than that; words choose among the inputs.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
import torch
from processtools import Forked

MEMORY, SECONDS, WALL = 2**30, 10, 120
# The libraries of a CUDA build of torch hold 560 MB more than those of a CPU build, before anything is read.
CUDA = 560_000_000 if torch.version.cuda else 0
Making = Callable[[Path], list[str]]
INPUTS: dict[str, Making] = {}


def hostile(name: str) -> Callable[[Making], Making]:
    """Give a function that makes an input, and returns the command that is to read it, a name."""

    def named(making: Making) -> Making:
        INPUTS[name] = making
        return making

    return named


def encoding(path: Path | str, encoder: str = "pixels", *more: str) -> list[str]:
    """Return the command that encodes a file."""
    return ["encode", encoder, str(path), *more, "--out", "made"]


PRECOMPUTED, TEXTS = ("-o", "model", "m"), ("-o", "dim", "1", "-o", "min_df", "1")


def each_ending(what: str, make: Callable[[Path], Any], *endings: str) -> None:
    """Add inputs that are something else than their ending says."""
    for ending in endings:

        @hostile(f"{what} called {ending}")
        def making(folder: Path, ending: str = ending) -> list[str]:
            path = folder / f"a{ending}"
            make(path)
            if ending in (".npy", ".safetensors", ".parquet"):
                return ["compare", str(path), str(path), "--metric", "cka"]
            return encoding(path, "tfidf-svd")


ENDINGS = (".npy", ".safetensors", ".parquet", ".csv", ".txt", ".jsonl", ".png")
each_ending("a link to /dev/zero", lambda path: path.symlink_to("/dev/zero"), *ENDINGS)
each_ending("a pipe", os.mkfifo, *ENDINGS)
each_ending("a folder", lambda path: path.mkdir(), *ENDINGS)
each_ending("nothing", lambda path: path.touch(), *ENDINGS)
each_ending("4 GB of holes", lambda path: (path.touch(), os.truncate(path, 2**32)), *ENDINGS)


for place in ("/dev/zero", "/dev/stdin", "/proc", "/usr", "/"):
    INPUTS[f"{place} as items"] = lambda folder, place=place: encoding(place)
    INPUTS[f"{place} as vectors"] = lambda folder, place=place: ["compare", place, place, "--metric", "cka"]
    INPUTS[f"{place} as an artefact"] = lambda folder, place=place: ["show", place]
    INPUTS[f"{place} in a recipe"] = lambda folder, place=place: recipe(
        folder, f"a: {{verb: encode, encoder: pixels, input: {place}}}"
    )
INPUTS["/usr as a registry"] = lambda folder: ["check", "/usr/share"]


def npy(path: Path, shape: str, dtype: str = "<f4", size: int = 0) -> Path:
    """Write the header of an array, and so many bytes of holes."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    os.truncate(path, path.stat().st_size + size)
    return path


for shape in (
    "(1152921504606846976, 4)",
    "(1099511627776, 0)",
    "(0, 1099511627776)",
    "(-1, 4)",
    "(2, 3, 4)",
    "(1e9, 4)",
):
    INPUTS[f"an array of {shape}"] = lambda folder, shape=shape: [
        *("compare", str(npy(folder / "a.npy", shape)), str(folder / "a.npy")),
        *("--metric", "cka"),
    ]
for dtype in ("|O", "V1073741824", "<U268435456", "<c16", "<f16", ">i8"):
    INPUTS[f"an array of dtype {dtype}"] = lambda folder, dtype=dtype: encoding(
        npy(folder / "a.npy", "(2, 2)", dtype, 64), "precomputed", *PRECOMPUTED
    )


def safetensors(path: Path, header: Any, data: bytes = b"") -> Path:
    """Write a safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(shape: list[int], size: int, dtype: str = "F32") -> dict[str, Any]:
    """Return the entry of one tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}


HEADERS: dict[str, Callable[[], Any]] = {
    "no rows of 2**47 columns": lambda: {"vectors": entry([0, 2**47], 0)},
    "2**47 rows of nothing": lambda: {"vectors": entry([2**47, 0], 0)},
    "shapes that overflow": lambda: {"vectors": entry([2**40, 2**40], 0)},
    "100,000 tensors": lambda: {f"t{i}": entry([0], 0) for i in range(100_000)},
    "nesting": lambda: b"[" * 5_000_000,
    "a huge number": lambda: b'{"a": ' + b"9" * 5_000_000 + b"}",
    "a name of 9 MB": lambda: {"a" * 9_000_000: entry([1, 1], 4)},
}
for name, header in HEADERS.items():
    INPUTS[f"safetensors with {name}"] = lambda folder, header=header: [
        *("compare", str(safetensors(folder / "a.safetensors", header())), str(folder / "a.safetensors")),
        *("--metric", "cka"),
    ]


@hostile("a label of 2**60")
def labelled(folder: Path) -> list[str]:
    """Labels of which most classes have no row."""
    header = {
        "vectors": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "labels": {"dtype": "I64", "shape": [2], "data_offsets": [16, 32]},
    }
    data = np.ones(4, "<f4").tobytes() + np.array([0, 2**60], "<i8").tobytes()
    return ["train", "linear", str(safetensors(folder / "a.safetensors", header, data)), "--out", "made"]


def png(path: Path, width: int, height: int, mode: int = 2, depth: int = 8, text: bytes = b"") -> Path:
    """Write a PNG of one colour, which compresses a thousandfold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    channels = {0: 1, 2: 3, 3: 1, 6: 4}[mode]
    row = b"\0" * (1 + (width * channels * depth + 7) // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, mode, 0, 0, 0)
    palette = chunk(b"PLTE", b"\0" * 6) if mode == 3 else b""
    chunks = (chunk(b"IHDR", head), text and chunk(b"zTXt", b"a\0\0" + text), palette, chunk(b"IDAT", data))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b""))
    return path


for side in (5_700, 6_500, 30_000):
    for mode, depth in ((2, 8), (6, 8), (3, 1)):
        INPUTS[f"a picture of {side} x {side}, mode {mode}"] = lambda folder, side=side, mode=mode, depth=depth: (
            encoding(png(folder / "a.png", side, side, mode, depth), "pixels", "-o", "size", "8")
        )


@hostile("a picture of 2**31 x 1")
def long_picture(folder: Path) -> list[str]:
    """One row of pixels, of which the header alone is there."""
    path = png(folder / "a.png", 1, 1)
    raw = bytearray(path.read_bytes())
    raw[16:20] = struct.pack(">I", 2**31 - 1)
    raw[29:33] = struct.pack(">I", zlib.crc32(raw[12:29]))
    path.write_bytes(raw)
    return encoding(path)


@hostile("a picture with a text of 500 MB")
def wordy_picture(folder: Path) -> list[str]:
    """A small picture beside a compressed text."""
    return encoding(png(folder / "a.png", 4, 4, text=zlib.compress(b"\0" * 500_000_000, 9)))


@hostile("12 pictures of 5,000 x 5,000")
def many_pictures(folder: Path) -> list[str]:
    """A batch of large pictures, none of which is too large."""
    (folder / "p").mkdir()
    first = png(folder / "p" / "0.png", 5_000, 5_000, 3, 1).read_bytes()
    for i in range(1, 12):
        (folder / "p" / f"{i}.png").write_bytes(first)
    return encoding(folder / "p", "pixels", "-o", "size", "8")


@hostile("pictures of 5,000 x 5,000 as they are")
def whole_pictures(folder: Path) -> list[str]:
    """Vectors of 75,000,000 dimensions."""
    (folder / "p").mkdir()
    first = png(folder / "p" / "0.png", 5_000, 5_000, 3, 1).read_bytes()
    for i in range(1, 5):
        (folder / "p" / f"{i}.png").write_bytes(first)
    return encoding(folder / "p")


@hostile("a picture of 10,000 frames")
def many_frames(folder: Path) -> list[str]:
    """An animation, of which the first picture counts."""
    frame = b"!\xf9\x04\0\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0"
    (folder / "a.gif").write_bytes(b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff" + frame * 10_000 + b";")
    return encoding(folder / "a.gif")


@hostile("a picture of 60,000 x 60,000, of which the header is there")
def gif(folder: Path) -> list[str]:
    """A GIF that is all header."""
    (folder / "a.gif").write_bytes(b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + b"\x80\0\0\0\0\0\xff\xff\xff;")
    return encoding(folder / "a.gif")


def parquet(path: Path, column: Any, **how: Any) -> Path:
    """Write a table of one column, which compresses well."""
    import pyarrow as pa
    from pyarrow import parquet as files

    files.write_table(pa.table({"text" if pa.types.is_string(column.type) else "vector": column}), path, **how)
    return path


@hostile("parquet of 100,000,000 equal numbers")
def repeated_numbers(folder: Path) -> list[str]:
    """Run lengths in place of rows."""
    import pyarrow as pa

    column = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(100_000_000, np.float32)), 1000)
    path = parquet(folder / "a.parquet", column, compression="zstd", row_group_size=2**30)
    return ["compare", str(path), str(path), "--metric", "cka"]


@hostile("parquet of 5,000 equal texts of 100 kB")
def repeated_texts(folder: Path) -> list[str]:
    """A dictionary of one entry."""
    import pyarrow as pa

    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, np.int32)), ["a" * 100_000])
    import pyarrow.parquet as files

    files.write_table(pa.table({"text": column}), folder / "a.parquet", store_schema=False)
    return encoding(folder / "a.parquet", "tfidf-svd", *TEXTS)


for name, text in {
    "aliases": "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(20)),
    "nesting": "[" * 500_000,
    "mappings in mappings": "{a: " * 200_000,
    "a number of 900,000 digits": "a: " + "9" * 900_000,
    "100,000 keys": "".join(f"k{i}: 1\n" for i in range(90_000)),
    "a key of 900,000 letters": "a" * 900_000 + ": 1\n",
    "900,000 dashes": "- " * 450_000,
    "anchors": "".join(f"&a{i} " for i in range(100_000)),
    "2 MB": "#" * 2_000_000,
    "merge keys": "a: {x: 1}\n<<: {x: 2}\n" * 10_000,
    "documents": "---\n" * 200_000,
}.items():

    def as_card(folder: Path, text: str = text) -> list[str]:
        """Write a card."""
        (folder / "a").mkdir()
        (folder / "a" / "config.yaml").write_text(text)
        return ["show", str(folder / "a")]

    def as_recipe(folder: Path, text: str = text) -> list[str]:
        """Write a recipe."""
        (folder / "r.yaml").write_text(text)
        return ["run", str(folder / "r.yaml"), "--out", "made", "--dry-run"]

    INPUTS[f"a card of {name}"], INPUTS[f"a recipe of {name}"] = as_card, as_recipe


def recipe(folder: Path, steps: str) -> list[str]:
    """Write a recipe of some steps."""
    (folder / "r.yaml").write_text("format: 1\nvalues: {all: [a, b]}\nsteps:\n  " + steps + "\n")
    np.save(folder / "a.npy", np.eye(9, 3, dtype=np.float32))
    return ["run", str(folder / "r.yaml"), "--out", "made", "--dry-run"]


ENCODE = "verb: encode, encoder: precomputed, options: {model: m}, input: a.npy"
PAIRS = ", ".join(f"a{i}" for i in range(20_000))
for name, steps in {
    "a range of 10**9": f"a: {{each: {{s: {{range: 1000000000}}}}, {ENCODE}}}",
    "a range of 10**30": f"a: {{each: {{s: {{range: {10**30}}}}}, {ENCODE}}}",
    "8 variables of 10 values": f"a: {{each: {{{', '.join(f'{n}: {{range: 10}}' for n in 'klmopqrt')}}}, {ENCODE}}}",
    "40 variables of 10 values": f"a: {{each: {{{', '.join(f'v{n}: {{range: 10}}' for n in range(40))}}}, {ENCODE}}}",
    "pairs of 20,000": f'a: {{each: {{"x, y": {{pairs: [{PAIRS}]}}}}, {ENCODE}}}',
    "25 steps that double": "\n  ".join(
        [
            f"a0: {{each: {{s0: {{range: 2}}}}, {ENCODE}}}",
            *(f"a{i}: {{each: {{step: a{i - 1}, s{i}: {{range: 2}}}}, {ENCODE}}}" for i in range(1, 25)),
        ]
    ),
    "50 steps": "\n  ".join(f"a{i}: {{{ENCODE}}}" for i in range(50)),
    "2,000 steps": "\n  ".join(f"a{i}: {{{ENCODE}}}" for i in range(2_000)),
    "10,000 jobs of which each names another": (
        f"a: {{each: {{i: {{range: 10000}}}}, {ENCODE}}}\n  "
        "b: {each: {step: a}, verb: sample, sampler: uniform, n: 2, vectors: {step: a}}"
    ),
    "a text that grows": f"a: {{each: {{s: ['{'${all}' * 20_000}']}}, {ENCODE}}}",
}.items():
    INPUTS[f"a recipe with {name}"] = lambda folder, steps=steps: recipe(folder, steps)


def csv(folder: Path, text: str, *more: str, ending: str = ".csv") -> list[str]:
    """Write a table."""
    (folder / f"a{ending}").write_text(text)
    return encoding(folder / f"a{ending}", "tfidf-svd", *more, *TEXTS)


WORDS = "text\none two\ntwo three\n"
for name, text, ending in (
    ("10,000 columns, one twice", lambda: ",".join([*(f"c{i}" for i in range(10_000)), "c9999"]) + "\n", ".csv"),
    ("500,000 columns", lambda: ",".join(f"c{i}" for i in range(500_000)) + "\n", ".csv"),
    ("500,000 columns called text", lambda: ",".join(["text"] * 500_000) + "\n", ".csv"),
    ("a field of 50 MB", lambda: f'text\n"{"a" * 50_000_000}"\nb\n', ".csv"),
    ("a quote that never ends", lambda: 'text\n"' + "a\n" * 1_000_000, ".csv"),
    ("500,000 equal ids", lambda: "id,text\n" + "1,a\n" * 500_000, ".csv"),
    ("300,000 classes", lambda: "text,label\n" + "".join(f"a b,{i}\n" for i in range(300_000)), ".csv"),
    ("2,000,000 quotes", lambda: "text\n" + '"' * 2_000_000, ".tsv"),
    ("lines of quotes", lambda: "text\n" + '"a"\n' * 300_000, ".tsv"),
    ("nesting", lambda: '{"text": ' + "[" * 1_000_000, ".jsonl"),
    ("a huge number", lambda: '{"text": "a", "label": ' + "9" * 1_000_000 + "}", ".jsonl"),
    (
        "another column in each line",
        lambda: "".join(f'{{"text": "a b", "c{i}": 1}}\n' for i in range(100_000)),
        ".jsonl",
    ),
    ("100,000 columns", lambda: json.dumps({f"c{i}": 1 for i in range(100_000)}), ".jsonl"),
    ("a line of 50 MB", lambda: "a" * 50_000_000, ".txt"),
    ("3,000,000 blank lines", lambda: "\n" * 3_000_000 + "a b\n", ".txt"),
    ("one letter a line", lambda: "a\r" * 400_000, ".txt"),
):
    INPUTS[f"a {ending[1:]} with {name}"] = lambda folder, text=text, ending=ending: csv(folder, text(), ending=ending)


def network(folder: Path, layers: list[dict[str, Any]], shape: list[int]) -> list[str]:
    """Write a description of a network, and items for it."""
    (folder / "layers.yaml").write_text(json.dumps(layers))
    safetensors(folder / "w.safetensors", {"0.weight": entry([1, 1, 1, 1], 4)}, b"\0" * 4)
    np.save(folder / "x.npy", np.ones((20, *shape), np.float32))
    how = ("-o", "layers", f"@{folder / 'layers.yaml'}", "-o", "weights", str(folder / "w.safetensors"))
    return encoding(folder / "x.npy", "network", *how, "-o", "input_shape", json.dumps(shape))


CONV = {"type": "conv", "in_channels": 1, "out_channels": 1, "kernel_size": 1, "bias": False}
POOL, FLAT = {"type": "global-avg-pool"}, {"type": "flatten"}
for name, layers in {
    "padding 850": [{**CONV, "padding": 850}, POOL],
    "padding 2000": [{**CONV, "padding": 2000}, POOL],
    "padding 2**24": [{**CONV, "padding": 2**24}, POOL],
    "a stride of 4000": [{**CONV, "type": "transposed-conv", "stride": 4000}, POOL],
    "2**24 channels": [{**CONV, "out_channels": 2**24}, POOL],
    "channels of zeros": [CONV, {"type": "subsample-pad", "stride": 1, "pad": 2**20}, POOL],
    "a wide linear layer": [CONV, FLAT, {"type": "linear", "in_features": 1, "out_features": 2**24}],
    "100,000 layers": [CONV, *[{"type": "relu"}] * 20_000, POOL],
    "residuals in residuals": [CONV, *[{"type": "residual", "body": [{"type": "relu"}]}] * 3_000, POOL],
}.items():
    INPUTS[f"a network with {name}"] = lambda folder, layers=layers: network(folder, layers, [1, 1, 1])


@hostile("a map of 2,000 steps")
def composed(folder: Path) -> list[str]:
    """A chain of maps."""
    program = (
        "import atlas, numpy as np, sys\n"
        "a = atlas.Vectors.of(np.random.default_rng(0).standard_normal((9, 3)), 'a')\n"
        "m = atlas.fit('procrustes', source=a, target=a)\n"
        "atlas.compose(*[m] * 2000, id='c').save_pretrained(sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", program, str(folder / "c")], check=True, capture_output=True)
    np.save(folder / "x.npy", np.eye(3, dtype=np.float32))
    return ["apply", str(folder / "c"), str(folder / "x.npy"), "--out", str(folder / "y.npy")]


@hostile("a plugin of 10,000 components")
def components(folder: Path) -> list[str]:
    """Far more names than anybody reads."""
    code = (
        "import atlas\nfrom dataclasses import dataclass\n"
        "def made(i):\n"
        "    class One(atlas.LinearAligner):\n        'Do it.'\n        name = f'one-{i}'\n"
        "        def solve(self, m): pass\n"
        "    return dataclass(One)\n"
        "@atlas.hookimpl\ndef register_aligners():\n    return [made(i) for i in range(10000)]\n"
    )
    site = folder / "site"
    info = site / "latent_atlas_many-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "hostile_many.py").write_text(code)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: latent-atlas-many\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[latent_atlas]\nmany = hostile_many\n")
    return ["aligners"]


@hostile("folders that lead to one another")
def linked(folder: Path) -> list[str]:
    """Links between folders of pictures, whose paths double with each level."""
    for name in "abc":
        (folder / "p" / name).mkdir(parents=True)
        png(folder / "p" / name / "x.png", 2, 2)
    for name in "abc":
        for other in "abc":
            (folder / "p" / name / f"to-{other}").symlink_to(folder / "p" / other)
    return encoding(folder / "p")


@hostile("an option of 1 MB")
def long_option(folder: Path) -> list[str]:
    """A name that nothing has."""
    np.save(folder / "x.npy", np.eye(3))
    return ["fit", "linear", "--source", str(folder / "x.npy"), "--target", str(folder / "x.npy"),
            "-o", "a" * 100_000, "1", "--out", "made"]  # fmt: skip


def limited(memory: int, seconds: int) -> None:
    """Let this process have no more than so many bytes, and so many seconds of the processor."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def judged(making: Making, folder: Path) -> tuple[bool, str]:
    """Return whether a command survives an input, and what it says last."""
    arguments = making(folder)
    environment = {
        **os.environ,
        **{"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home")},
        "PYTHONPATH": os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep),
    }
    process = Forked(arguments, folder, environment, partial(limited, MEMORY + CUDA, SECONDS))
    try:
        _, said = process.communicate(WALL)
    except TimeoutError:
        return False, f"not done in {WALL} s"
    said = said.strip()
    last = (said.splitlines() or [""])[-1]
    sound = process.returncode in (0, 1) and "Unexpected" not in said and "Traceback" not in said
    left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    return sound and "not enough memory" not in said and not left, f"{process.returncode}: {last[:150]}"


def survived(words: list[str]) -> Iterator[tuple[str, bool, str]]:
    """Yield the name of each input, whether it was survived, and what was said."""
    for name, making in INPUTS.items():
        if not words or any(word in name for word in words):
            with tempfile.TemporaryDirectory() as folder:
                yield name, *judged(making, Path(folder))


def main() -> int:
    """Try the inputs that the command line names, and return the exit status."""
    found = []
    for name, sound, said in survived(sys.argv[1:]):
        found.append(sound)
        print(f"{'ok   ' if sound else 'WRONG'} {name:<55} {said}", flush=True)
    print(f"hostile inputs: {len(found)} tried, {sum(found)} survived")
    return 0 if all(found) else 1


if __name__ == "__main__":
    sys.exit(main())
