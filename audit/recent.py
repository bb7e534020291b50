"""A bounded memory of the most recently used: what falls out is read and checked again, never guessed."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A mapping of at most `size` items that forgets the least recently used one."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return the item and count it as used, or None."""
        try:
            self._items.move_to_end(key)
            return self._items[key]
        except KeyError:
            return None

    def __setitem__(self, key: K, value: V) -> None:
        self._items[key] = value
        self._items.move_to_end(key)
        while len(self._items) > self._size:
            self._items.popitem(last=False)

    def discard(self, key: K) -> None:
        """Forget the item, if it is here."""
        self._items.pop(key, None)
