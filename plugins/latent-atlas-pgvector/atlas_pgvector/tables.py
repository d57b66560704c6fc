"""Queries to PostgreSQL about a table, and notes in its comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

# Of a table and the one beside it: which, column, type, dimension (-1: any), the name of the type, whether it
# has no NULL, the schema, the kind of the table ('v', 'm': a view).
COLUMNS = """
SELECT given.which, a.attname, t.typname, a.atttypmod, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    n.nspname, c.relkind::text
FROM (VALUES ('table', %s, %s), ('side', %s, %s)) AS given (which, space, name)
JOIN pg_class c ON c.relname = given.name
JOIN pg_namespace n ON n.oid = c.relnamespace
    AND CASE WHEN given.space = '' THEN pg_table_is_visible(c.oid) ELSE n.nspname = given.space END
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
"""
# Whether a column alone is a key without NULL.
KEY = """
SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = %s::regclass AND i.indisunique AND i.indpred IS NULL AND i.indnkeyatts = 1 AND a.attname = %s
    AND a.attnotnull
"""
# The indexes of a column alone: name, method, operators, options.
INDEXES = """
SELECT c.relname, m.amname, o.opcname, c.reloptions
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
JOIN pg_opclass o ON o.oid = i.indclass[0]
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = %s::regclass AND i.indnatts = 1 AND i.indpred IS NULL AND a.attname = %s
"""
# Names of all indexes that depend on a column, those of expressions and of part of the rows, too.
ALL_INDEXES = """
SELECT DISTINCT c.relname FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind IN ('i', 'I')
JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = %s::regclass
    AND a.attname = %s
"""
NOTES = """
SELECT col_description(%s::regclass, attnum) FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s
"""
LINE = "latent_atlas: "
METRICS = {"cosine": "cosine", "ip": "dot", "l2": "l2", "l1": "l1"}


@dataclass(frozen=True)
class Source:
    """Where the vectors of a place are: which table, its columns ('': none), the type of its ids, of its vectors."""

    table: str
    id: str
    vector: str
    mark: str
    label: str
    id_type: str
    kind: str
    dim: int


def split(path: str) -> tuple[str, str]:
    """Return the schema ('': the first that has it) and the name of the table in '/database/schema.table'.

    A name with a dot is in double quotes, as in SQL.
    """
    name = path.strip("/").partition("/")[2]
    quoted = re.fullmatch(r'(?:(.*)\.)?"([^"]+)"', name)
    schema, table = quoted.groups("") if quoted else name.rpartition(".")[::2]
    return schema.strip('"'), table


def metric(operators: Iterable[str]) -> str:
    """Return the metric of the operator classes of indexes, such as vector_cosine_ops; '' if there are none or several.

    Without an index, and with several, each query chooses by its operator.
    """
    found = {METRICS.get(one.removesuffix("_ops").rpartition("_")[2], "") for one in operators}
    return found.pop() if len(found) == 1 else ""


def joined(comment: str) -> tuple[str, dict[str, str]]:
    """Return others' text in a comment, and the notes in its last line."""
    said, _, last = comment.rpartition("\n")
    try:
        found = json.loads(last.removeprefix(LINE)) if last.startswith(LINE) else None
    except ValueError:
        found = None
    return (said, found) if isinstance(found, dict) else (comment, {})
