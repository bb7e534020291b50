"""The formats once more, word by word from docs/formats.md and with nothing of this project's code.

Canonical JSON is rfc8785's, hashes are hashlib's, signatures cryptography's: so the vectors test the package, and not
the package itself.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ORIGIN = "vectors.invalid/log"
TRAIL = "case-1"
TYPE = b"application/vnd.countersign.entry+json"
DEPLOYMENT, GRAPH, STRANGER = ("0" + digit + "11" * 31 for digit in "123")
GRAPH_KINDS = ["checkpoint.*", "writes.*", "run.*", "interrupt.*", "state.*"]
Object = dict[str, Any]


def public(seed: str) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def sign(seed: str, message: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)).sign(message)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pae(body: bytes) -> bytes:
    return b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE, len(body), body)


def leaf(body: bytes) -> str:
    return sha256(b"\x00" + body)


def body_of(seq: int, prev: str, kind: str, **members: Any) -> Object:
    body: Object = {
        "spec": "countersign/entry/1",
        "origin": ORIGIN,
        "trail": TRAIL,
        "seq": seq,
        "prev": prev,
        "kind": kind,
        "occurred_at": f"2025-03-01T12:30:{seq:02}.000001Z",
        "actor": {"id": "system", "via": "system"},
        "detail": {},
    }
    return body | members


def stored(seed: str, body: Object, payload: Mapping[str, Any] | None = None) -> Object:
    """Return the row of an entry as a database has it: columns, body, signature, payload."""
    salt = data = None
    if payload is not None:
        salt, data = bytes([body["seq"]]) * 32, rfc8785.dumps(dict(payload))
        body = body | {"payload": {"digest": sha256(salt + data), "size": len(data)}}
    encoded = rfc8785.dumps(body)
    return {
        "trail": body["trail"],
        "seq": body["seq"],
        "kind": body["kind"],
        "occurred_at": body["occurred_at"],
        "body": encoded.decode(),
        "keyid": sha256(public(seed)),
        "signature": sign(seed, pae(encoded)).hex(),
        "salt": salt.hex() if salt is not None else None,
        "data": data.decode() if data is not None else None,
    }


def prev_of(entry: Object) -> str:
    return leaf(entry["body"].encode())


def envelope(entry: Object) -> Object:
    signature = base64.b64encode(bytes.fromhex(entry["signature"])).decode()
    return {
        "payload": base64.b64encode(entry["body"].encode()).decode(),
        "payloadType": TYPE.decode(),
        "signatures": [{"keyid": entry["keyid"], "sig": signature}],
    }


# A column in a vector is null, {"text"}, {"int"} (decimal) or {"bytes"} (hex).
COLUMNS: dict[str, list[str]] = {
    "checkpoints": ["thread_id", "checkpoint_ns", "checkpoint_id"],
    "checkpoint_blobs": ["thread_id", "checkpoint_ns", "channel", "version"],
    "checkpoint_writes": ["thread_id", "checkpoint_ns", "checkpoint_id", "task_id", "idx"],
}


def column_bytes(column: Any) -> bytes:
    if column is None:
        return b"\x00"
    ((kind, value),) = column.items()
    data = bytes.fromhex(value) if kind == "bytes" else value.encode()
    return b"\x01" + len(data).to_bytes(4, "big") + data


def row_hash(columns: list[Any]) -> str:
    return sha256(b"".join(map(column_bytes, columns)))


def text(*values: str | None) -> list[Any]:
    return [None if value is None else {"text": value} for value in values]


def bound(table: str, columns: list[Any]) -> Object:
    key = [next(iter(column.values())) for column in columns[: len(COLUMNS[table])]]
    return {"table": table, "key": key, "sha256": row_hash(columns)}
