"""Which documents answer which query: from files of judgements, or from the new model's own finds."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from atlas.errors import AtlasError, NotFoundError
from atlas.storage.files import as_path
from atlas.storage.item_ids import RowNumbers

# Query to document to grade.
Judgements: TypeAlias = Mapping[str, Mapping[str, int]]
# Names of the columns of a table and the fields of a JSON line.
QUERY = ("query-id", "query_id", "query", "qid")
DOCUMENT = ("corpus-id", "corpus_id", "doc-id", "doc_id", "document", "docid", "docno")
GRADE = ("score", "relevance", "grade", "label", "rel")
# More grades than that are no judgements of people.
HIGHEST = 10**6


def read_judgements(path: str | Path) -> Judgements:
    """Return the judgements of a file: TREC qrels, .tsv with a header, or .jsonl.

    Raises:
        AtlasError: a line that is none of these, with its number, or no judgement at all.
    """
    found: dict[str, dict[str, int]] = {}
    file = as_path(path)
    if not file.is_file():
        raise NotFoundError(f"There is no file '{path}'")
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise AtlasError(f"{path}: is no text in UTF-8 - give TREC qrels, .tsv or .jsonl") from None
    parse = {".tsv": _of_table, ".jsonl": _of_json}.get(file.suffix, _of_trec)
    for number, query, document, grade in parse(path, lines):
        grades = found.setdefault(str(query), {})
        whole = _grade(grade, f"{path}, line {number}")
        if grades.setdefault(str(document), whole) != whole:
            raise AtlasError(
                f"{path}, line {number}: document '{document}' has grade {whole} for query '{query}', and "
                f"{grades[str(document)]} in a line before - keep one"
            )
    if not found:
        raise AtlasError(f"{path}: holds no judgements - give TREC qrels (query 0 document grade), .tsv or .jsonl")
    return found


def _grade(grade: Any, where: str) -> int:
    try:
        value = float(grade)
        if value.is_integer() and abs(value) < HIGHEST:
            return int(value)
    except (TypeError, ValueError):
        pass
    raise AtlasError(f"{where}: the grade must be a whole number below {HIGHEST:,}, got {grade!r:.40}")


def _of_trec(path: str | Path, lines: Sequence[str]) -> Iterator[tuple[int, Any, Any, Any]]:
    for number, line in enumerate(lines, 1):
        if words := line.split():
            if len(words) != 4:
                expected = "a line of TREC qrels has 4 words (query 0 document grade)"
                other = "name a table with tabs .tsv, and JSON lines .jsonl"
                raise AtlasError(f"{path}, line {number}: {expected}, got {len(words)} - {other}")
            yield number, words[0], words[2], words[3]


def _of_table(path: str | Path, lines: Sequence[str]) -> Iterator[tuple[int, Any, Any, Any]]:
    rows = csv.DictReader(lines, delimiter="\t")
    columns = [_named(rows.fieldnames or (), names, f"{path}: the header") for names in (QUERY, DOCUMENT, GRADE)]
    for row in _readable(path, rows):
        query, document, grade = (row[column] for column in columns)
        if None in (query, document, grade):
            raise AtlasError(f"{path}, line {rows.line_num}: has fewer columns than the header")
        yield rows.line_num, query, document, grade


def _readable(path: str | Path, rows: csv.DictReader) -> Iterator[dict[str, Any]]:
    try:
        yield from rows
    except csv.Error as error:
        raise AtlasError(f"{path}, line {rows.line_num + 1}: is no row of a table with tabs: {error}") from None


def _of_json(path: str | Path, lines: Sequence[str]) -> Iterator[tuple[int, Any, Any, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise AtlasError(f"{path}, line {number}: must be a JSON object with a query, a document and a grade")
        where = f"{path}, line {number}"
        query, document, grade = (row[_named(tuple(row), names, where)] for names in (QUERY, DOCUMENT, GRADE))
        for what, one in (("query", query), ("document", document)):
            if not isinstance(one, (str, int)):
                raise AtlasError(f"{where}: the {what} must be an id, a text or a whole number, got {one!r:.40}")
        yield number, query, document, grade


def _named(names: Sequence[str], wanted: Sequence[str], where: str) -> str:
    for name in wanted:
        if name in names:
            return name
    has = ", ".join(map(str, names))[:200] or "nothing"
    raise AtlasError(f"{where} must name one of {', '.join(wanted)}, has {has} - add it")


def relevant(judgements: Judgements, queries: Sequence[str], documents: Sequence[str]) -> Judgements:
    """Return the judgements of queries and documents that are there, for queries with a relevant one.

    Raises:
        AtlasError: none is left; the message says whose ids are unknown.
    """
    known = set(documents)
    have = [query for query in queries if query in judgements]
    if not have:
        raise _strangers("queries", judgements, queries)
    if known.isdisjoint(document for query in have for document in judgements[query]):
        raise _strangers("documents", (d for query in have for d in judgements[query]), documents)
    _check_numbers("queries", judgements, queries)
    _check_numbers("documents", {d for grades in judgements.values() for d in grades}, documents)
    kept = {q: {d: grade for d, grade in judgements[q].items() if d in known} for q in have}
    found = {q: grades for q, grades in kept.items() if any(grade > 0 for grade in grades.values())}
    if not any(grade > 0 for query in have for grade in judgements[query].values()):
        raise AtlasError(
            f"The judgements find no document relevant for any of the {len(have)} queries: all grades are 0 or below - "
            "give answers a grade above 0"
        )
    if not found:
        raise AtlasError(
            f"None of the {len(have)} queries has a relevant document among the {len(documents)} that are looked at - "
            f"embed judged documents with the new model, too"
        )
    return found


def _strangers(what: str, judged: Iterable[str], given: Sequence[str]) -> AtlasError:
    return AtlasError(
        f"The judgements name none of the {len(given)} {what} (theirs are such as '{next(iter(judged), '')}', "
        f"the vectors' '{given[0]}') - give vectors whose ids are those of the judgements"
    )


def _check_numbers(what: str, judged: Iterable[str], given: Sequence[str]) -> None:
    """Raise where rows without ids are numbered from 0, and judgements from 1: all would be off by one."""
    names = set(judged)
    if isinstance(given, RowNumbers) and str(len(given)) in names and "0" not in names:
        raise AtlasError(
            f"The judgements number {what} from 1, and these vectors have no ids, so that rows count from 0 - "
            f"give vectors with ids"
        )


def neighbours(queries: Sequence[str], documents: Sequence[str], nearest: Tensor) -> Judgements:
    """Return for each query its nearest documents (q, k), by the numbers of their rows, as if judged relevant."""
    rows = zip(queries, nearest.tolist(), strict=True)
    return {query: {documents[row]: 1 for row in found} for query, found in rows}
