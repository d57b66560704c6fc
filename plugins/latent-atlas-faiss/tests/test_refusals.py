"""What is refused, in which words, and what a listing imports."""

import json
import subprocess
import sys

import faiss
import pytest
from click.testing import CliRunner
from indexes import D, K, N, build, rows, store

import atlas
from atlas_faiss import mapped_index


def test_the_old_index_is_never_replaced(folder, alignment):
    before = (folder / store(build())).read_bytes()
    for out in ("old.faiss", "./old.faiss"):
        with pytest.raises(atlas.AtlasError, match=r"leaves the old index 'old\.faiss' as it is - choose another name"):
            atlas.export("faiss", alignment, out, index="old.faiss", overwrite=True)
    assert (folder / "old.faiss").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "There is no index 'old.faiss' - give option 'index' the path of a faiss index"),
        (b"", "'old.faiss' is not an index that faiss can read: "),
        (b"a letter to somebody", "'old.faiss' is not an index that faiss can read: Index type 0x656c2061"),
        (b"IBxF....", "'old.faiss' is an index of bits, which no alignment maps to - give one of vectors"),
    ],
)
def test_what_is_no_index_is_told(folder, alignment, content, sentence):
    if content is not None:
        (folder / "old.faiss").write_bytes(content)
    with pytest.raises(atlas.AtlasError) as told:
        atlas.export("faiss", alignment, "new.faiss", index="old.faiss")
    assert sentence in str(told.value)
    assert "project/faiss" not in str(told.value)
    assert not (folder / "new.faiss").exists()


def test_a_file_that_claims_more_than_it_holds_asks_for_no_memory(folder, alignment):
    content = bytearray((folder / store(build("IDMap,Flat"))).read_bytes())
    # How many ids there are stands before the ids, at the end: a quarter of a terabyte of them.
    place = len(content) - 8 * N - 8
    content[place : place + 8] = (2**35).to_bytes(8, "little")
    (folder / "old.faiss").write_bytes(content)
    with pytest.raises(atlas.AtlasError, match=r"is not an index that faiss can read: .*byte_limit"):
        atlas.export("faiss", alignment, "new.faiss", index="old.faiss")


def test_a_truncated_index_is_told(folder, alignment):
    content = (folder / store(build())).read_bytes()
    (folder / "old.faiss").write_bytes(content[:-100])
    with pytest.raises(atlas.AtlasError, match=r"'old\.faiss' is not an index that faiss can read: .*read error"):
        atlas.export("faiss", alignment, "new.faiss", index="old.faiss")


def test_a_wrong_dimension_is_told(folder, alignment):
    store(faiss.IndexFlatL2(D))
    sentence = (
        f"'old.faiss' holds vectors of {D} dimensions, and alignment '{alignment.id}' makes vectors of {K} - give"
    )
    with pytest.raises(atlas.AtlasError, match=sentence):
        atlas.export("faiss", alignment, "new.faiss", index="old.faiss")


def test_what_is_no_index_in_memory_is_told(alignment):
    with pytest.raises(atlas.AtlasError, match="The index must be a faiss index of vectors, got IndexBinaryFlat"):
        mapped_index(alignment, faiss.IndexBinaryFlat(K))
    relative = atlas.create(atlas.Aligner, "relative").fit(rows(20, D, 0))
    other = atlas.Alignment.of(relative, atlas.Space("new", D), atlas.Space("r", 20))
    with pytest.raises(atlas.AtlasError, match=r"Alignment 'new__r__relative' is not affine, and faiss applies only"):
        mapped_index(other, faiss.IndexFlatL2(20))
    with pytest.raises(
        atlas.AtlasError, match="writes maps that are a weight and a bias, and alignment 'new__r__relat"
    ):
        atlas.export("faiss", other, "new.faiss", index="old.faiss")


def test_the_index_must_be_named(folder, alignment):
    from atlas.cli import main

    alignment.save_pretrained("map")
    done = CliRunner().invoke(main, ["export", "faiss", "map", "--out", "new.faiss"])
    assert done.exit_code == 1
    assert "Option 'index' of exporter 'faiss' is missing - Path of the index to search" in done.stderr


def test_a_listing_imports_nothing_heavy():
    code = (
        "import json, sys\nfrom atlas.cli import main\ntry:\n    main(['exporters'])\n"
        "except SystemExit:\n    print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "faiss " in done.stdout
    modules = json.loads(done.stderr.splitlines()[-1])
    assert "atlas_faiss" in modules
    assert "faiss" not in modules
