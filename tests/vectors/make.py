"""Write the vectors: `PYTHONPATH=tests python -m vectors.make`. Same seeds, times and salts: same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import rfc8785

from vectors import notes, trails, trees
from vectors.form import (
    DEPLOYMENT,
    GRAPH,
    TRAIL,
    Object,
    body_of,
    bound,
    column_bytes,
    envelope,
    leaf,
    pae,
    public,
    stored,
    text,
)

# --- canonical.json

DOCUMENTS: list[tuple[str, str]] = [
    ("null", "null"),
    ("the largest integer", " 9007199254740991 "),
    ("the smallest integer", "-9007199254740991"),
    ("white space goes", '{ "a" : [ 1 , true , null ] }\n'),
    ("keys are sorted", '{"b":1,"a":2,"B":3,"":4,"aa":5}'),
    ("keys are sorted at every level", '{"b":{"d":1,"c":[{"f":1,"e":2}]},"a":0}'),
    ("digits in keys are text", '{"10":1,"9":2,"1":3}'),
    (
        "RFC 8785, section 3.2.3: UTF-16 code units",
        r'{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}',
    ),
    ("a key beyond the BMP comes before U+E000", r'{"\ue000":1,"\ud800\udc00":2}'),
    ("escapes that must stay", r'"\"\\\b\f\n\r\t\u0000\u001f"'),
    ("escapes that must go", r'"\/\u0061\u007f\u00e9\u2028\ud83d\ude00"'),
    ("text is not normalized", r'["\u00e9","e\u0301"]'),
    ("empty containers", '[[],{},""]'),
    ("200 levels", "[" * 200 + "]" * 200),
]

REFUSED: list[tuple[str, str | bytes, str]] = [
    ("nothing", "", "not-json"),
    ("an open bracket", "[", "not-json"),
    ("two documents", "1 2", "not-json"),
    ("a byte order mark", b"\xef\xbb\xbf1", "not-json"),
    ("a lone surrogate in UTF-8", b'"\xed\xa0\x80"', "not-json"),
    ("Latin-1", b'"\xe9"', "not-json"),
    ("a raw line feed in a string", '"\n"', "not-json"),
    ("a float", '{"a":1.5}', "float"),
    ("a float that is whole", "1.0", "float"),
    ("an exponent", "1e3", "float"),
    ("NaN", "NaN", "float"),
    ("2^53", "9007199254740992", "integer-range"),
    ("-2^53", "-9007199254740992", "integer-range"),
    ("a duplicate key", '{"a":1,"a":1}', "duplicate-key"),
    ("a duplicate key, once escaped", r'{"a":1,"\u0061":2}', "duplicate-key"),
    ("an escaped lone surrogate", r'"\ud800"', "not-unicode"),
    ("201 levels", "[" * 201 + "]" * 201, "too-deep"),
    ("minus zero", "-0", "not-canonical"),
    ("white space", '{"a": 1}', "not-canonical"),
    ("a line feed behind", "1\n", "not-canonical"),
    ("another key order", '{"b":1,"a":2}', "not-canonical"),
    ("keys in code-point order", '{"\ue000":1,"\U00010000":2}', "not-canonical"),
    ("an escaped letter", r'"\u0061"', "not-canonical"),
    ("an escaped slash", r'"\/"', "not-canonical"),
    ("upper-case hex", r'"\u001F"', "not-canonical"),
    ("a long escape", r'"\u000a"', "not-canonical"),
]

TIMES = ["2025-03-01T12:30:15.123456Z", "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"]
NOT_TIMES = [
    "2025-03-01T12:30:15Z",
    "2025-03-01T12:30:15.123Z",
    "2025-03-01T12:30:15.1234567Z",
    "2025-03-01T12:30:15.123456+00:00",
    "2025-03-01T12:30:15.123456z",
    "2025-03-01 12:30:15.123456Z",
    "2025-02-29T00:00:00.000000Z",
    "2025-06-30T23:59:60.000000Z",
    "2025-03-01T24:00:00.000000Z",
    "0000-01-01T00:00:00.000000Z",
]


def canonical_vectors() -> Object:
    refused = []
    for desc, document, error in REFUSED:
        data = document if isinstance(document, bytes) else document.encode()
        refused.append({"desc": desc, "documentHex": data.hex(), "wantErr": error})
    documents = [
        {"desc": desc, "input": text, "want": rfc8785.dumps(json.loads(text)).decode()} for desc, text in DOCUMENTS
    ]
    return {"documents": documents, "refused": refused, "times": TIMES, "notTimes": NOT_TIMES}


# --- entries.json

FULL: Object = {
    "actor": {"id": "user-17", "via": "passkey", "role": "pharmacist"},
    "workflow": {"name": "order", "version": "2.1"},
    "run": "1ef0",
    "checkpoint": {"id": "c2", "ns": "", "parent": "c1"},
    "detail": {"text": "\u00e9\u20ac\U0001f600", "n": -1},
}


def signed_vectors() -> list[Object]:
    zero = "0" * 64
    cases: list[tuple[str, str, Object, Object | None]] = [
        ("the smallest entry", GRAPH, body_of(1, zero, "run.started"), None),
        ("every member", GRAPH, body_of(2, "ab" * 32, "checkpoint.saved", **FULL), {"rows": [], "old": None}),
        ("an empty payload", GRAPH, body_of(3, "cd" * 32, "state.updated"), {}),
        ("signed by the deployment key", DEPLOYMENT, body_of(9, "ef" * 32, "review.signed", trail="@system"), None),
    ]
    vectors = []
    for desc, seed, members, payload in cases:
        entry = stored(seed, members, payload)
        body = entry["body"].encode()
        vector = {"desc": desc, "seed": seed, "publicKey": public(seed).hex(), "keyid": entry["keyid"]}
        vector |= {"members": members, "salt": entry["salt"], "payload": payload, "data": entry["data"]}
        vector |= {"body": entry["body"], "leafHash": leaf(body), "pae": pae(body).hex()}
        vectors.append(vector | {"signature": entry["signature"], "envelope": envelope(entry)})
    return vectors


WRONG_MEMBERS: list[tuple[str, Object]] = [
    ("seq zero", {"seq": 0}),
    ("seq as text", {"seq": "1"}),
    ("seq true", {"seq": True}),
    ("an empty trail", {"trail": ""}),
    ("a trail with a control character", {"trail": "a\u0085"}),
    ("an origin with a plus sign", {"origin": "a+b"}),
    ("an origin with a space", {"origin": "a b"}),
    ("prev in capitals", {"prev": "AB" * 32}),
    ("prev cut", {"prev": "ab" * 31}),
    ("a kind without action", {"kind": "run"}),
    ("a kind in capitals", {"kind": "Run.started"}),
    ("a time without decimals", {"occurred_at": "2025-03-01T12:30:15Z"}),
    ("an actor without via", {"actor": {"id": "u"}}),
    ("an actor with a name", {"actor": {"id": "u", "via": "v", "name": "n"}}),
    ("an actor with a number", {"actor": {"id": 17, "via": "v"}}),
    ("a role that is null", {"actor": {"id": "u", "via": "v", "role": None}}),
    ("a detail that is a list", {"detail": []}),
    ("a workflow without version", {"workflow": {"name": "n"}}),
    ("a run that is null", {"run": None}),
    ("a checkpoint without parent", {"checkpoint": {"id": "c", "ns": ""}}),
    ("a payload without size", {"payload": {"digest": "ab" * 32}}),
    ("a payload of negative size", {"payload": {"digest": "ab" * 32, "size": -1}}),
]


def refused_bodies() -> list[Object]:
    good = body_of(1, "0" * 64, "run.started")
    bodies = [
        ("another spec", good | {"spec": "countersign/entry/2"}, "spec"),
        ("an unknown member", good | {"comment": "x"}, "unknown-member"),
        *((f"without {key}", {k: v for k, v in good.items() if k != key}, "missing-member") for key in good),
        *((desc, good | members, "wrong-member") for desc, members in WRONG_MEMBERS),
    ]
    vectors = [{"desc": desc, "body": rfc8785.dumps(body).decode(), "wantErr": error} for desc, body, error in bodies]
    vectors[2]["wantErr"] = "spec"  # without spec nobody can say what else is missing
    room = 65_536 - len(rfc8785.dumps(good | {"detail": {"x": ""}}))
    vectors.append({"desc": "an array", "body": "[]", "wantErr": "wrong-member"})
    vectors.append(
        {"desc": "white space", "body": rfc8785.dumps(good).decode().replace(",", ", "), "wantErr": "not-canonical"}
    )
    long = rfc8785.dumps(good | {"detail": {"x": "a" * room}}).decode()
    vectors.append({"desc": "65,536 bytes", "body": long, "wantErr": "too-long"})
    return vectors


P = 2**255 - 19
ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7


def public_keys() -> list[Object]:
    weak = [("0", 0), ("1", 1), ("p-1", P - 1), ("of order 8", ORDER_8), ("of order 8, the other", P - ORDER_8)]
    large = [(f"p+{n}", P + n) for n in range(19)]
    vectors = [{"desc": "a good key", "hex": public(GRAPH).hex(), "wantErr": None}]
    for names, error in ((weak, "small-order"), (large, "not-canonical")):
        for name, y in names:
            for sign_bit in (0, 1):
                raw = (y | sign_bit << 255).to_bytes(32, "little").hex()
                vectors.append({"desc": f"y = {name}, sign {sign_bit}", "hex": raw, "wantErr": error})
    vectors.append({"desc": "31 bytes", "hex": public(GRAPH)[:31].hex(), "wantErr": "length"})
    return vectors


def entries_vectors() -> Object:
    return {"signed": signed_vectors(), "refused": refused_bodies(), "publicKeys": public_keys()}


# --- rows.json

STATE = '{"v": 4, "channel_values": {"dose": 5}}'
CHECKPOINT = text(TRAIL, "", "c1", None, None, STATE, "{}")
ROWS: list[tuple[str, str, list[Any]]] = [
    ("a checkpoint", "checkpoints", CHECKPOINT),
    ("NULL is not empty", "checkpoints", text(TRAIL, "", "c1", "", None, STATE, "{}")),
    ("2^53+1 in jsonb", "checkpoints", text(TRAIL, "", "c1", None, None, '{"n": 9007199254740993}', "{}")),
    ("text beyond ASCII", "checkpoints", text("\u00e9", "", "\U0001f600", None, None, "{}", "{}")),
    ("a blob", "checkpoint_blobs", [*text(TRAIL, "", "dose", "1", "msgpack"), {"bytes": "00ff"}]),
    ("an empty blob", "checkpoint_blobs", [*text(TRAIL, "", "dose", "1", "msgpack"), {"bytes": ""}]),
    ("no blob", "checkpoint_blobs", [*text(TRAIL, "", "dose", "1", "empty"), None]),
    (
        "a write",
        "checkpoint_writes",
        [*text(TRAIL, "", "c1", "task"), {"int": "-1"}, *text("dose", None), {"bytes": "ff" * 300}, {"text": ""}],
    ),
]


def rows_vectors() -> Object:
    from_tables = {table: {"table": table, "columns": columns} for _, table, columns in reversed(ROWS)}
    rows = [
        {"desc": desc, "table": table, "columns": columns, "bytesHex": b"".join(map(column_bytes, columns)).hex()}
        | {"want": bound(table, columns)}
        for desc, table, columns in ROWS
    ]
    member = [bound(**row) for row in (from_tables[name] for name in sorted(from_tables))]
    first = member[0]
    refused = [
        ("unsorted", member[::-1]),
        ("a row twice", [first, first]),
        ("an unknown table", [first | {"table": "entries"}]),
        ("a short key", [first | {"key": first["key"][:-1]}]),
        ("a number in a key", [first | {"key": [*first["key"][:-1], 1]}]),
        ("a digest in capitals", [first | {"sha256": "AB" * 32}]),
        ("another member", [first | {"was": None}]),
        ("an object", {}),
    ]
    return {
        "rows": rows,
        "members": [{"desc": "sorted by table and key", "rows": member}, {"desc": "empty", "rows": []}],
        "refused": [{"desc": desc, "rows": value, "wantErr": "rows"} for desc, value in refused],
    }


def files() -> dict[str, str]:
    """Return name and text of every file."""
    vectors = {
        "canonical.json": canonical_vectors(),
        "entries.json": entries_vectors(),
        "rows.json": rows_vectors(),
        "trails.json": trails.vectors(),
        "trees.json": trees.vectors(),
        "notes.json": notes.notes(),
        "proofs.json": notes.proofs(),
    }
    return {name: json.dumps(value, indent=1) + "\n" for name, value in vectors.items()}


if __name__ == "__main__":
    for name, content in files().items():
        (Path(__file__).parent / name).write_text(content, encoding="ascii")
