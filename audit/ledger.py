"""What a trail binds of LangGraph's tables: the last version of every row, and checks of rows against it.

Pure. Feed it the checked entries of one trail in order; then ask it about rows (docs/formats.md, section 3).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .chain import START, Checked, Link
from .entry import KEYS_TRAIL, SYSTEM_TRAIL, check_trail
from .errors import MalformedError, VerificationError
from .kinds import Kind
from .rows import (
    BLOBS,
    CHECKPOINTS,
    TABLES,
    WRITES,
    BoundRow,
    Column,
    RowKey,
    Table,
    named,
    parse_rows,
    row_digest,
)

_SEQ = 8  # bytes
_RECORD = _SEQ + 32
_LETTERS = {CHECKPOINTS.name: "c", BLOBS.name: "b", WRITES.name: "w"}
_NAMES = {letter: name for name, letter in _LETTERS.items()}
_Packed = str | RowKey
_BEGINS = (Kind.RUN_STARTED, Kind.RUN_RESUMED)
_ENDS = (Kind.RUN_COMPLETED, Kind.RUN_FAILED, Kind.RUN_REFUSED, Kind.RUN_PAUSED, Kind.INTERRUPT_RAISED)

NEVER_BOUND = (
    "no entry binds any row of this thread: LangGraph wrote it before Countersign was there, somebody wrote it behind "
    "the saver's back, or its entries were removed"
)


@dataclass(frozen=True, slots=True)
class Binding:
    """The digest a row must have, and the entry that says so."""

    sha256: str
    seq: int


class Ledger:
    """The bindings of one trail up to `link`."""

    def __init__(self, trail: str) -> None:
        self.trail = trail
        self.link: Link = START
        self.incomplete = False
        """Set by a report that lost an entry on the way: what replaced what can then no longer be told."""
        self.open_run: str | None = None
        """The run that began, and of which no entry says how it ended: it goes on, or was lost to a crash."""
        self.adopted: int | None = None
        """The entry that adopted the thread's rows, where that is how they came to be bound."""
        self.moved = 0
        """The newest entry that binds a row."""
        # A thread may have a million rows: a key is one text, its binding 40 bytes at that place of `_bound`.
        self._rows: dict[_Packed, int] = {}
        self._bound = bytearray()
        self._by_checkpoint: dict[tuple[str, str], set[RowKey]] | None = None
        """Made when it is first asked for; verification never does."""
        self._latest: dict[str, str] = {}

    @property
    def size(self) -> int:
        """How many rows are bound."""
        return len(self._rows)

    def apply(self, checked: Checked) -> None:
        """Take over what a checked entry binds. Raises VerificationError when it binds what it may not."""
        body, payload = checked.body, checked.payload
        if not isinstance(payload, dict) or "rows" not in payload:
            self._follow(checked.link, body.kind, body.run)
            return
        try:
            rows = parse_rows(payload["rows"])
            replaced = _parse_replaced(payload.get("replaced", []))
        except MalformedError as error:
            raise self._failed(checked, error.message) from error
        if self.trail in (SYSTEM_TRAIL, KEYS_TRAIL):
            raise self._failed(checked, "binds rows, but no case has this trail.")
        if body.kind == Kind.TRAIL_ADOPTED:
            self._adopt(checked)
        for row in rows:
            self._bind(checked, row, replaced)
        if replaced and (strange := replaced.keys() - {row.key for row in rows}):
            raise self._failed(checked, f"says that it replaces {named(min(strange))}, which it does not bind.")
        self._follow(checked.link, body.kind, body.run)

    def extend(self, link: Link, kind: str, run: str | None, rows: Iterable[BoundRow]) -> None:
        """Take over rows that an entry of this very process bound for the first time: nothing is left to check."""
        self._follow(link, kind, run)
        for row in rows:
            self._set(row, _pack(row.key), link.seq)

    def _follow(self, link: Link, kind: str, run: str | None) -> None:
        self.link = link
        if kind in _BEGINS:
            self.open_run = run
        elif kind in _ENDS and run == self.open_run:
            self.open_run = None

    @property
    def binds(self) -> bool:
        """Whether any entry binds a row: a thread of which none does was never audited, and may be adopted."""
        return bool(self._rows)

    def binding(self, key: RowKey) -> Binding | None:
        """Return the last binding of the row `key`, or None when no entry binds it."""
        found = self._find(key)
        return None if found is None else Binding(self._digest(found).hex(), self._seq(found))

    def latest(self, ns: str) -> str | None:
        """Return the id of the newest checkpoint bound in namespace `ns` (LangGraph's ids sort by time)."""
        return self._latest.get(ns)

    def writes_of(self, ns: str, checkpoint_id: str) -> set[RowKey]:
        """Return the keys of all `checkpoint_writes` rows bound to one checkpoint."""
        if self._by_checkpoint is None:
            self._by_checkpoint = {}
            for key in map(self._unpack, self._rows):
                self._index(key)
        return self._by_checkpoint.get((ns, checkpoint_id), set())

    def check_row(self, table: Table, row: Sequence[Column]) -> None:
        """Pass if the row, whose columns are in the table's order, equals its last binding.

        Raises VerificationError with check `unbound` or `row` otherwise.
        """
        key = table.key_of(row)
        found = self._find(key)
        if found is None:
            raise self._unbound(key)
        self._check_digest(found, key, row)

    def check_all(self, rows: Iterable[tuple[Table, Sequence[Column]]]) -> Iterator[VerificationError]:
        """Yield a failure for each row that differs, is unbound or stands twice, and for each bound row that is gone.

        `rows` are all the rows of this thread.
        """
        check = RowsCheck(self)
        for table, row in rows:
            if (error := check.feed(table, row)) is not None:
                yield error
        yield from check.finish()

    def stranger(self, table: str) -> VerificationError:
        """Return the failure for a thread that has rows, in `table` at least, none of which any entry binds."""
        return VerificationError(
            f"Thread {self.trail!r} has rows in {table}, and {NEVER_BOUND}.{adoption_remedy(self.trail)}",
            check="unbound",
            trail=self.trail,
            table=table,
        )

    def missing(self, key: RowKey, binding: Binding | None = None) -> VerificationError:
        """Return the failure for a bound row that is not in its table."""
        found = binding or self.binding(key)
        if found is None:
            raise KeyError(key)
        seq = found.seq
        return self._row_failed("missing", key, f"entry {seq} bound it, and it is gone from the table", seq)

    def doubled(self, key: RowKey) -> VerificationError:
        """Return the failure for a row that stands in its table twice."""
        return self._row_failed("duplicate", key, "it stands in the table twice")

    def checkpoints(self) -> set[RowKey]:
        """Return the keys of all checkpoints bound."""
        return {key for key in map(self._unpack, self._rows) if key[0] == CHECKPOINTS.name}

    def _adopt(self, checked: Checked) -> None:
        """Take note of an adoption. It vouches for what it found, so it must not cover up what was bound before."""
        if self._rows:
            raise self._failed(checked, "adopts rows of a thread of which earlier entries bind rows already.")
        self.adopted = checked.body.seq
        # A run that was begun before saved nothing: what was adopted does not say how it ended.
        self.open_run = None

    def _bind(self, checked: Checked, row: BoundRow, replaced: Mapping[RowKey, int]) -> None:
        table, key = row.key
        if key[0] != self.trail:
            raise self._failed(checked, f"binds a row of another thread, {key[0]!r}.")
        packed = _pack(row.key)
        found = self._rows.get(packed)
        differs = found is not None and self._digest(found) != bytes.fromhex(row.sha256)
        says = replaced.get(row.key)
        if self.incomplete or (says is None and not differs):
            self._set(row, packed, checked.body.seq)
            return
        if found is not None and differs and says != self._seq(found):
            raise self._failed(
                checked,
                f"binds a row of {table} again with other content without saying that it replaces what entry "
                f"{self._seq(found)} bound: the row had been taken out or edited in between.",
            )
        if not differs:
            raise self._failed(checked, f"says that it replaces a row of {table} that it does not change.")
        self._set(row, packed, checked.body.seq)

    def _set(self, row: BoundRow, packed: _Packed, seq: int) -> None:
        table, key = row.key
        self.moved = seq
        at = self._rows.setdefault(packed, len(self._rows)) * _RECORD
        self._bound[at : at + _RECORD] = seq.to_bytes(_SEQ) + bytes.fromhex(row.sha256)
        if table == CHECKPOINTS.name:
            ns, checkpoint_id = key[1], key[2]
            self._latest[ns] = max(checkpoint_id, self._latest.get(ns, ""))
        elif self._by_checkpoint is not None:
            self._index(row.key)

    def _index(self, key: RowKey) -> None:
        if key[0] == WRITES.name and self._by_checkpoint is not None:
            self._by_checkpoint.setdefault((key[1][1], key[1][2]), set()).add(key)

    def _find(self, key: RowKey) -> int | None:
        """Return the number of a bound row; rows of other threads are never bound here."""
        return self._rows.get(_pack(key)) if key[1][0] == self.trail else None

    def _unpack(self, packed: _Packed) -> RowKey:
        if isinstance(packed, str):
            return _NAMES[packed[0]], (self.trail, *packed[1:].split("\0"))
        return packed

    def _seq(self, number: int) -> int:
        return int.from_bytes(self._bound[number * _RECORD : number * _RECORD + _SEQ])

    def _digest(self, number: int) -> bytes:
        return bytes(self._bound[number * _RECORD + _SEQ : (number + 1) * _RECORD])

    def _check_digest(self, number: int, key: RowKey, row: Sequence[Column]) -> None:
        if row_digest(row) != self._digest(number):
            seq = self._seq(number)
            raise self._row_failed("row", key, f"it is not what entry {seq} bound: it was changed in the database", seq)

    def _failed(self, checked: Checked, sentence: str) -> VerificationError:
        entry = checked.entry
        return VerificationError(
            f"Entry {entry.seq} of trail {entry.trail!r} {sentence}",
            check="binding",
            trail=entry.trail,
            seq=entry.seq,
            table="payloads",
            column="data",
        )

    def _unbound(self, key: RowKey) -> VerificationError:
        if self.binds or self.incomplete:
            return self._row_failed("unbound", key, "no entry binds it: it was written behind the saver's back")
        return VerificationError(
            f"Row {named(key)}: {NEVER_BOUND}.{adoption_remedy(self.trail)}",
            check="unbound",
            trail=self.trail,
            table=key[0],
        )

    def _row_failed(self, check: str, key: RowKey, sentence: str, seq: int | None = None) -> VerificationError:
        return VerificationError(f"Row {named(key)}: {sentence}.", check=check, trail=self.trail, seq=seq, table=key[0])


def adoption_remedy(thread: str) -> str:
    """Return a sentence on what can be done about a thread that was never bound; "" where its name can have no trail.

    It begins with a space and belongs to the message: findings repeat that, and this remedy is of this one thread.
    """
    try:
        check_trail(thread)
    except MalformedError:
        return ""
    command = f"countersign adopt {'-- ' if thread.startswith('-') else ''}{shlex.quote(thread)}"
    return f" If it is older than Countersign, `{command}` takes it in as it is now."


class RowsCheck:
    """Holds the rows of a thread against its ledger one by one as they stream by; keeps a byte for each bound row."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._seen = bytearray(ledger.size)
        self._strange: set[_Packed] = set()

    def feed(self, table: Table, row: Sequence[Column]) -> VerificationError | None:
        """Return the failure of the next row, if it differs, is unbound or stands there again."""
        ledger, key = self._ledger, table.key_of(row)
        found = ledger._find(key)  # noqa: SLF001 - one class in two, so that many threads can be checked at once
        try:
            if found is None:
                if _pack(key) in self._strange:
                    return ledger.doubled(key)
                self._strange.add(_pack(key))
                ledger.check_row(table, row)
            elif self._seen[found]:
                return ledger.doubled(key)
            else:
                self._seen[found] = True
                ledger._check_digest(found, key, row)  # noqa: SLF001
        except VerificationError as error:
            return error
        return None

    def finish(self) -> Iterator[VerificationError]:
        """Yield a failure for each bound row that did not come by."""
        for packed, number in self._ledger._rows.items():  # noqa: SLF001
            if not self._seen[number]:
                yield self._ledger.missing(self._ledger._unpack(packed))  # noqa: SLF001


def _pack(key: RowKey) -> _Packed:
    """Return a key of this thread as one text, which takes a third of the memory.

    No row of PostgreSQL's has a NUL in it; a key that has could be mistaken for another one, and stays as it is.
    """
    table, parts = key
    packed = _LETTERS[table] + "\0".join(parts[1:])
    return packed if packed.count("\0") == len(parts) - 2 else key


def _parse_replaced(member: object) -> dict[RowKey, int]:
    if not isinstance(member, list):
        raise MalformedError("has a payload member `replaced` that is not a list.")
    result: dict[RowKey, int] = {}
    for item in member:
        if not isinstance(item, dict) or set(item) != {"table", "key", "was", "seq"}:
            raise MalformedError("has a replaced row with other members than table, key, was and seq.")
        table, key, seq = item["table"], item["key"], item["seq"]
        if not isinstance(table, str) or not isinstance(key, list) or type(seq) is not int:
            raise MalformedError("has a replaced row whose table, key or seq is of the wrong type.")
        row = (table, tuple(str(part) for part in key))
        if row in result or table not in TABLES:
            raise MalformedError("has a row replaced twice, or one of a table that is not LangGraph's.")
        result[row] = seq
    return result
