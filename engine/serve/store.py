"""Things that are kept for a time."""

from __future__ import annotations

import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

_Kept = TypeVar("_Kept")


@dataclass(frozen=True)
class _Entry(Generic[_Kept]):
    kept: _Kept
    since: float
    size: int


class Store(Generic[_Kept]):
    """Entries under names that can't be guessed, until they are too old, too many or too large.

    seconds: an entry's age, from when `add` or `renew` was called last. most, most_bytes: how many,
    and how large together; beyond that those that are longest there go first, and the newest stays
    however large it is. may_go: which entries can be given up; the others stay.
    size: an entry's bytes, asked for by `add` and `renew`. For one thread: the event loop's.
    """

    def __init__(
        self,
        seconds: float,
        most: int,
        most_bytes: float = math.inf,
        *,
        may_go: Callable[[_Kept], bool] = lambda _: True,
        size: Callable[[_Kept], int] = lambda _: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds, self._most, self._most_bytes = seconds, most, most_bytes
        self._may_go, self._size, self._clock = may_go, size, clock
        self._entries: OrderedDict[str, _Entry[_Kept]] = OrderedDict()

    def limit(self, seconds: float, most: int, most_bytes: float) -> None:
        """From now on."""
        self._seconds, self._most, self._most_bytes = seconds, most, most_bytes

    def add(self, entry: _Kept, name: str | None = None) -> str:
        """Its name: the one given, else a new one."""
        name = name or secrets.token_hex(12)
        self._entries[name] = _Entry(entry, self._clock(), self._size(entry))
        self._entries.move_to_end(name)
        self._sweep()
        return name

    def get(self, name: str) -> _Kept | None:
        self._sweep()
        found = self._entries.get(name)
        return None if found is None else found.kept

    def renew(self, name: str) -> None:
        """The entry's time begins anew, and it is as large as it is now."""
        if name in self._entries:
            self.add(self._entries[name].kept, name)

    def values(self) -> list[_Kept]:
        return [entry for _, entry in self.items()]

    def items(self) -> list[tuple[str, _Kept]]:
        """The oldest first."""
        return [(name, entry.kept) for name, entry in self._entries.items()]

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def _sweep(self) -> None:
        oldest = self._clock() - self._seconds
        count, size = len(self._entries), sum(entry.size for entry in self._entries.values())
        for name, entry in list(self._entries.items()):
            is_newest = name == next(reversed(self._entries))
            too_much = count > self._most or size > self._most_bytes
            if (entry.since < oldest or (too_much and not is_newest)) and self._may_go(entry.kept):
                del self._entries[name]
                count, size = count - 1, size - entry.size
