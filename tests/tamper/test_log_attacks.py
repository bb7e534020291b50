"""The dishonest administrator against the log: who sees each attack, and what nobody can see without a head.

Three verifiers look at every attacked database:
- `operator`: on the machine of whoever runs it, with the log's memory as it was left;
- `stranger`: with nothing but trust.json;
- `auditor`: with trust.json and a tree head that he kept before the attack.
Where the stranger cannot know, his verdict is indeterminate: never passed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conftest import DEPLOYMENT, GRAPH, Database
from countersign.audit.entry import EntryDraft
from countersign.audit.keyfolder import LOG, KeyFolder
from countersign.audit.memory import Memory
from countersign.audit.merkle import root_hash
from countersign.audit.note import Algorithm, Note, VerifierKey, sign
from countersign.audit.outside import Outside, log_trust, read_outside
from countersign.audit.seal import open_sealer
from countersign.audit.treehead import TreeHead
from countersign.audit.verify import Finding, Report
from rfc6962 import leaf_hash
from tamper.cases import DYNAMIC, STATIC, WAITING
from tamper.tools import append_forged, attacker_key, end_of, entries_of, rechain

ROWS = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")


@dataclass
class Scene:
    """The honest database with a memory of this test's own, and what an auditor kept before anything was done to it."""

    database: Database
    kept: Path

    @property
    def trust(self) -> Any:
        return self.database.trust

    @property
    def memory(self) -> Path:
        return self.database.folder.path / "log"

    def look(self, who: str) -> Report:
        log = log_trust(self.trust)
        outside = {
            "operator": lambda: read_outside(log, Memory(self.memory)),
            "stranger": lambda: Outside(log),
            "auditor": lambda: read_outside(log, None, (self.kept,)),
        }[who]()
        return self.database.verify(outside=outside)

    def sql(self, *statements: str) -> None:
        for statement in statements:
            self.database.as_admin(statement)

    def heads(self) -> list[tuple[int, int]]:
        return self.database.query("SELECT number, tree_size FROM audit.heads ORDER BY number")

    def leaf(self, trail: str, seq: int) -> int:
        ((index,),) = self.database.query(
            "SELECT leaf_index FROM audit.leaves WHERE trail = %s AND seq = %s", (trail, seq)
        )
        return int(index)

    def size(self) -> int:
        return self.heads()[-1][1]

    def remove_trail(self, trail: str, *, leaves: bool) -> None:
        tables = ["audit.entries", "audit.payloads", *(["audit.leaves"] if leaves else [])]
        self.sql(*(f"DELETE FROM {table} WHERE trail = '{trail}'" for table in tables))
        self.sql(*(f"DELETE FROM {table} WHERE thread_id = '{trail}'" for table in ROWS))

    def cut_log(self, size: int) -> None:
        """Take out all that was sealed from leaf `size` on, which is the size of a head."""
        self.sql(
            f"DELETE FROM audit.entries e USING audit.leaves l WHERE l.trail = e.trail AND l.seq = e.seq AND "
            f"l.leaf_index >= {size}",
            f"DELETE FROM audit.payloads p USING audit.leaves l WHERE l.trail = p.trail AND l.seq = p.seq AND "
            f"l.leaf_index >= {size}",
            f"DELETE FROM audit.leaves WHERE leaf_index >= {size}",
            f"DELETE FROM audit.heads WHERE tree_size > {size}",
        )

    def reseal(self, *, memory: bool) -> None:
        """Make the log anew from what the tables hold now, and sign its heads with the real key; the memory too."""
        key = VerifierKey(self.trust.origin, Algorithm.LOG, self.database.folder.key(LOG).public)
        signer = self.database.folder.key(LOG)
        query = self.database.query
        rows = query("SELECT trail, seq, body FROM audit.entries")
        bodies = {(trail, seq): bytes(body) for trail, seq, body in rows}
        order = query("SELECT trail, seq FROM audit.leaves ORDER BY leaf_index")
        places = [(trail, seq) for trail, seq in order if (trail, seq) in bodies]
        hashes = [leaf_hash(bodies[place]) for place in places]
        self.sql("DELETE FROM audit.leaves", "DELETE FROM audit.heads")
        # A sealer takes no memory of nothing for an older copy, so its memory has to be that of a young log.
        sizes = [0, len(hashes)] if memory else [0, len(hashes) // 2, len(hashes)]
        with psycopg.connect(self.database.admin_url) as conn:
            conn.execute("SET session_replication_role = replica")
            for index, ((trail, seq), value) in enumerate(zip(places, hashes, strict=True)):
                conn.execute("INSERT INTO audit.leaves VALUES (%s, %s, %s, %s)", (trail, seq, index, value))
            for number, size in enumerate(sizes, start=1):
                head = TreeHead(key.name, size, root_hash(hashes[:size]))
                note = Note(head.text, (sign(head.text, key, signer),))
                conn.execute("INSERT INTO audit.heads VALUES (%s, %s, %s)", (number, size, note.encode()))
                if memory and size == 0:
                    shutil.rmtree(self.memory)
                    Memory(self.memory).create(note)
        if memory:
            self.seal()

    def seal(self) -> None:
        with psycopg.connect(self.database.app_url, autocommit=True) as conn:
            open_sealer(conn, self.database.home).seal(conn)


@pytest.fixture
def scene(honest: Database, tmp_path: Path) -> Scene:
    home = tmp_path / "home"
    shutil.copytree(honest.folder.path, KeyFolder.of(home, honest.trust.origin).path)
    kept = tmp_path / "kept"
    shutil.copy(honest.folder.path / "log" / "checkpoint", kept)
    return Scene(replace(honest, home=home), kept)


# --- what an administrator does


def _edit(scene: Scene) -> None:
    scene.sql(f"UPDATE audit.entries SET body = body || '\\x20' WHERE trail = '{STATIC}' AND seq = 6")


def _delete(scene: Scene) -> None:
    scene.sql(*(f"DELETE FROM audit.{table} WHERE trail = '{STATIC}' AND seq = 6" for table in ("entries", "payloads")))


def _delete_with_its_leaf(scene: Scene) -> None:
    _delete(scene)
    scene.sql(f"DELETE FROM audit.leaves WHERE trail = '{STATIC}' AND seq = 6")


def _insert(scene: Scene) -> None:
    append_forged(scene.database, EntryDraft(STATIC, "run.started"), attacker_key())


def _insert_with_the_graph_key(scene: Scene) -> None:
    """What a thief of the graph key can add is an entry like others: found as soon as it says what it may not."""
    append_forged(scene.database, EntryDraft(STATIC, "decision.made"), scene.database.folder.key(GRAPH))


def _insert_before_the_end(scene: Scene) -> None:
    """Sealed entries are moved up by one, all chained and signed anew with the real key; their leaves stay."""
    rechain(scene.database, STATIC, scene.database.folder.key(GRAPH), lambda body: body.update(run="another"), first=10)


def _reorder(scene: Scene) -> None:
    a, b = scene.leaf(STATIC, 6), scene.leaf(STATIC, 7)
    scene.sql(f"UPDATE audit.leaves SET leaf_index = {a} + {b} - leaf_index WHERE trail = '{STATIC}' AND seq IN (6, 7)")


def _reorder_trails(scene: Scene) -> None:
    """Two leaves of different trails change places: each trail's own order stays."""
    a, b = scene.leaf(STATIC, 13), scene.leaf(DYNAMIC, 1)
    scene.sql(
        f"UPDATE audit.leaves SET leaf_index = {a} + {b} - leaf_index WHERE leaf_index IN ({a}, {b})",
    )


def _cut_entry(scene: Scene) -> None:
    scene.sql(f"DELETE FROM audit.entries WHERE trail = '{STATIC}' AND seq = 13")


def _cut_everything(scene: Scene) -> None:
    """Whole cases vanish with leaves, heads and rows: by itself the database looks like an older one."""
    size = next(size for _, size in scene.heads() if size > scene.leaf(STATIC, 13))
    assert scene.leaf(DYNAMIC, 1) >= size
    for trail in (DYNAMIC, WAITING):
        scene.remove_trail(trail, leaves=False)
    scene.cut_log(size)


def _empty(scene: Scene) -> None:
    tables = ["audit.entries", "audit.payloads", "audit.leaves", "audit.heads", *ROWS]
    scene.sql(*(f"DELETE FROM {table}" for table in tables))


def _empty_log(scene: Scene) -> None:
    scene.sql("DELETE FROM audit.leaves", "DELETE FROM audit.heads")


def _empty_log_but_its_beginning(scene: Scene) -> None:
    """As if nothing had ever been sealed: the honest first head, and every entry waiting for its leaf."""
    scene.sql("DELETE FROM audit.leaves", "DELETE FROM audit.heads WHERE tree_size > 0")


def _remove_trail(scene: Scene) -> None:
    scene.remove_trail(STATIC, leaves=False)


def _remove_trail_with_its_leaves(scene: Scene) -> None:
    scene.remove_trail(STATIC, leaves=True)


def _remove_trail_and_reseal(scene: Scene) -> None:
    scene.remove_trail(STATIC, leaves=True)
    scene.reseal(memory=False)


def _replay(scene: Scene) -> None:
    for table in ("entries", "payloads"):
        scene.sql(
            f"CREATE TEMP TABLE replayed AS SELECT * FROM audit.{table} WHERE trail = '{STATIC}'; "
            f"UPDATE replayed SET trail = 'case-other'; INSERT INTO audit.{table} SELECT * FROM replayed; "
            "DROP TABLE replayed",
        )


def _replay_signed(scene: Scene) -> None:
    """A trail once more under another id, signed anew with the stolen graph key, and never sealed."""
    _replay(scene)
    rechain(
        scene.database, "case-other", scene.database.folder.key(GRAPH), lambda body: body.update(trail="case-other")
    )


def _rewrite(scene: Scene) -> None:
    """Another decision from the start of a trail on, all of it signed anew with the real keys."""

    def reject(body: dict[str, Any]) -> None:
        if body["kind"] == "state.updated":
            body["actor"]["id"] = "somebody-else"

    rechain(scene.database, STATIC, scene.database.folder.key(GRAPH), reject)


def _rewrite_with_leaves(scene: Scene) -> None:
    _rewrite(scene)
    for seq, body in entries_of(scene.database, STATIC):
        scene.database.as_admin(
            "UPDATE audit.leaves SET leaf_hash = %s WHERE trail = %s AND seq = %s", (leaf_hash(body), STATIC, seq)
        )


def _rewrite_and_reseal(scene: Scene) -> None:
    _rewrite(scene)
    scene.reseal(memory=False)


def rewrite_everything(scene: Scene) -> None:
    _rewrite(scene)
    scene.reseal(memory=True)


def _restore_backup(scene: Scene) -> None:
    """The database of the last head but one, as a backup would bring it back: what came later is not sealed yet."""
    size = scene.heads()[-2][1]
    scene.sql(
        f"DELETE FROM audit.leaves WHERE leaf_index >= {size}", f"DELETE FROM audit.heads WHERE tree_size > {size}"
    )


def _stale_head(scene: Scene) -> None:
    """Only the newest head is taken out; leaves and entries stay."""
    scene.sql(f"DELETE FROM audit.heads WHERE tree_size = {scene.size()}")


def _second_head(scene: Scene) -> None:
    """A second head of the last size, over another tree, signed with the log's own key: what a split view needs."""
    folder = scene.database.folder
    key = VerifierKey(scene.trust.origin, Algorithm.LOG, folder.key(LOG).public)
    head = TreeHead(key.name, scene.size(), bytes(32))
    note = Note(head.text, (sign(head.text, key, folder.key(LOG)),)).encode()
    scene.database.as_admin("UPDATE audit.heads SET note = %s WHERE tree_size = %s", (note, head.size))


def _foreign_head(scene: Scene) -> None:
    signer = attacker_key()
    key = VerifierKey(scene.trust.origin, Algorithm.LOG, signer.public)
    head = TreeHead(key.name, scene.size(), bytes(32))
    note = Note(head.text, (sign(head.text, key, signer),)).encode()
    scene.database.as_admin("UPDATE audit.heads SET note = %s WHERE tree_size = %s", (note, head.size))


def _key_of_another_kind(scene: Scene) -> None:
    """An entry signed with the log's key, which signs heads and no entry."""
    append_forged(scene.database, EntryDraft(STATIC, "run.started"), scene.database.folder.key(LOG))


def _retired_key(scene: Scene) -> None:
    """The graph key is given up and that is sealed; then somebody goes on signing with it."""
    _end_key(scene, "key.retired", {})
    scene.seal()
    append_forged(scene.database, EntryDraft("case-late", "run.started"), scene.database.folder.key(GRAPH))


def revoke_key(scene: Scene) -> None:
    """The graph key is revoked from the first leaf of a trail on."""
    _end_key(scene, "key.revoked", {"since": scene.leaf(STATIC, 2)})
    scene.seal()


def _end_key(scene: Scene, kind: str, more: dict[str, Any]) -> None:
    keyid = scene.database.folder.key(GRAPH).public.keyid.hex()
    draft = EntryDraft("@keys", kind, detail={"keyid": keyid, **more})
    append_forged(scene.database, draft, scene.database.folder.key(DEPLOYMENT))
    seq, _ = end_of(scene.database, "@keys")
    scene.sql(f"INSERT INTO countersign.unsealed VALUES ('@keys', {seq})")


def _column(scene: Scene) -> None:
    scene.sql(f"UPDATE audit.entries SET kind = 'run.failed' WHERE trail = '{STATIC}' AND seq = 6")


def _leaf_hash(scene: Scene) -> None:
    scene.sql(f"UPDATE audit.leaves SET leaf_hash = sha256('x') WHERE trail = '{STATIC}' AND seq = 6")


def _tile(scene: Scene) -> None:
    path = scene.memory / "tile" / "0" / "000.p" / f"{scene.size()}"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)


FAILED, UNKNOWN, PASSED = "failed", "indeterminate", "passed"


@dataclass(frozen=True)
class Row:
    """One attack; the verdicts of operator, stranger and auditor; and the first bad place as the auditor is told it."""

    deed: Callable[[Scene], None]
    operator: str
    stranger: str
    auditor: str
    check: str
    trail: str | None = None
    seq: int | None = None
    seen_by: str = "auditor"


TABLE = {
    "edit": Row(_edit, FAILED, FAILED, FAILED, "body", STATIC, 6),
    "delete": Row(_delete, FAILED, FAILED, FAILED, "leaf", STATIC, 6),
    "delete with its leaf": Row(_delete_with_its_leaf, FAILED, FAILED, FAILED, "sequence", STATIC, 7),
    "insert": Row(_insert, FAILED, FAILED, FAILED, "key", STATIC, 14),
    "insert with the graph key": Row(_insert_with_the_graph_key, FAILED, FAILED, FAILED, "authority", STATIC, 14),
    "a tail signed anew": Row(_insert_before_the_end, FAILED, FAILED, FAILED, "leaf", STATIC, 10),
    "reorder": Row(_reorder, FAILED, FAILED, FAILED, "order", STATIC, 7),
    "reorder between trails": Row(_reorder_trails, FAILED, FAILED, FAILED, "head"),
    "entry cut off": Row(_cut_entry, FAILED, FAILED, FAILED, "leaf", STATIC, 13),
    "tail cut with its leaves and heads": Row(_cut_everything, FAILED, UNKNOWN, FAILED, "head"),
    "tables emptied": Row(_empty, FAILED, FAILED, FAILED, "key", "@keys"),
    "log emptied": Row(_empty_log, FAILED, FAILED, FAILED, "head"),
    "log emptied but its beginning": Row(_empty_log_but_its_beginning, FAILED, UNKNOWN, FAILED, "head"),
    "trail removed": Row(_remove_trail, FAILED, FAILED, FAILED, "leaf", STATIC, 1),
    "trail removed with its leaves": Row(_remove_trail_with_its_leaves, FAILED, FAILED, FAILED, "leaf"),
    "trail removed, log sealed anew": Row(_remove_trail_and_reseal, FAILED, UNKNOWN, FAILED, "head"),
    "trail replayed": Row(_replay, FAILED, FAILED, FAILED, "column", "case-other", 1),
    "trail replayed and signed": Row(_replay_signed, FAILED, FAILED, FAILED, "binding", "case-other", 2),
    "rewritten with the real key": Row(_rewrite, FAILED, FAILED, FAILED, "leaf", STATIC, 9),
    "rewritten, leaves too": Row(_rewrite_with_leaves, FAILED, FAILED, FAILED, "head"),
    "rewritten and sealed anew": Row(_rewrite_and_reseal, FAILED, UNKNOWN, FAILED, "head"),
    "rewritten and sealed anew, memory too": Row(rewrite_everything, PASSED, UNKNOWN, FAILED, "head"),
    "backup restored": Row(_restore_backup, FAILED, UNKNOWN, FAILED, "head"),
    "newest head taken out": Row(_stale_head, FAILED, FAILED, FAILED, "leaf"),
    "second head of one size": Row(_second_head, FAILED, FAILED, FAILED, "head"),
    "head of another key": Row(_foreign_head, FAILED, FAILED, FAILED, "head"),
    "key of another kind": Row(_key_of_another_kind, FAILED, FAILED, FAILED, "key", STATIC, 14),
    "retired key": Row(_retired_key, FAILED, FAILED, FAILED, "key", "case-late", 1),
    "revoked key": Row(revoke_key, FAILED, FAILED, FAILED, "key"),
    "column against body": Row(_column, FAILED, FAILED, FAILED, "column", STATIC, 6),
    "leaf against body": Row(_leaf_hash, FAILED, FAILED, FAILED, "leaf", STATIC, 6),
    "tile against entries": Row(_tile, FAILED, UNKNOWN, PASSED, "tile", seen_by="operator"),
}


@pytest.mark.parametrize("name", list(TABLE))
def test_each_attack_is_seen_by_whom_the_table_says(scene: Scene, name: str) -> None:
    row = TABLE[name]
    assert [scene.look(who).verdict for who in ("operator", "stranger", "auditor")] == [PASSED, UNKNOWN, PASSED]
    row.deed(scene)
    reports = {who: scene.look(who) for who in ("operator", "stranger", "auditor")}
    assert {who: report.verdict.value for who, report in reports.items()} == {
        "operator": row.operator,
        "stranger": row.stranger,
        "auditor": row.auditor,
    }
    first: Finding = reports[row.seen_by].findings[0]
    assert (first.check, first.trail, first.seq) == (row.check, row.trail or first.trail, row.seq or first.seq)
    assert first.message.endswith(".")
