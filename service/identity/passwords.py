"""Passwords: argon2id as pwdlib recommends it, in threads, so that nobody waits who does not sign in.

Whoever calls must hold no transaction meanwhile: one verification takes a sixth of a second, on purpose.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from pwdlib import PasswordHash
from pwdlib.hashers import HasherProtocol
from pwdlib.hashers.argon2 import Argon2Hasher

_SALT_BYTES = 16


class Passwords:
    """Hashes and verifies passwords, at most one a processor at a time: each takes 64 MiB.

    `hasher` is for tests; without it the parameters are those that pwdlib recommends.
    """

    def __init__(self, hasher: HasherProtocol | None = None, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self._hash = PasswordHash((hasher or Argon2Hasher(),))
        self._random = random
        self._turns = asyncio.Semaphore(os.cpu_count() or 1)
        self._nobodys = self._hash.hash(random(32), salt=random(_SALT_BYTES))

    async def hash(self, password: str) -> str:
        """Return what is stored in place of `password`."""
        async with self._turns:
            return await asyncio.to_thread(self._hash.hash, password, salt=self._random(_SALT_BYTES))

    async def verify(self, password: str | None, secret: str | None) -> bool:
        """Tell whether `password` is the one of `secret`.

        Without a secret, or a password that could be one, it is False after the same work: how long that takes does
        not tell whether a name exists.
        """
        async with self._turns:
            good = await asyncio.to_thread(self._hash.verify, password or "", secret or self._nobodys)
        return good and bool(password) and secret is not None
