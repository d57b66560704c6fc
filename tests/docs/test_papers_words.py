"""Words and languages, small: the same in two spaces are found, by relative vectors and by translation."""

from __future__ import annotations

import gettext
import sys

import pytest
from papertools import mean, pictures, shared_run


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return shared_run("words", tmp_path_factory)


def test_items_are_found_through_relative_vectors_and_better_by_translation(ran):
    results, _ = ran
    alike = mean(results, step="relative", metric="mrr")
    assert alike > 0.4
    assert mean(results, step="words", metric="mrr", method="linear", n=300) > alike + 0.2


def test_maps_of_one_kind_of_items_do_worse_on_the_other(ran):
    results, _ = ran
    known, unknown = (
        mean(results, step="languages", method="linear", fitted="en to en", asked=kind, among=kind)
        for kind in ("en", "de")
    )
    assert known > unknown + 0.1
    assert mean(results, step="languages", method="linear", fitted="de to en", asked="de", among="en") > unknown


def test_all_pictures_of_the_page_are_drawn(ran):
    _, folder = ran
    assert all((folder / name).stat().st_size > 5000 for name in pictures("words"))


def test_sentences_are_read_from_catalogues_and_placeholders_left_out(tmp_path, ran):
    pages = sys.modules["paper_words_run"]
    folder = tmp_path / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    said = {
        "The file could not be opened for reading.": "Die Datei konnte nicht zum Lesen geöffnet werden.",
        "The file %s could not be opened for reading.": "Die Datei %s konnte nicht geöffnet werden.",
        "The name of this program is Atlas.": "The name of this program is Atlas.",
        "Open": "Öffnen",
    }
    (folder / "some.mo").write_bytes(catalogue({"": "Content-Type: text/plain; charset=UTF-8\n", **said}))
    first = next(iter(said.items()))
    assert pages.parallel(tmp_path) == {"en": [first[0]], "de": [first[1]]}


def catalogue(said):
    """Return the bytes of a compiled catalogue of messages, as msgfmt writes them."""
    said = dict(sorted(said.items()))
    keys, texts = ([text.encode() for text in side] for side in (said, said.values()))
    at, tables = 28 + 16 * len(said), []
    for side in (keys, texts):
        for text in side:
            tables += [len(text), at]
            at += len(text) + 1
    numbers = [0x950412DE, 0, len(said), 28, 28 + 8 * len(said), 0, at, *tables]
    return b"".join(n.to_bytes(4, "little") for n in numbers) + b"".join(t + b"\0" for t in (*keys, *texts))


def test_the_catalogue_of_the_test_is_one_that_gettext_reads(tmp_path):
    (tmp_path / "a.mo").write_bytes(catalogue({"": "Content-Type: text/plain; charset=UTF-8\n", "yes": "ja"}))
    with (tmp_path / "a.mo").open("rb") as file:
        assert gettext.GNUTranslations(file).gettext("yes") == "ja"
