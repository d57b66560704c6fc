"""`atlas.testing` finds what is wrong with components that have one fault each, and passes those that have none."""

from __future__ import annotations

from pathlib import Path

import faulty_aligners as aligners
import faulty_encoders as encoders
import faulty_others as others
import faulty_stores as stores
import pytest
import torch

from atlas.testing import (
    CHECKS,
    check_aggregator,
    check_aligner,
    check_encoder,
    check_exporter,
    check_sampler,
    check_store,
)
from atlas.testing.exporters import applies_the_same
from atlas.testing.promises import paired_data
from atlas.testing.stores import ids_of

# Component, the check that finds its fault, and what that says.
FOUND = [
    (aligners.WiderResult, "fit_returns_self", "(160, 13) where it should make real numbers of shape (160, 12)"),
    (aligners.FitChangesX, "inputs_stay", "must leave its inputs as they are"),
    (aligners.MappingChangesX, "inputs_stay", "must leave its inputs as they are"),
    (aligners.ChanceOfTorch, "chance_is_seeded", "must leave the global random state alone"),
    (aligners.UnseededChance, "chance_is_seeded", "must give the same map from the same data"),
    (aligners.ChanceOfNumpy, "chance_is_seeded", "must leave the global random state alone"),
    (aligners.SeedsTorch, "chance_is_seeded", "must leave the global random state alone"),
    (aligners.KeepsAnAttribute, "state_survives", "must map to the same bits after saving and loading"),
    (aligners.BackInAnotherOrder, "invertible_is_true", "must bring rows back next to themselves"),
    (aligners.CentresTheBatch, "rows_are_alone", "must map a row alone as among others"),
    (aligners.AffineButBent, "affine_is_true", "must be its weight"),
    (aligners.AffineButScaled, "affine_is_true", "must be its weight"),
    (aligners.DimensionsSwapped, "fit_returns_self", "must have d_source 9, has 12"),
    (aligners.NeedsNothing, "needs_are_true", "must name in `needs` every moment that solve() reads, has ()"),
    (aligners.BackWithoutTheMean, "invertible_is_true", "must map rows brought back to their old place"),
    (aligners.FirstTwentyPairs, "pairs_count", "the same map comes without rows 40 to 79, 80 to 119, 120 to 159"),
    (aligners.StaysOnTheCPU, "devices_are_those_given", "must map on the device of the vectors"),
    (aligners.AnyK, "options_are_checked", "must refuse option k=-1 with an AtlasError"),
    (aligners.SortsTheTarget, "pairs_count", "must learn from rows as they are paired"),
    (aligners.StartsFromTheLast, "refit_forgets", "must forget the first fit in the second"),
    (aligners.DividesBySpread, "hard_data_is_met", "must map to finite numbers where a column is always 0"),
    (others.WithReplacement, "draws_rows", "chose no 33 distinct rows of 120"),
    (others.ChanceOfTorch, "seeds_decide", "must draw the same rows for the same seed - take all chance from"),
    (others.ChangesX, "inputs_stay", "must leave its inputs as they are"),
    (others.SeededByTheClock, "seeds_decide", "must draw the same rows for the same seed"),
    (others.SeedIgnored, "seeds_matter", "must draw other rows for another seed"),
    (others.LabelsIgnored, "labels_matter", "must make use of labels, as it refuses vectors without them"),
    (others.NeverTheLast, "any_row_is_drawn", "wherever they stand: 1 of 120 are never drawn, the first is row 119"),
    (others.AlwaysTheFirst, "seeds_matter", "must draw other rows for another seed, as it does in another order"),
    (encoders.SortsTheBatch, "batches_do_not_matter", "must make the same vectors in batches of 1"),
    (encoders.CentresTheBatch, "batches_do_not_matter", "must make the same vectors in batches of 1"),
    (encoders.DimIsWrong, "makes_rows", "shape (12, 16) where it should make real numbers of shape (12, 15)"),
    (encoders.DropsOut, "repeats_itself", "must make the same vectors of the same items - turn off dropout"),
    (encoders.KeepsAnAttribute, "state_survives", "must make the same vectors when it is made again"),
    (encoders.OptionNotInTheSpace, "options_are_in_the_space", "must have another space with seed=1"),
    (encoders.HashOfStrings, "processes_agree", "must make the same vectors in another process - hash()"),
    (encoders.StaysOnTheCPU, "devices_are_those_given", "must compute on the device it is given"),
    (encoders.DropsEmptyTexts, "odd_texts_are_met", "must encode '' or refuse it with an AtlasError"),
    (encoders.ThreeCharacters, "items_are_read", "must make different vectors of different items"),
    (encoders.OneVector, "items_are_read", "must make different vectors of different items"),
    (others.PairsByPosition, "rows_are_paired_by_item", "when rows come in another order - pair them by items"),
    (others.KeepsAnAttribute, "state_survives", "must combine to the same bits after saving and loading"),
    (others.CentresTheBatch, "rows_are_alone", "must combine an item alone as among others"),
    (others.CountsTheAbsent, "absent_charts_do_not_count", "must not count a chart in which an item is not present"),
    (others.AddingMovesTheRest, "adding_leaves_the_rest", "must leave the other charts as they are"),
    (others.WritesBeside, "writes_what_it_says", "must write exported.npz and nothing beside it"),
    (others.ChangesTheMap, "model_stays", "must leave the alignment as it is"),
    (others.WritesNothing, "writes_what_it_says", "must write a file that holds something"),
    (others.Transposed, "applies_the_same", "must write a file that can be read and applied to vectors"),
    (others.SaysItTakesAnyMap, "other_maps_are_met", "must write a map that is more than a weight and a bias"),
    (others.WritesTheTime, "writes_the_same_again", "must write the same bytes a second later"),
    (stores.ReadsTheFirstAgain, "rows_come_once", "must return every row once, row"),
    (stores.OrderOfTheBatch, "rows_come_once", "must return"),
    (stores.CountsAll, "rows_come_once", "must return the rows that it holds, counts 41 rows for 40"),
    (stores.MakesUpWhatIsMissing, "rows_are_fetched", "must fetch the rows of ids, those that are there"),
    (stores.WritesToTheVectors, "shadow_is_apart", "must leave the vectors as they are, marks row"),
    (stores.NoMarks, "shadow_is_apart", "must hold in the shadow the rows put there, marks row '007' with ''"),
    (stores.KeepsTheFirst, "writing_twice_is_once", "must replace rows that are put again"),
    (stores.NotesInMemory, "notes_are_kept", "must keep notes as they were written"),
    (stores.NotesStay, "switch_is_exact", "must take the notes of a place with it"),
    (stores.OneWay, "switch_is_exact", "must exchange the vectors and the shadow"),
    (stores.DropsTheNotesAlone, "drop_leaves_nothing", "must have no shadow once it is dropped"),
    (stores.NamesAnotherMetric, "metric_is_kept", "a metric that spaces name (cosine, dot, l2, l1), not 'euclidean'"),
    (stores.ForgetsTheMetricOfTheShadow, "metric_is_kept", "by which metric it will be searched: as its vectors are"),
    (stores.ShadowOfAnotherMetric, "metric_is_kept", "by which metric it will be searched: as its vectors are"),
    (stores.MetricOfTheDimension, "metric_is_kept", "must be searched by cosine after a switch, not by dot"),
    (stores.NamesAMetricOfNothing, "metric_is_kept", "must name no metric of a shadow that is not there"),
]
HARMLESS = [
    (aligners.Float64Result, aligners.Turn),
    (encoders.Float64Result, encoders.Words),
    (encoders.ChangesTheBatch, encoders.Words),
]


def first_complaint(component):
    """Return the first check that a component does not pass, and what that says."""
    about = (stores.maker(type(component)), ids_of(None)) if component.kind == "store" else ()
    for check in CHECKS[component.kind]:
        try:
            check(component, *about)
        except Exception as error:
            return check.__name__, str(error)
    if component.kind == "exporter":
        with pytest.raises(AssertionError) as raised:
            applies_the_same(component, None, others.apply)
        return "applies_the_same", str(raised.value)
    return "", ""


@pytest.fixture(autouse=True)
def no_second_passes(request, monkeypatch):
    """A file is written again at once, but where the time in it is the fault."""
    if "WritesTheTime" not in request.node.name:
        monkeypatch.setattr("atlas.testing.exporters.LATER", 0)


@pytest.mark.parametrize(("faulty", "check", "sentence"), FOUND, ids=lambda x: getattr(x, "__name__", None))
def test_a_planted_fault_is_found(faulty, check, sentence):
    found, said = first_complaint(faulty())
    assert found == check, said
    assert sentence in said and "\n" not in said
    assert said.startswith(f"{faulty.kind.capitalize()} '{faulty.name}' ")


@pytest.mark.parametrize(("faulty", "honest"), HARMLESS, ids=lambda cls: cls.__name__)
def test_the_base_class_makes_a_planted_fault_harmless(faulty, honest):
    assert first_complaint(faulty()) == ("", "")
    if faulty.kind == "aligner":
        X, Y = (t.float() for t in paired_data())
        made, due = (cls().fit(X, Y).transform(X) for cls in (faulty, honest))
    else:
        items = ["One text", "and Another"]
        made, due = (torch.cat(list(cls().encode(items))) for cls in (faulty, honest))
        assert items == ["One text", "and Another"]
    assert torch.equal(made.float(), due)


def test_controls_pass():
    check_aligner(aligners.Turn())
    check_aligner(aligners.Moved())
    check_encoder(encoders.Words())
    check_sampler(others.HonestSampler())
    check_aggregator(others.HonestAggregator())
    check_exporter(others.HonestExporter(), apply=others.apply)
    check_store(stores.maker(stores.Honest))


def test_the_page_says_how_many_are_found():
    page = (Path(__file__).parents[2] / "docs" / "writing-plugins.md").read_text()
    assert f"finds {len(FOUND)} of {len(FOUND) + len(HARMLESS)} faults" in page
