"""A small log with several trails, the bundle of one of them, and the means to take it apart and pack it again."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import zipfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from countersign.audit.bundle import Contents, Inclusion, Place, write_bundle
from countersign.audit.canonical import canonical
from countersign.audit.entry import Entry, EntryDraft, envelope
from countersign.audit.keys import FileKey, introduction
from countersign.audit.kinds import GRAPH_KINDS
from countersign.audit.logproof import LogProof
from countersign.audit.merkle import Node, inclusion_proof, root_hash
from countersign.audit.note import Note, VerifierKey, cosign, sign
from countersign.audit.treehead import LogTrust, TreeHead
from unit.heads import LOG, OTHER, SECONDS, WITNESS, log_key, witness_key
from unit.samples import DEPLOYMENT, GRAPH, ORIGIN, WHEN, binding, blob_row, checkpoint_row, introducing, sealed

TRAIL = "case-1"
ANOTHER = "case-2"
README = "Check it with: countersign verify-bundle\n"
TRUST = LogTrust((log_key(),), (witness_key(),), 1)
WITNESSED_TWICE = LogTrust((log_key(),), (witness_key(), witness_key(OTHER, "other.invalid")), 2)
Files = dict[str, bytes]


def introducing_log(key: FileKey) -> EntryDraft:
    return EntryDraft("@keys", "key.introduced", detail=introduction(key.public, ()) | {"purpose": "log"})


class Log:
    """Entries in the order of their leaves, and who signs heads over them."""

    def __init__(self, signers: Sequence[tuple[VerifierKey, FileKey]] = ((log_key(), LOG),)) -> None:
        self.entries: list[Entry] = []
        self.signers = signers

    def add(self, draft: EntryDraft, signer: FileKey = GRAPH) -> Entry:
        trail = self.trail(draft.trail)
        self.entries.append(sealed(draft, trail[-1] if trail else None, signer=signer))
        return self.entries[-1]

    def begin(self) -> None:
        """Write @keys as the first migration does, with the key of the log."""
        for draft in (
            introducing(DEPLOYMENT.public, ("*",)),
            introducing(GRAPH.public, GRAPH_KINDS),
            introducing_log(LOG),
        ):
            self.add(draft, DEPLOYMENT)

    def export(self, trail: str = TRAIL, **detail: Any) -> Entry:
        tip = self.trail("@keys")[-1]
        keys = {"keys": {"seq": tip.seq, "leaf_hash": tip.leaf_hash.hex()}}
        return self.add(EntryDraft(trail, "report.exported", detail=keys | detail), DEPLOYMENT)

    def trail(self, name: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.trail == name]

    @property
    def leaves(self) -> list[bytes]:
        return [entry.leaf_hash for entry in self.entries]

    @property
    def head(self) -> TreeHead:
        return TreeHead(ORIGIN, len(self.entries), root_hash(self.leaves))

    @property
    def note(self) -> Note:
        text = self.head.text
        signatures = [sign(text, key, signer) for key, signer in self.signers]
        return Note(text, (*signatures, cosign(text, witness_key(), WITNESS, SECONDS)))

    def _read(self, node: Node) -> bytes:
        return root_hash(self.leaves[node.index << node.level : (node.index + 1) << node.level])

    def inclusion(self, entry: Entry) -> Inclusion:
        index = self.entries.index(entry)
        return Inclusion(index, tuple(inclusion_proof(self._read, index, len(self.entries))))

    def proof(self, entry: Entry) -> LogProof:
        return LogProof(*self.inclusion(entry), self.note)

    def places(self, trail: str, erased: Mapping[int, int] | None = None) -> list[Place]:
        found = [Place(entry, self.inclusion(entry)) for entry in self.trail(trail)]
        return [forget(place, (erased or {}).get(place.entry.seq)) for place in found]

    def contents(self, trail: str = TRAIL, erased: Mapping[int, int] | None = None, **changes: Any) -> Contents:
        members: dict[str, Any] = {
            "origin": ORIGIN,
            "trail": trail,
            "created_at": WHEN,
            "entries": self.places(trail, erased),
            "keys": self.places("@keys"),
            "system": self.places("@system"),
            "head": self.note,
            "readme": README,
        }
        return Contents(**(members | changes))


def forget(place: Place, by: int | None) -> Place:
    """Return the place without its payload, if entry `by` is said to have erased it."""
    if by is None:
        return place
    entry = place.entry
    bare = Entry(entry.trail, entry.seq, entry.kind, entry.occurred_at, entry.body, entry.keyid, entry.signature)
    return Place(bare, place.inclusion, by)


def small_log(export: bool = True) -> Log:  # noqa: FBT001, FBT002 - one story with and without its end
    """Return a log of three trails, interleaved. Entry 3 of case-1 has lost its payload by entry 6."""
    log = Log()
    log.begin()
    log.add(EntryDraft("@system", "policy.changed", payload={"policy": "two signatures"}), DEPLOYMENT)
    log.add(EntryDraft(TRAIL, "run.started", run="run-1", payload={"input": {"name": "J\u00f6rg", "dose": 5}}))
    log.add(EntryDraft(ANOTHER, "run.started", run="run-2", payload={"input": {"name": "Ada"}}))
    log.add(binding(checkpoint_row(1), blob_row("1"), run="run-1"))
    log.add(EntryDraft(TRAIL, "interrupt.raised", run="run-1", payload={"value": "60 mg?"}))
    log.add(EntryDraft("@system", "user.added"), DEPLOYMENT)
    log.add(EntryDraft(TRAIL, "review.signed", run="run-1", payload={"reason": "as ordered"}), DEPLOYMENT)
    log.add(EntryDraft(TRAIL, "run.completed", run="run-1"))
    log.add(EntryDraft(TRAIL, "payload.erased", detail={"seqs": [3]}), DEPLOYMENT)
    log.add(EntryDraft(ANOTHER, "run.completed", run="run-2"))
    if export:
        log.export()
        log.add(EntryDraft("@system", "report.issued"), DEPLOYMENT)
    return log


ERASED = {3: 6}


def written(contents: Contents) -> bytes:
    file = BytesIO()
    write_bundle(file, contents)
    return file.getvalue()


def honest() -> bytes:
    return written(small_log().contents(erased=ERASED))


def unpacked(bundle: bytes) -> Files:
    with zipfile.ZipFile(BytesIO(bundle)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def packed(files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", compression) as target:
        for name, data in files.items():
            target.writestr(name, data)
    return file.getvalue()


def relisted(files: Files, **changes: Any) -> Files:
    """Return the files with a manifest that lists them as they are, as whoever changed them would."""
    manifest = json.loads(files["manifest.json"]) | changes
    manifest["files"] = [
        {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in sorted(files.items())
        if not name.startswith("manifest.json")
    ]
    return files | {"manifest.json": canonical(manifest)}


def values(files: Files, name: str) -> list[Any]:
    return [json.loads(line) for line in files[name].splitlines()]


def with_values(files: Files, name: str, lines: Sequence[Any]) -> Files:
    return files | {name: b"".join(canonical(line) + b"\n" for line in lines)}


Edit = Callable[[list[Any]], Sequence[Any]]


def edited(files: Files, name: str, edit: Edit) -> Files:
    """Return the files with the lines of one, as JSON values, edited."""
    return with_values(files, name, edit(values(files, name)))


def with_entry(files: Files, entry: Entry, name: str = "trail.jsonl") -> Files:
    """Return the files with another envelope in the place of the one with this `seq`."""

    def put(lines: list[Any]) -> list[Any]:
        return [envelope(entry) if body_of(line)["seq"] == entry.seq else line for line in lines]

    return edited(files, name, put)


def body_of(line: Any) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(base64.b64decode(line["payload"]))
    return value


def run_unpacked(folder: Path, files: Mapping[str, bytes], script: str) -> subprocess.CompletedProcess[str]:
    """Run shell lines where a bundle is unpacked, and see that nothing is left there, or behind."""
    unpack, elsewhere = folder / "unpacked", folder / "tmp"
    for path in (unpack, elsewhere):
        path.mkdir()
    for name, data in files.items():
        (unpack / name).write_bytes(data)
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(elsewhere)}
    done = subprocess.run(
        ["/bin/sh", "-c", script], cwd=unpack, env=environment, capture_output=True, text=True, check=False
    )
    assert {path.name for path in unpack.iterdir()} == {*files}
    assert (list(elsewhere.iterdir()) == []) == (done.returncode == 0)
    return done
