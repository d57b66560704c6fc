"""Files of judgements, and judgements that do not fit the vectors."""

from __future__ import annotations

import pytest
import torch

from atlas import AtlasError
from atlas.migration.judgements import neighbours, read_judgements, relevant
from atlas.storage.item_ids import RowNumbers

EXPECTED = {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": 1}}
FILES = {
    "a.qrels": "q1 0 d1 2\nq1 0 d2 0\n\nq2 0 d1 1\n",
    "a.txt": "q1\tQ0\td1\t2\nq1\tQ0\td2\t0\r\nq2 Q0 d1 1",
    "a.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t1\n",
    "a.jsonl": '{"query": "q1", "document": "d1", "grade": 2}\n{"qid": "q1", "doc_id": "d2", "rel": 0}\n'
    '{"query_id": "q2", "docid": "d1", "relevance": 1.0}\n',
}


@pytest.mark.parametrize("name", FILES)
def test_all_forms_are_read(name, tmp_path):
    (tmp_path / name).write_text(FILES[name])
    assert read_judgements(tmp_path / name) == EXPECTED


@pytest.mark.parametrize(
    "name, text, sentence",
    [
        ("a.qrels", "q1 0 d1 1\nq1 d1 1\n", r"a.qrels, line 2: a line of TREC qrels has 4 words .* got 3"),
        ("a.qrels", "q1 0 d1 0.5\n", "line 1: the grade must be a whole number below 1,000,000, got '0.5'"),
        (
            "a.qrels",
            "q1 0 d1 1\nq1 0 d1 0\n",
            "line 2: document 'd1' has grade 0 for query 'q1', and 1 in a line before",
        ),
        ("a.qrels", "q1 0 d1 good\n", "line 1: the grade must be a whole number below 1,000,000, got 'good'"),
        ("a.qrels", "q1 0 d1 999999\nq1 0 d2 1000000\n", "line 2: the grade must be .* below 1,000,000, got '1000000'"),
        ("a.qrels", "q1 0 d1 inf\n", "line 1: the grade must be a whole number below 1,000,000, got 'inf'"),
        ("a.qrels", "\n", "holds no judgements - give TREC qrels"),
        ("a.tsv", "q1\td1\t1\n", "the header must name one of query-id, .* has q1, d1, 1"),
        ("a.tsv", "query-id\tcorpus-id\tscore\nq1\td1\n", "line 2: has fewer columns than the header"),
        ("a.jsonl", '{"query": 1, "document": 2, "grade": 1}\n[1]\n', "line 2: must be a JSON object"),
        ("a.jsonl", "[" * 100_000, "line 1: must be a JSON object"),
        ("a.jsonl", '{"query": {}, "document": "d", "grade": 1}\n', "line 1: the query must be an id, .* got {}"),
        ("a.jsonl", '{"query": "q", "document": 1.5, "grade": 1}\n', "line 1: the document must be an id, .* got 1.5"),
        ("a.tsv", "query-id\tcorpus-id\tscore\nq\t" + "x" * 140_000 + "\t1\n", "line 2: is no row of a table .* limit"),
        ("a.csv", "query-id,corpus-id,score\n", "line 1: a line of TREC qrels .* - name a table with tabs .tsv"),
        ("a.jsonl", '{"query": 1, "grade": 1}\n', "line 1 must name one of corpus-id, .* has query, grade"),
        (
            "a.jsonl",
            '{"query": 1, "document": 2, "grade": null}\n',
            "the grade must be a whole number below 1,000,000, got None",
        ),
    ],
)
def test_what_is_none_is_told_by_its_line(name, text, sentence, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(AtlasError, match=sentence):
        read_judgements(tmp_path / name)


def test_files_that_are_not_there_or_no_text_are_told_of(tmp_path):
    with pytest.raises(AtlasError, match="There is no file"):
        read_judgements(tmp_path / "a.qrels")
    (tmp_path / "a.qrels").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AtlasError, match="is no text in UTF-8"):
        read_judgements(tmp_path / "a.qrels")


def test_queries_without_a_relevant_document_do_not_count():
    assert relevant(EXPECTED, ["q1", "q2"], ["d2", "d1"]) == EXPECTED
    assert relevant(EXPECTED, ["q2", "q3"], ["d1"]) == {"q2": {"d1": 1}}
    with pytest.raises(AtlasError, match="None of the 1 queries has a relevant document among the 1"):
        relevant(EXPECTED, ["q1"], ["d2"])


def test_numbers_from_one_for_rows_from_zero_are_told_of():
    judged = {str(i): {str(i): 1} for i in range(1, 6)}
    with pytest.raises(AtlasError, match="The judgements number queries from 1"):
        relevant(judged, RowNumbers(5), [str(i) for i in range(6)])
    with pytest.raises(AtlasError, match="The judgements number documents from 1"):
        relevant(judged, [str(i) for i in range(1, 6)], RowNumbers(5))
    assert len(relevant({"0": {"0": 1}, **judged}, RowNumbers(6), RowNumbers(6))) == 6


def test_neighbours_are_judgements():
    assert neighbours(["a", "b"], ["x", "y", "z"], torch.tensor([[2, 0], [1, 2]])) == {
        "a": {"z": 1, "x": 1},
        "b": {"y": 1, "z": 1},
    }
