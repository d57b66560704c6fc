"""A plan carried out: fitted, measured, mapped beside the old vectors, switched to, and taken back or made final."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from atlas.artefacts.alignment import Alignment
from atlas.artefacts.sources.state import State
from atlas.artefacts.sources.stores import opened
from atlas.artefacts.sources.transfer import GrownError, Transfer, Work, exchanged, transfer
from atlas.artefacts.vectors import Vectors
from atlas.cards.names import sha256_of
from atlas.components.store import SHADOW, VECTORS, Store
from atlas.errors import AtlasError
from atlas.migration.acting.calibrating import calibrated
from atlas.migration.acting.journal import Journal, Native, Step, alone
from atlas.migration.acting.plan import Plan, journal_of, place_of
from atlas.migration.acting.rows import check_ids, check_none_lost, still_mapped, written
from atlas.migration.advice import Gate
from atlas.migration.advising import Question, question_of_sample
from atlas.migration.measuring import Measured
from atlas.migration.rolling import order
from atlas.migration.scoring import Figure
from atlas.migration.trial import Maps
from atlas.numerics.arrays import hash_of
from atlas.progress import Progress, silent
from atlas.storage.files import as_path
from atlas.storage.rows import Rows
from atlas.verbs.fit import fit
from atlas.verbs.parameters.arguments import VectorsLike, vectors_of

STAGES = ("planned", "mapping", "mapped", "switched", "committed")
# How often rows may come while others are mapped.
TIMES = 5


@dataclass(frozen=True)
class Status:
    """How far a migration is.

    Attributes:
        stage: one of `STAGES`; of a bridge, planned or fitted.
        rows: how many rows were written beside the old ones, or are in use in their place.
        total: how many the store has.
        native: how many of the rows that were written are of the new model itself.
        kept: shares of the new model's figure, as `Journal` has them.
        steps: those that are done.
    """

    stage: str
    rows: int
    total: int
    native: int
    kept: dict[str, str]
    steps: Sequence[Step]


class Migration:
    """A plan carried out step by step. Old vectors are never written to, and deleted by `commit` alone.

    A step that was cut off, at any moment, goes on when it is called again.
    """

    def __init__(self, plan: str | Path, *, progress: Progress = silent) -> None:
        """Read a plan that `atlas migrate advise --plan` wrote.

        Args:
            plan: the file. A journal and the map that is fitted lie beside it.
            progress: shows how far it is.
        """
        self.path, self.progress = as_path(plan), progress
        self.plan = Plan.read(self.path)
        self._beside = journal_of(self.path)
        self.journal = Journal.of(self._beside, self.plan.digest)

    @property
    def map_folder(self) -> Path:
        """Where the map is."""
        return self.path.with_suffix(".map")

    def status(self) -> Status:
        """Return how far it is; nothing is changed."""
        journal = self.journal
        if self.plan.way == "bridge":
            return Status("fitted" if journal.map else "planned", 0, 0, 0, {**journal.kept}, journal.steps)
        with opened(self.plan.store) as store:
            stage, state = self._stage(store)
            rows, native, total = (
                state.tally.rows if state else 0,
                state.tally.native if state else 0,
                store.count(VECTORS),
            )
            if stage in ("switched", "committed") and state:
                # Rows that came after the switch are of the model that is in use.
                rows, native = total, native + max(0, total - rows)
            return Status(stage, rows, total, native, {**journal.kept}, journal.steps)

    def run(self) -> Status:
        """Fit the map, see that it meets the gate, map beside the old vectors, verify, and switch.

        Raises:
            AtlasError: the gate is not met, before or after; inputs have changed; or the store fails. The
                vectors in use are then as they were.
        """
        with self._alone():
            if self.plan.way == "bridge":
                self._bridge()
                return self.status()
            with opened(self.plan.store) as store:
                stage, _ = self._stage(store)
                _check_free(store, stage)
                if stage == "mapped" and store.count(SHADOW) > store.count(VECTORS):
                    check_none_lost(store)
            if stage in ("planned", "mapping", "mapped"):
                self._convert()
            return self.status()

    def resume(self) -> Status:
        """Continue an interrupted run."""
        if not self.journal.steps:
            raise AtlasError(f"Nothing of '{self.path}' has been begun - run it")
        return self.run()

    def add(self, vectors: VectorsLike, *, vector_column: str | None = None, id_column: str | None = None) -> Status:
        """Let vectors of the new model take the place of mapped ones, by their ids, in the next run.

        Of a migration that was committed, all others are then copied as they are. Vectors that were mapped beside the
        old ones before are dropped and made again.

        Args:
            vectors: where they are.
            vector_column: column of a table that holds the vectors; the only one that holds arrays unless given.
            id_column: column of a table that holds the ids; the one with a common name unless given, '' for none.
        """
        with self._alone():
            if self.plan.way == "bridge":
                raise AtlasError(f"'{self.path}' maps queries, and the index stays as it is - there is nothing to add")
            found = vectors_of(vectors, vector_column, id_column)
            self.plan.inputs.vectors("new").space.require(found.space, "The new vectors are of", "those that are added")
            with opened(self.plan.store) as store:
                if self._stage(store)[0] == "switched":
                    raise AtlasError(f"'{self.path}' has been switched to - commit it or roll it back first")
                check_ids(store, found)
                if not isinstance(vectors, (str, Path)):
                    raise AtlasError("Vectors that are added must lie in a file, a folder or a store - save them first")
                where = place_of(vectors)
                self._drop(store)
            native = Native(where, _digest(found), len(found), vector_column, id_column)
            self._write(f"added {len(found):,} native vectors", natives=(*self.journal.natives, native), work="")
            return self.status()

    def order(self) -> list[str]:
        """Return the ids of the rows that are still mapped, first those that are worth most to embed anew."""
        with self._alone():
            if self.plan.way == "bridge":
                raise AtlasError(f"'{self.path}' maps queries, and no document - there is nothing to embed anew")
            inputs, alignment = self.plan.inputs, None
            new, queries = inputs.vectors("new"), inputs.vectors("queries_new")
            ids: list[str] = []
            with opened(self.plan.store) as store:
                # After a switch, the rows in use are mapped already, and the old vectors are no longer the index.
                if not self.journal.committed and self._stage(store)[0] != "switched":
                    self.plan.question()
                    alignment = self._fitted()
                work = Work(alignment, self._natives())
                rows = still_mapped(work, store, ids)
                numbers = order(queries.data.float(), new.data.float(), rows).tolist()
            return [ids[row] for row in numbers]

    def rollback(self) -> Status:
        """Put the old vectors back in use, and remove all that was made beside them."""
        with self._alone():
            if self.plan.way == "convert":
                with opened(self.plan.store) as store, store.hold():
                    stage, _ = self._stage(store)
                    _check_free(store, stage)
                    if stage == "committed" and self.journal.work:
                        raise AtlasError(f"'{self.path}' has been committed: the vectors of before are gone")
                    if stage == "switched":
                        beside = State.of(store, SHADOW)
                        if beside and beside.digest not in self.journal.committed:
                            raise store.fail("has a shadow of other work in place of the old vectors - drop it first")
                        store.switch()
                        self._write("switched back")
                    self._drop(store)
            self._write("rolled back", natives=(), work="", kept={})
            return self.status()

    def commit(self) -> Status:
        """Delete the old vectors for good."""
        with self._alone():
            if self.plan.way == "bridge":
                raise AtlasError(f"'{self.path}' maps queries, and the index stays as it is - nothing is to be deleted")
            with opened(self.plan.store) as store, store.hold():
                stage, _ = self._stage(store)
                if stage not in ("switched", "committed"):
                    raise AtlasError(f"'{self.path}' is {stage} and not switched to yet - run it first")
                if stage == "switched":
                    store.drop()
                    self._settle(store)
            return self.status()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other runs away, and look at the journal again, which they may have written."""
        with alone(self.path):
            self.journal = Journal.of(self._beside, self.plan.digest)
            if self.plan.way == "convert":
                with opened(self.plan.store) as store:
                    self._settle(store)
            yield

    def _write(self, step: str, **changed: Any) -> None:
        self.journal = self.journal.write(self._beside, step, **changed)

    def _settle(self, store: Store) -> None:
        """Note that the old vectors are gone, if they are; a run may have been cut off before it could."""
        stage, _ = self._stage(store)
        if stage == "committed" and self.journal.work not in ("", *self.journal.committed):
            self._write("committed", committed=(*self.journal.committed, self.journal.work), natives=())

    def _stage(self, store: Store) -> tuple[str, State | None]:
        """Return how far the store is with the work of the journal, by its own notes, and these notes."""
        journal = self.journal
        if not journal.work:
            return ("committed" if journal.committed and not journal.natives else "planned"), None
        there = State.of(store, VECTORS)
        beside = State.of(store, SHADOW) if store.dim(SHADOW) else None
        if there and there.digest == journal.work:
            # A shadow that came after a commit is of other work.
            old_is_there = journal.work not in journal.committed and store.dim(SHADOW)
            return ("switched" if old_is_there else "committed"), there
        if beside and beside.digest == journal.work:
            return ("mapped" if beside.done else "mapping"), beside
        return "planned", None

    def _drop(self, store: Store) -> None:
        """Remove the vectors beside those in use, if this migration has made them and no row would be gone."""
        stage, _ = self._stage(store)
        if stage == "mapped":
            check_none_lost(store)
        if stage in ("mapping", "mapped"):
            store.drop()

    def _bridge(self) -> None:
        if self.journal.map:
            return
        question = self.plan.question()
        if self.plan.gate:
            measured, maps = self._measured(question)
            self._check("expected", measured.kept(measured.trial.bridge(maps)))
        self._fitted()

    def _convert(self) -> None:
        """Do all that is left until the mapped vectors are in use."""
        natives = self._natives()
        if self.journal.committed:
            alignment, measured = None, self._measured_after()
        else:
            question = self.plan.question()
            measured, maps = self._measured(question)
            self._check("expected", self._expected(measured, maps, natives, len(question.whole.documents)))
            alignment = self._fitted()
        work = Work(alignment, natives)
        if self.journal.work != work.digest:
            self._write("began to map" if alignment else "began to copy", work=work.digest)
        store = self.plan.store
        made = self._transferred(alignment, natives)
        self._write(f"mapped {made.rows:,} rows, with digest {made.digest}")
        self._check("found", measured.kept_of(written(store, measured.trial.documents, made.space.dim)))
        with opened(store) as there, there.hold():
            if self._stage(there)[0] == "mapped":
                if there.count(VECTORS) > there.count(SHADOW):
                    raise there.fail("has rows that came after the others were mapped - resume, which maps them")
                exchanged(there)
        self._write("switched")

    def _transferred(self, alignment: Alignment | None, natives: Vectors | None) -> Transfer:
        """Write all rows beside those in use, and those that come meanwhile."""
        store, how = self.plan.store, dict[str, Any](natives=natives, progress=self.progress)
        for _ in range(TIMES - 1):
            with contextlib.suppress(GrownError):
                return transfer(alignment, store, store, **how)
        return transfer(alignment, store, store, **how)

    def _measured(self, question: Question) -> tuple[Measured, Maps]:
        """Return the measurement of the map, and the map in folds, each of which leaves some pairs out."""
        way, method = self.plan.way, self.plan.method
        trial = question.trial
        maps = Maps.of(method.create(), trial.pairs, way)
        gate = Gate.of(self.plan.gate)
        return Measured(trial, question.whole, question.given, gate, {way: method}, {way: maps}), maps

    def _measured_after(self) -> Measured:
        """Return the measurement once the old vectors are gone: among the documents of the sample."""
        inputs = self.plan.inputs
        known, asked = inputs.vectors("new"), inputs.vectors("queries_new")
        question = question_of_sample(known, asked, inputs.judgements or None)
        return Measured(question.whole, question.whole, question.given, Gate.of(self.plan.gate), {}, {})

    def _expected(self, measured: Measured, maps: Maps, natives: Vectors | None, rows: int) -> Figure:
        """Return the share that converting keeps, of documents that maps have not seen, some of which are native.

        Of those that are measured no more are taken for native than of all: a sample that was added would flatter.
        """
        trial = measured.trial
        known = {*natives.ids} if natives else {}
        chosen = [row for row, one in enumerate(trial.documents) if one in known]
        most = round(len(trial.documents) * len(known) / rows)
        return measured.kept(trial.convert(maps, torch.tensor(chosen[:most], dtype=torch.int64)))

    def _check(self, which: str, figure: Figure) -> None:
        """Write down the share that is kept, and raise `AtlasError` unless it meets the gate."""
        gate = Gate.of(self.plan.gate)
        told = f"{figure} % of the new model's {gate.measure}"
        self._write(f"{which} to keep {told}", kept={**self.journal.kept, which: str(figure)})
        if figure.value < gate.least:
            more = "add vectors of the new model, or take another way" if which == "expected" else "look at the store"
            raise AtlasError(f"The gate {self.plan.gate} is not met: the map keeps {told} - {more}")

    def _fitted(self) -> Alignment:
        """Return the map, which is fitted once and kept beside the plan."""
        if self.journal.map and self.map_folder.exists():
            found = Alignment.from_pretrained(self.map_folder)
            if Work(found).map_digest != self.journal.map:
                raise AtlasError(f"'{self.map_folder}' is not the map that was fitted - remove it, and run again")
            return found
        source, target = self.plan.inputs.fitted_on(self.plan.way)
        made = fit(self.plan.map.aligner, source=source, target=target, **self.plan.map.options)
        calibrated(self.plan, made).save_pretrained(self.map_folder, overwrite=True)
        made = Alignment.from_pretrained(self.map_folder)
        self._write(f"fitted {self.plan.method} on {made.n_pairs:,} pairs", map=Work(made).map_digest)
        return made

    def _natives(self) -> Vectors | None:
        """Return the vectors that were added, the last of an id where it was more than once."""
        found = [vectors_of(one.vectors, one.vector_column, one.id_column) for one in self.journal.natives]
        for vectors, one in zip(found, self.journal.natives, strict=True):
            if _digest(vectors) != one.digest:
                raise AtlasError(f"'{one.vectors}' has changed since it was added - roll back, and add it again")
        if not found:
            return None
        rows = {one: (part, row) for part, vectors in enumerate(found) for row, one in enumerate(vectors.ids)}
        data = torch.stack([found[part].data[row].float() for part, row in rows.values()])
        return Vectors.made(found[0].space, Rows(data), list(rows))


def _digest(vectors: Vectors) -> str:
    return sha256_of([list(vectors.ids), hash_of({"vectors": vectors.data})])


def _check_free(store: Store, stage: str) -> None:
    """Raise `AtlasError` where a migration has not begun, and another is between its switch and its commit."""
    if stage == "planned" and State.of(store, VECTORS) and store.dim(SHADOW) and not State.of(store, SHADOW):
        raise store.fail(
            "holds vectors that another migration has switched to - commit that one, or roll it back first"
        )
