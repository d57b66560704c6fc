"""The plan of a migration: everything that decides the outcome, as a file that a person can read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import torch

from atlas.artefacts.sources.stores import is_store
from atlas.artefacts.vectors import Vectors
from atlas.cards.names import sha256_of
from atlas.cards.schema import build
from atlas.cards.yaml import dump_yaml, read_yaml
from atlas.errors import AtlasError
from atlas.migration.advice import Advice, Gate
from atlas.migration.advising import BY_NAME, Columns, Question, question_of
from atlas.migration.methods import Method
from atlas.numerics.arrays import hash_of
from atlas.storage.files import whole_file

# The password in a URL.
_PASSWORD = re.compile(r"^([^:]+://[^/@:]*):[^/@]*@")


@dataclass(frozen=True)
class Inputs:
    """Where the vectors and judgements are that were advised on.

    Attributes:
        old, new, queries_new, queries_old, judgements, new_index, pairs: as `atlas.advise` takes them; '' for none.
        columns: of tables among them; None: found by their names.
    """

    old: str
    new: str
    queries_new: str
    queries_old: str = ""
    judgements: str = ""
    new_index: str = ""
    pairs: tuple[str, ...] = ()
    columns: Columns | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Inputs:
        """Return the inputs among the arguments of `atlas.advise`, each the place of vectors."""
        places = {one.name: given.get(one.name) for one in fields(cls) if one.name not in ("pairs", "columns")}
        pairs = tuple(place_of(one) for one in given.get("pairs") or ())
        named = Columns(*(given.get(f"{one.name.removesuffix('s')}_column") for one in fields(Columns)))
        columns = None if named == BY_NAME else named
        return cls(**{name: place_of(one) if one else "" for name, one in places.items()}, pairs=pairs, columns=columns)

    def read(self) -> Question:
        """Return their contents."""
        given: dict[str, Any] = {one.name: getattr(self, one.name) or None for one in fields(self)}
        return question_of(**{**given, "columns": self.columns or BY_NAME})

    def vectors(self, name: str) -> Vectors:
        """Return the vectors of an attribute."""
        columns = self.columns or BY_NAME
        read = columns.queries if name.startswith("queries") else columns.documents
        return read(getattr(self, name))

    def fitted_on(self, way: str) -> tuple[Vectors, Vectors]:
        """Return the vectors that the map is fitted on: the sources, and their targets."""
        old, new = map((self.columns or BY_NAME).documents, self.pairs or (self.old, self.new))
        return (old, new) if way == "convert" else (new, old)


@dataclass(frozen=True)
class Map:
    """The map that is fitted.

    Attributes:
        aligner: its name.
        options: those that are not as by default.
    """

    aligner: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The input of `atlas migrate run`.

    Attributes:
        format: 1.
        advised: the verdict, and its reason.
        way: "convert": the vectors of a store are mapped; "bridge": queries are, and the store stays.
        map: that is fitted.
        gate: the share of the new model's figure that it must keep, such as 'ndcg@10>=0.95'; '': it is not measured.
        store: URL of the store whose vectors are mapped; '' to bridge.
        inputs: vectors that the map is fitted and measured on.
        digests: of the contents of the inputs, so that a change is noticed.
    """

    format: int
    advised: str
    way: str
    map: Map
    gate: str
    store: str
    inputs: Inputs
    digests: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.format != 1 or self.way not in ("convert", "bridge"):
            raise AtlasError(f"The format must be 1 and the way convert or bridge, got {self.format}, '{self.way:.40}'")
        if self.way == "convert" and not is_store(self.store):
            raise AtlasError(
                f"The store must be the URL of one, such as pgvector:///postgres/docs or parquet:///FOLDER, got "
                f"'{self.store:.60}' - write it into the plan"
            )
        if self.gate:
            Gate.of(self.gate)

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Return the plan in a file."""
        data = read_yaml(path)
        if not isinstance(data, dict):
            raise AtlasError(f"{path} is no plan - make one with 'atlas migrate advise ... --plan {path}'")
        try:
            return build(cls, data)
        except AtlasError as error:
            raise AtlasError(f"{path}: {error}") from None

    def write(self, path: Path) -> None:
        """Write the plan to a file."""
        with whole_file(path) as temporary:
            temporary.write_text(dump_yaml(plain(self)), encoding="utf-8")

    @property
    def digest(self) -> str:
        """A fingerprint of the plan."""
        return sha256_of(plain(self))

    @property
    def method(self) -> Method:
        """The map as a method of `atlas.advise`."""
        return Method(self.map.aligner, self.map.options, float("nan"))

    def question(self) -> Question:
        """Return the contents of the inputs; raise `AtlasError` if they have changed since the advice."""
        found = self.inputs.read()
        now = digests(found)
        for what, digest in self.digests.items():
            if now.get(what) != digest:
                raise AtlasError(f"The {what} have changed since the plan was written - run atlas migrate advise again")
        return found


def plain(data: Any) -> Any:
    """Return a dataclass as plain data, without fields that are None, which earlier versions did not have."""
    return json.loads(json.dumps(asdict(data, dict_factory=lambda items: {k: v for k, v in items if v is not None})))


def digests(found: Question) -> dict[str, str]:
    """Return fingerprints of pairs, queries and judgements."""
    whole = found.whole
    old = torch.empty(0) if whole.queries_old is None else whole.queries_old
    queries = [sha256_of(list(whole.queries)), hash_of({"old": old.float(), "new": whole.queries_new})]
    given = {} if found.given is None else {"judgements": sha256_of(found.given)}
    return {"pairs": hash_of({"old": whole.pairs.old, "new": whole.pairs.new}), "queries": sha256_of(queries), **given}


def planned(advice: Advice, given: Mapping[str, Any], store: str = "") -> Plan | None:
    """Return the plan of an advice, None if there is nothing to do with a map.

    Args:
        advice: of `atlas.advise`.
        given: the arguments it was advised on, each the place of vectors.
        store: URL of the store, or the folder of Parquet files, whose vectors are mapped; '': the old index.
    """
    old_model_gone = given.get("queries_old") is None
    recalled = advice.verdict == "recall and re-order"
    if advice.verdict == "stay" or (recalled and not old_model_gone):
        return None
    # To embed everything is to map first, and to let native vectors take over until the gate is met.
    way = "bridge" if advice.verdict == "bridge" or recalled else "convert"
    method = advice.methods[way][0]
    inputs = Inputs.of(given)
    return Plan(
        format=1,
        advised=f"{advice.verdict} - {advice.reason}",
        way=way,
        map=Map(method.aligner, {**method.options}),
        gate="" if recalled else given["gate"],
        store=_store(store or given["old"], inputs.columns or BY_NAME) if way == "convert" else "",
        inputs=inputs,
        digests=digests(inputs.read()),
    )


def journal_of(plan: Path) -> Path:
    """Return the file of the journal of a plan, beside it."""
    return plan.with_suffix(".journal.yaml")


def check_place(path: Path, given: Mapping[str, Any], store: str = "") -> None:
    """Raise `AtlasError` where a plan cannot be written, before anything is measured; arguments as for `planned`.

    A plan whose migration has begun is not replaced: without it the migration could not go on or back.
    """
    if (journal := journal_of(path)).exists():
        raise AtlasError(
            f"'{path}' is a plan that has been begun, as '{journal}' says - give another file, or delete both once its "
            "migration is committed or rolled back"
        )
    if path.is_dir():
        raise AtlasError(f"'{path}' is a folder - give the file that the plan is written to")
    if store:
        _store(store, Inputs.of(given).columns or BY_NAME)


def _store(where: str, columns: Columns) -> str:
    """Return the URL of a store, or of a folder of Parquet files with these columns, without a password."""
    path = Path(where).expanduser()
    if "://" not in where and path.is_dir() and any(path.glob("*.parquet")):
        if columns.ids == "":
            raise AtlasError(
                f"The rows of '{where:.80}' are numbered, and vectors are written beside the old ones by ids - name "
                "the column that holds these with --id-column"
            )
        named = {"id": columns.ids, "vector": columns.vectors}
        options = urlencode({option: name for option, name in named.items() if name}, quote_via=quote)
        return f"parquet://{quote(str(path.resolve()))}" + (f"?{options}" if options else "")
    if not is_store(where):
        raise AtlasError(
            f"'{where:.80}' is neither the URL of a store nor a folder of .parquet files, where vectors can be mapped "
            "beside the old ones - say where they are with --store"
        )
    return _PASSWORD.sub(r"\1@", where)


def place_of(ref: Any) -> str:
    """Return where something is, as it can be read from anywhere."""
    path = Path(ref).expanduser()
    return str(path.resolve()) if "://" not in str(ref) and path.exists() else _PASSWORD.sub(r"\1@", str(ref))
