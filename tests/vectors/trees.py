"""Vectors of Merkle trees: roots and proofs out of RFC 6962's own definitions, and every way to get them wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache

import rfc6962
from vectors.form import Object

BODIES = [b"body %d" % number for number in range(66)]
INCLUSION = [(0, 1), (0, 2), (1, 2), (2, 3), (5, 8), (6, 7), (17, 33), (64, 65)]
CONSISTENCY = [(1, 1), (1, 2), (2, 3), (3, 4), (4, 8), (6, 7), (6, 8), (33, 65), (64, 65)]
MAX = 2**63 - 1
HUGE_INCLUSION = [(0, MAX), (MAX - 1, MAX), (2**40 + 5, 10**15)]
HUGE_CONSISTENCY = [(1, MAX), (MAX - 1, MAX), (10**9, 10**15), (2**62, MAX)]
GARBAGE = hashlib.sha256(b"garbage").digest()
Proof = list[bytes]


@cache
def alike(n: int) -> bytes:
    """The root of n leaves that are all the body `alike`: for trees that nobody can hash."""
    if n == 1:
        return rfc6962.leaf_hash(b"alike")
    k = rfc6962.largest_power_of_two_below(n)
    return rfc6962.node_hash(alike(k), alike(n - k))


def alike_path(m: int, n: int) -> Proof:
    if n == 1:
        return []
    k = rfc6962.largest_power_of_two_below(n)
    return [*alike_path(m, k), alike(n - k)] if m < k else [*alike_path(m - k, n - k), alike(k)]


def alike_subproof(m: int, n: int, *, complete: bool = True) -> Proof:
    if m == n:
        return [] if complete else [alike(n)]
    k = rfc6962.largest_power_of_two_below(n)
    if m <= k:
        return [*alike_subproof(m, k, complete=complete), alike(n - k)]
    return [*alike_subproof(m - k, n - k, complete=False), alike(k)]


def damaged(proof: Proof) -> Iterator[tuple[str, Proof]]:
    yield "garbage behind the proof", [*proof, GARBAGE]
    yield "garbage before the proof", [GARBAGE, *proof]
    if not proof:
        return
    yield "the last hash removed", proof[:-1]
    yield "the first hash removed", proof[1:]
    yield "the first hash doubled", [proof[0], *proof]
    yield "the first hash a byte short", [proof[0][:-1], *proof[1:]]
    yield "the last hash a byte long", [*proof[:-1], proof[-1] + b"\0"]
    yield "the last hash empty", [*proof[:-1], b""]
    for name, at in {"first": 0, "last": len(proof) - 1}.items():
        yield f"a bit of the {name} hash changed", [*proof[:at], flipped(proof[at]), *proof[at + 1 :]]
    if proof[::-1] != proof:
        yield "the proof turned round", proof[::-1]


def flipped(value: bytes) -> bytes:
    return value[:5] + bytes([value[5] ^ 8]) + value[6:]


def inclusion_error(index: int, size: int, leaf: bytes, root: bytes, proof: Proof) -> str | None:
    if not 0 <= index < size <= MAX:
        return "range"
    if len(proof) != len(alike_path(index, size)):
        return "proof-length"
    if any(len(value) != 32 for value in (leaf, root, *proof)):
        return "hash-length"
    return None if rfc6962.root_of_path(index, size, leaf, proof) == root else "root"


def consistency_error(first: int, second: int, roots: tuple[bytes, bytes], proof: Proof) -> str | None:
    if not 0 <= first <= second <= MAX:
        return "range"
    wanted = len(alike_subproof(first, second)) if first else 0
    if len(proof) != wanted:
        return "proof-length"
    if any(len(value) != 32 for value in (*roots, *proof)):
        return "hash-length"
    if first == 0:
        return None if roots[0] == hashlib.sha256(b"").digest() and (second or roots[0] == roots[1]) else "root"
    return None if rfc6962.roots_of_subproof(first, second, roots[0], proof) == roots else "root"


def inclusion(desc: str, index: int, size: int, leaf: bytes, root: bytes, proof: Proof) -> Object:
    return {
        "desc": desc,
        "leafIndex": str(index),
        "treeSize": str(size),
        "leafHash": leaf.hex(),
        "root": root.hex(),
        "proof": [value.hex() for value in proof],
        "wantErr": inclusion_error(index, size, leaf, root, proof),
    }


def inclusion_vectors() -> Iterator[Object]:
    for index, size in INCLUSION:
        name = f"leaf {index} of {size}"
        leaf, root = rfc6962.leaf_hash(BODIES[index]), rfc6962.tree_hash(BODIES[:size])
        proof = rfc6962.audit_path(index, BODIES[:size])
        yield inclusion(f"{name}: as it is", index, size, leaf, root, proof)
        for desc, wrong in damaged(proof):
            yield inclusion(f"{name}: {desc}", index, size, leaf, root, wrong)
        for place in sorted({(index - 1, size), (index + 1, size), (index ^ 2, size), (index, size // 2), (index, 0)}):
            yield inclusion(f"{name}: shown as leaf {place[0]} of {place[1]}", *place, leaf, root, proof)
        yield inclusion(f"{name}: another leaf", index, size, GARBAGE, root, proof)
        yield inclusion(f"{name}: another root", index, size, leaf, GARBAGE, proof)
        yield inclusion(f"{name}: the root of the empty tree", index, size, leaf, rfc6962.tree_hash([]), proof)
        if proof:
            moved = [leaf[-1:] + proof[0], *proof[1:]]
            yield inclusion(
                f"{name}: a byte moved from the leaf hash to the proof", index, size, leaf[:-1], root, moved
            )
        yield inclusion(f"{name}: no leaf hash", index, size, b"", root, proof)
        yield inclusion(f"{name}: no root", index, size, leaf, b"", proof)
    for index, size in HUGE_INCLUSION:
        name = f"leaf {index} of {size}"
        leaf, root, proof = alike(1), alike(size), alike_path(index, size)
        yield inclusion(f"{name}: all leaves alike", index, size, leaf, root, proof)
        yield inclusion(f"{name}: a bit of a hash changed", index, size, leaf, root, [flipped(proof[0]), *proof[1:]])
        yield inclusion(f"{name}: a size above 2^63-1", index, 2**63 + size, leaf, root, proof)


def consistency(desc: str, first: int, second: int, roots: tuple[bytes, bytes], proof: Proof) -> Object:
    return {
        "desc": desc,
        "first": str(first),
        "second": str(second),
        "firstRoot": roots[0].hex(),
        "secondRoot": roots[1].hex(),
        "proof": [value.hex() for value in proof],
        "wantErr": consistency_error(first, second, roots, proof),
    }


def consistency_vectors() -> Iterator[Object]:
    for first, second in CONSISTENCY:
        name = f"{first} to {second}"
        roots = rfc6962.tree_hash(BODIES[:first]), rfc6962.tree_hash(BODIES[:second])
        proof = rfc6962.consistency(first, BODIES[:second])
        yield consistency(f"{name}: as it is", first, second, roots, proof)
        for desc, wrong in damaged(proof):
            yield consistency(f"{name}: {desc}", first, second, roots, wrong)
        others = {(first - 1, second), (first + 1, second), (0, second), (second + 1, second), (first, second // 2)}
        for old, new in sorted(others):
            yield consistency(f"{name}: shown for {old} to {new}", old, new, roots, proof)
        yield consistency(f"{name}: another first root", first, second, (GARBAGE, roots[1]), proof)
        yield consistency(f"{name}: another second root", first, second, (roots[0], GARBAGE), proof)
        if first != second:
            yield consistency(f"{name}: roots swapped", first, second, roots[::-1], proof)
        if proof:
            moved, short = [roots[0][-1:] + proof[0], *proof[1:]], (roots[0][:-1], roots[1])
            yield consistency(f"{name}: a byte moved from the first root to the proof", first, second, short, moved)
        yield consistency(f"{name}: no first root", first, second, (b"", roots[1]), proof)
        yield consistency(f"{name}: no second root", first, second, (roots[0], b""), proof)
    empty, some = rfc6962.tree_hash([]), rfc6962.tree_hash(BODIES[:7])
    for desc, second, roots, proof in [
        ("nothing was added", 0, (empty, empty), []),
        ("the empty tree comes before any", 7, (empty, some), []),
        ("a proof where there is none", 7, (empty, some), [some]),
        ("a first root that is not the empty tree's", 7, (some, some), []),
        ("a second root that is not the empty tree's", 0, (empty, some), []),
    ]:
        yield consistency(f"0 to {second}: {desc}", 0, second, roots, proof)
    for first, second in HUGE_CONSISTENCY:
        name = f"{first} to {second}"
        roots, proof = (alike(first), alike(second)), alike_subproof(first, second)
        yield consistency(f"{name}: all leaves alike", first, second, roots, proof)
        yield consistency(f"{name}: a bit of a hash changed", first, second, roots, [flipped(proof[0]), *proof[1:]])
        yield consistency(f"{name}: a size above 2^63-1", first, 2**63 + second, roots, proof)


def vectors() -> Object:
    roots = [
        {"size": str(size), "bodies": [body.decode() for body in BODIES[:size]]}
        | {"root": rfc6962.tree_hash(BODIES[:size]).hex()}
        for size in (0, 1, 2, 3, 7, 8, 9)
    ]
    return {"roots": roots, "inclusion": list(inclusion_vectors()), "consistency": list(consistency_vectors())}
