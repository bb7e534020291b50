"""RFC 6962, section 2.1, once more: the definitions as they stand there, for trees small enough to be hashed anew."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def largest_power_of_two_below(n: int) -> int:
    """k < n <= 2k."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """MTH(D[n])."""
    return tree_of_hashes([leaf_hash(leaf) for leaf in leaves])


def tree_of_hashes(hashes: Sequence[bytes]) -> bytes:
    """MTH(D[n]), where the leaf hashes are known."""
    n = len(hashes)
    if n == 0:
        return hashlib.sha256(b"").digest()
    if n == 1:
        return hashes[0]
    k = largest_power_of_two_below(n)
    return node_hash(tree_of_hashes(hashes[:k]), tree_of_hashes(hashes[k:]))


def audit_path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n]), section 2.1.1. Requires 0 <= m < n."""
    n = len(leaves)
    if n == 1:
        return []
    k = largest_power_of_two_below(n)
    if m < k:
        return [*audit_path(m, leaves[:k]), tree_hash(leaves[k:])]
    return [*audit_path(m - k, leaves[k:]), tree_hash(leaves[:k])]


def consistency(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D[n]), section 2.1.2. Requires 0 < m < n."""
    return subproof(m, leaves, complete=True)


def subproof(m: int, leaves: Sequence[bytes], *, complete: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b), where b is `complete`."""
    n = len(leaves)
    if m == n:
        return [] if complete else [tree_hash(leaves)]
    k = largest_power_of_two_below(n)
    if m <= k:
        return [*subproof(m, leaves[:k], complete=complete), tree_hash(leaves[k:])]
    return [*subproof(m - k, leaves[k:], complete=False), tree_hash(leaves[:k])]


def root_of_path(m: int, n: int, leaf: bytes, path: Sequence[bytes]) -> bytes:
    """The root that PATH(m, D[n]) leads to, read backwards from its definition. Requires a path of its length."""
    if n == 1:
        return leaf
    k = largest_power_of_two_below(n)
    if m < k:
        return node_hash(root_of_path(m, k, leaf, path[:-1]), path[-1])
    return node_hash(path[-1], root_of_path(m - k, n - k, leaf, path[:-1]))


def roots_of_subproof(m: int, n: int, old: bytes | None, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The roots of m and of n leaves that SUBPROOF leads to; `old` is the root of m leaves while b is true."""
    if m == n:
        common = proof[0] if old is None else old
        return common, common
    k = largest_power_of_two_below(n)
    if m <= k:
        first, second = roots_of_subproof(m, k, old, proof[:-1])
        return first, node_hash(second, proof[-1])
    first, second = roots_of_subproof(m - k, n - k, None, proof[:-1])
    return node_hash(proof[-1], first), node_hash(proof[-1], second)
