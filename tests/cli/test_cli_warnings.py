from __future__ import annotations

from atlas import read_vectors


def test_a_warning_is_shown_once_however_often_it_is_given(stored, atlas_command):
    (stored / "recipe.yaml").write_text(
        "format: 1\nsteps:\n"
        "  fit:\n    each: {id: [one, two]}\n    verb: fit\n    aligner: linear\n    source: few\n    target: few-too\n"
        "    options: {ridge: 0.0}\n    id: ${id}\n"
    )
    for name, few in (("a", "few"), ("b", "few-too")):
        read_vectors(name).of_items([f"item-{i}" for i in range(6)]).save_pretrained(few)
    done = atlas_command("run", "recipe.yaml", "--out", "made")
    assert done.stderr.count("Warning: Aligner 'linear' without a ridge fits noise: 6 pairs for 8 dimensions") == 1
