"""The bundle that docs/formats.md shows: the page's own entries in a log of five leaves, with a key of the log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from io import BytesIO

from countersign.audit.bundle import Contents, Inclusion, Place, write_bundle
from countersign.audit.canonical import Json
from countersign.audit.entry import Entry, EntryDraft
from countersign.audit.keys import FileKey
from countersign.audit.merkle import Node, inclusion_proof, root_hash
from countersign.audit.note import Algorithm, Note, VerifierKey, sign
from countersign.audit.treehead import TreeHead
from unit.bundles import unpacked

Export = Callable[[EntryDraft], Entry]


def bundle_of(
    keys: list[Entry], trail: list[Entry], export: Export, origin: str, log_key: FileKey, moment: datetime
) -> tuple[bytes, dict[str, str]]:
    """Return the bundle, and what the page shows of it by name."""
    tip = keys[-1]
    named: dict[str, Json] = {"keys": {"seq": tip.seq, "leaf_hash": tip.leaf_hash.hex()}}
    trail = [*trail, export(EntryDraft(trail[0].trail, "report.exported", detail=named))]
    leaves = [entry.leaf_hash for entry in (*keys, *trail)]

    def read(node: Node) -> bytes:
        return root_hash(leaves[node.index << node.level : (node.index + 1) << node.level])

    def place(leaf_index: int, entry: Entry) -> Place:
        return Place(entry, Inclusion(leaf_index, tuple(inclusion_proof(read, leaf_index, len(leaves)))))

    places = [place(number, entry) for number, entry in enumerate((*keys, *trail))]
    key = VerifierKey(origin, Algorithm.LOG, log_key.public)
    text = TreeHead(origin, len(leaves), root_hash(leaves)).text
    file = BytesIO()
    write_bundle(
        file,
        Contents(
            origin,
            trail[0].trail,
            moment,
            places[len(keys) :],
            places[: len(keys)],
            [],
            Note(text, (sign(text, key, log_key),)),
            "See docs/formats.md.\n",
        ),
    )
    files = unpacked(file.getvalue())
    shown = {
        "bundle-key": key.text,
        "bundle-exported": trail[-1].body.decode(),
        "bundle-payload": _line(files["payloads.jsonl"], 0),
        "bundle-proof": _line(files["proofs.jsonl"], 0),
        "bundle-head": files["tree-head"].decode().rstrip("\n"),
        "bundle-tlog-proof": files["exported.tlog-proof"].decode().rstrip("\n"),
        "bundle-manifest": files["manifest.json"].decode(),
    }
    return file.getvalue(), shown


def _line(data: bytes, number: int) -> str:
    return data.decode().split("\n")[number]
