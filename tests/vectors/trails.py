"""trails.json: a trail of three entries with `@keys` and LangGraph's rows, and the same with one damage each."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import rfc8785

from vectors.form import (
    DEPLOYMENT,
    GRAPH,
    GRAPH_KINDS,
    ORIGIN,
    STRANGER,
    Object,
    body_of,
    bound,
    pae,
    prev_of,
    public,
    sign,
    stored,
    text,
)

ZERO = "0" * 64


def row(dose: int) -> Object:
    """Return the checkpoint c1 with this dose."""
    columns = text("case-1", "", "c1", None, None, f'{{"v": 4, "channel_values": {{"dose": {dose}}}}}', "{}")
    return {"table": "checkpoints", "columns": columns}


def blob(number: str, data: str) -> Object:
    return {
        "table": "checkpoint_blobs",
        "columns": [*text("case-1", "", "messages", number, "msgpack"), {"bytes": data}],
    }


def trail() -> list[Object]:
    """Return three entries: a run, a checkpoint with two rows, and an edit that replaces one of them."""
    first = stored(GRAPH, body_of(1, ZERO, "run.started", run="r1"))
    rows = [bound(**blob("1", "91a161")), bound(**row(5))]
    second = stored(GRAPH, body_of(2, prev_of(first), "checkpoint.saved", run="r1"), {"rows": rows})
    change = {"table": "checkpoints", "key": ["case-1", "", "c1"], "was": [], "seq": 2}
    payload = {"rows": [bound(**row(6))], "replaced": [change]}
    return [first, second, stored(GRAPH, body_of(3, prev_of(second), "state.updated"), payload)]


def introduction(seed: str, kinds: list[str]) -> Object:
    return {"public_key": base64.b64encode(public(seed)).decode(), "purpose": "entry", "kinds": kinds}


def keys(first: str = DEPLOYMENT, second: str | None = None, kind: str = "key.introduced") -> list[Object]:
    """Return `@keys`: the deployment key, and the graph key introduced by it (or by `second`)."""
    own = stored(first, body_of(1, ZERO, "key.introduced", trail="@keys", detail=introduction(first, ["*"])))
    members = {"trail": "@keys", "detail": introduction(GRAPH, GRAPH_KINDS)}
    return [own, stored(second or first, body_of(2, prev_of(own), kind, **members))]


def resealed(entry: Object, seed: str = GRAPH, **members: Any) -> Object:
    """Return the entry with another body that `seed` really signed; its columns say the same."""
    body = body_from(entry) | members
    data = rfc8785.dumps(body)
    columns = {key: body[key] for key in ("trail", "seq", "kind", "occurred_at")}
    return entry | columns | {"body": data.decode(), "signature": sign(seed, pae(data)).hex()} | key_of(seed)


def key_of(seed: str) -> Object:
    return {"keyid": stored(seed, body_of(1, ZERO, "run.started"))["keyid"]}


def body_from(entry: Object) -> Object:
    value: Object = json.loads(entry["body"])
    return value


Damage = Callable[[list[Object]], object]


def setting(index: int, **values: Any) -> Damage:
    return lambda entries: entries[index].update(values)


def sealing(index: int, seed: str = GRAPH, **members: Any) -> Damage:
    return lambda entries: entries.__setitem__(index, resealed(entries[index], seed, **members))


def edit_body(entries: list[Object]) -> None:
    entries[1]["body"] = entries[1]["body"].replace('"r1"', '"r2"')


def flip(entries: list[Object]) -> None:
    signature = entries[1]["signature"]
    entries[1]["signature"] = f"{int(signature[0], 16) ^ 1:x}{signature[1:]}"


def loosen(entries: list[Object]) -> None:
    body = entries[1]["body"].replace(",", ", ")
    entries[1] |= {"body": body, "signature": sign(GRAPH, pae(body.encode())).hex()}


def silent(entries: list[Object]) -> None:
    """Replace a row without saying so."""
    payload = {"rows": [bound(**row(6))]}
    entries[2] = stored(GRAPH, body_of(3, prev_of(entries[1]), "state.updated"), payload)


def adopted() -> list[Object]:
    """Return a trail that begins with a run and goes on with the adoption of the rows that were there."""
    first = trail()[0]
    payload = {"rows": [bound(**blob("1", "91a161")), bound(**row(6))]}
    return [first, stored(DEPLOYMENT, body_of(2, prev_of(first), "trail.adopted"), payload)]


def adopt_later(entries: list[Object]) -> None:
    """Adopt a row that is not bound, although others of the thread are."""
    body = body_of(3, prev_of(entries[1]), "trail.adopted")
    entries[2] = stored(DEPLOYMENT, body, {"rows": [bound(**blob("2", "c0"))]})


def then(*steps: tuple[str, str]) -> Damage:
    """Let runs go on behind the three entries: each step is a kind and a run."""

    def go_on(entries: list[Object]) -> None:
        for said, run in steps:
            kind, _, recovered = said.partition(" ")
            detail: Object = {"recovered": True} if recovered else {}
            body = body_of(entries[-1]["seq"] + 1, prev_of(entries[-1]), kind, run=run, detail=detail)
            entries.append(stored(GRAPH, body))

    return go_on


def grown(*steps: tuple[str, str]) -> list[Object]:
    entries = trail()
    then(*steps)(entries)
    return entries


R2, R3, SAVED = ("run.resumed", "r2"), ("run.resumed", "r3"), "checkpoint.saved"
LOST = grown(R2, (SAVED, "r2"), R3, (SAVED, "r3"))
LATE = grown(R2, ("run.failed", "r2"), R3, ("writes.saved", "r2"), (SAVED, "r3"), ("run.completed", "r3"))

DAMAGES: list[tuple[str, Damage, str, int]] = [
    ("the body edited", edit_body, "signature", 2),
    ("the body in another encoding, signed again", loosen, "body", 2),
    ("a bit of the signature flipped", flip, "signature", 2),
    ("signed by a key nobody introduced", sealing(1, STRANGER), "key", 2),
    ("a decision signed with the graph key", sealing(1, kind="review.signed"), "authority", 2),
    ("the column kind edited", setting(1, kind="run.completed"), "column", 2),
    ("the column trail edited", setting(1, trail="case-2"), "column", 2),
    ("the column occurred_at edited", setting(1, occurred_at="2025-03-01T12:30:02.000002Z"), "column", 2),
    ("of another log", sealing(1, origin="other.invalid/log"), "origin", 2),
    ("an entry removed", lambda entries: entries.pop(1), "sequence", 3),
    ("the first entry removed", lambda entries: entries.pop(0), "sequence", 2),
    ("an entry twice", lambda entries: entries.insert(1, entries[1]), "sequence", 2),
    ("an entry rewritten with a rightful key", sealing(0, run="r9"), "chain", 2),
    ("prev rewritten", sealing(2, prev="ab" * 32), "chain", 3),
    ("the payload edited", setting(1, data='{"rows":[]}'), "payload", 2),
    ("the salt edited", setting(1, salt="00" * 32), "payload", 2),
    ("the payload gone", setting(1, salt=None, data=None), "payload", 2),
    ("a payload nobody committed to", setting(0, salt="00" * 32, data="{}"), "payload", 1),
    ("a row replaced without a word", silent, "binding", 3),
    ("an adoption of a thread that is bound already", adopt_later, "binding", 3),
    ("an adoption signed with the graph key", sealing(1, kind="trail.adopted"), "authority", 2),
    ("two runs side by side", then(R2, R3, (SAVED, "r2"), (SAVED, "r3"), ("run.completed", "r2")), "overlap", 6),
    (
        "a slow run taken for one that was lost",
        then(R2, ("run.completed recovered", "r2"), R3, (SAVED, "r2")),
        "overlap",
        7,
    ),
    ("an edit beside a run", then((SAVED, "r1")), "overlap", 4),
]

ROWS: list[tuple[str, list[Object], str]] = [
    ("a row edited", [row(60), blob("1", "91a161")], "row"),
    ("a row put back to what an earlier entry bound", [row(5), blob("1", "91a161")], "row"),
    ("a row gone", [row(6)], "missing"),
    ("a row put in", [row(6), blob("1", "91a161"), blob("2", "c0")], "unbound"),
]


def damaged(desc: str, entries: list[Object], rows: list[Object], check: str, seq: int | None) -> Object:
    return {"desc": desc, "entries": entries, "rows": rows, "want": {"verdict": "failed", "check": check, "seq": seq}}


def vectors() -> Object:
    """Return the document of trails.json."""
    good = [row(6), blob("1", "91a161")]
    variants = []
    for desc, damage, check, seq in DAMAGES:
        entries = deepcopy(trail())
        damage(entries)
        variants.append(damaged(desc, entries, good, check, seq))
    for desc, rows, check in ROWS:
        variants.append(damaged(desc, trail(), rows, check, {"row": 3, "missing": 2}.get(check)))
    passed = [
        {"desc": desc, "entries": entries, "rows": good, "want": {"verdict": "passed"}}
        for desc, entries in (
            ("three entries", trail()),
            ("a thread that was adopted", adopted()),
            ("a run that was lost, and the next", LOST),
            ("a write behind the end of its run", LATE),
        )
    ]
    entry = [base64.b64encode(public(DEPLOYMENT)).decode()]
    return {
        "trust": {"spec": "countersign/trust/1", "origin": ORIGIN, "entry": entry, "log": []},
        "keys": keys(),
        "trail": "case-1",
        "variants": [*passed, *variants],
        "damagedKeys": [
            {"desc": desc, "keys": entries, "want": {"check": check, "seq": seq}}
            for desc, entries, check, seq in (
                ("no entries", [], "key", None),
                ("begun by a key that nobody trusts", keys(STRANGER), "key", 1),
                ("a key that introduces itself later", keys(second=GRAPH), "key", 2),
                ("another kind of entry", keys(kind="policy.changed"), "authority", 2),
                ("the first entry removed", keys()[1:], "sequence", 2),
            )
        ],
    }
