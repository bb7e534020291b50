"""Exports of one case, and a bundle read with nothing of Countersign's: zipfile, json, hashlib and RFC 6962's words."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from countersign.audit.attestations import add_cosignatures_steps
from countersign.audit.bundle import write_bundle
from countersign.audit.entry import EntryDraft
from countersign.audit.export import Ask, open_exporter, record_export
from countersign.audit.gather import gathered
from countersign.audit.note import Note, cosign
from countersign.audit.steps import run
from countersign.audit.treehead import TreeHead
from countersign.service.database import Database
from countersign.service.export_command import Export, export_trail
from integration.sealing import Log, open_appender
from rfc6962 import leaf_hash, root_of_path
from unit.heads import SECONDS, WITNESS, witness_key
from unit.samples import WHEN

CASE = "case"


def add(log: Log, *drafts: EntryDraft) -> None:
    with log.connected() as conn, conn.transaction():
        open_appender(conn, log.home).append(conn, *drafts)


def add_case(log: Log, count: int = 3, trail: str = CASE) -> None:
    """Append entries of which every other one has a payload."""
    payloads = [{"note": f"J\u00f6rg, {number}"} if number % 2 else None for number in range(count)]
    add(log, *(EntryDraft(trail, "review.opened", payload=payload) for payload in payloads))


def export(log: Log, out: Path, *, force: bool = False, wait: float = 0, ask: Ask | None = None) -> Export:
    target = Database(log.database.app_url, log.database.owner_url, log.home)
    return export_trail(target, CASE, out, force=force, wait=wait, ask=ask)


def export_unchecked(log: Log, trail: str, out: Path) -> Path:
    """Write the bundle of a trail without asking whether it verifies, which Countersign itself never does."""
    with log.connected() as conn:
        exported = record_export(conn, open_exporter(conn, log.home), trail)
        with (
            gathered(conn, log.memory, log.trust, exported, readme="-", created_at=WHEN) as contents,
            out.open("wb") as file,
        ):
            write_bundle(file, contents)
    return out


def exports(log: Log) -> int:
    return log.database.kinds(CASE).count("report.exported")


def cosign_head(conn: psycopg.Connection[Any], note: Note) -> None:
    """Do what a witness does, who sees this log for the first time."""
    signature = cosign(note.text, witness_key(), WITNESS, SECONDS)
    run(conn, add_cosignatures_steps(TreeHead.parse(note.text).size, [signature]))


@dataclass
class Series:
    """The files of one trail: bodies, envelopes, payload lines by `seq`, proofs by `seq`."""

    envelopes: list[dict[str, Any]]
    bodies: list[bytes]
    payloads: dict[int, dict[str, Any]]
    proofs: dict[int, dict[str, Any]]

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]

    @property
    def kinds(self) -> list[str]:
        return [entry["kind"] for entry in self.entries]


class Bundle:
    """What is in a bundle, with nothing believed yet."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as packed:
            assert packed.testzip() is None
            self.files = {name: packed.read(name) for name in packed.namelist()}
        self.manifest = json.loads(self.files["manifest.json"])
        self.head = self.files["tree-head"].decode()
        origin, size, root = self.head.split("\n")[:3]
        self.origin, self.size, self.root = origin, int(size), base64.b64decode(root)
        self.trail = self._series("trail", "payloads", "proofs")
        self.keys = self._series("keys", None, "keys-proofs")
        self.system = self._series("system", "system-payloads", "system-proofs")

    def _series(self, entries: str, payloads: str | None, proofs: str) -> Series:
        envelopes = self._lines(entries)
        beside = self._lines(payloads) if payloads else []
        return Series(
            envelopes,
            [base64.b64decode(envelope["payload"]) for envelope in envelopes],
            {line["seq"]: line for line in beside},
            {line["seq"]: line for line in self._lines(proofs)},
        )

    def _lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files[f"{name}.jsonl"].splitlines()]

    def check(self) -> None:
        """Fail unless all is as docs/formats.md says: digests, chain, payloads, and every entry below the head."""
        listed = {file["path"]: (file["sha256"], file["size"]) for file in self.manifest["files"]}
        found = {name: (hashlib.sha256(data).hexdigest(), len(data)) for name, data in self.files.items()}
        assert listed == {name: digest for name, digest in found.items() if name != "manifest.json"}
        trail = self.trail
        assert self.manifest["entries"] == len(trail.bodies)
        assert [entry["seq"] for entry in trail.entries] == list(range(1, len(trail.bodies) + 1))
        for before, entry in zip([None, *trail.bodies], trail.entries, strict=False):
            assert entry["prev"] == (leaf_hash(before).hex() if before else "0" * 64)
            assert (entry["trail"], entry["origin"]) == (self.manifest["trail"], self.origin)
        for series in (trail, self.keys, self.system):
            self._check_series(series)
        self._check_export()

    def _check_series(self, series: Series) -> None:
        assert list(series.proofs) == [entry["seq"] for entry in series.entries]
        for body, entry in zip(series.bodies, series.entries, strict=True):
            proof = series.proofs[entry["seq"]]
            path = [base64.b64decode(item) for item in proof["hashes"]]
            assert root_of_path(proof["leaf_index"], self.size, leaf_hash(body), path) == self.root
            beside = series.payloads.get(entry["seq"])
            if beside is None or "erased" in beside:
                assert ("payload" in entry) == (beside is not None)
                continue
            data = json.dumps(beside["data"], ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
            digest = hashlib.sha256(bytes.fromhex(beside["salt"]) + data).hexdigest()
            assert entry["payload"] == {"digest": digest, "size": len(data)}

    def _check_export(self) -> None:
        last, tip = self.trail.entries[-1], self.keys.entries[-1]
        assert last["kind"] == "report.exported"
        keys = {"seq": tip["seq"], "leaf_hash": leaf_hash(self.keys.bodies[-1]).hex()}
        assert last["detail"] == {"format": "bundle", "keys": keys}
        assert last["actor"]["via"] == "os-user"
        proof = self.trail.proofs[last["seq"]]
        lines = ["c2sp.org/tlog-proof@v1", f"index {proof['leaf_index']}", *proof["hashes"], "", self.head]
        assert self.files["exported.tlog-proof"].decode() == "\n".join(lines)
