"""Things that are kept for a time."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

_Kept = TypeVar("_Kept")


class Store(Generic[_Kept]):
    """Entries under names that can't be guessed, until they are too old or too many.

    seconds: an entry's age, from when `add` or `renew` was called last. may_go: which entries can
    be given up; the others stay. For one thread: the event loop's.
    """

    def __init__(
        self,
        seconds: float,
        most: int,
        may_go: Callable[[_Kept], bool] = lambda _: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds, self._most, self._may_go, self._clock = seconds, most, may_go, clock
        self._entries: OrderedDict[str, tuple[float, _Kept]] = OrderedDict()

    def add(self, entry: _Kept) -> str:
        """Its new name."""
        self._sweep(room=1)
        name = secrets.token_hex(12)
        self._entries[name] = (self._clock(), entry)
        return name

    def get(self, name: str) -> _Kept | None:
        self._sweep()
        found = self._entries.get(name)
        return None if found is None else found[1]

    def renew(self, name: str) -> None:
        """The entry's time begins anew."""
        if name in self._entries:
            self._entries[name] = (self._clock(), self._entries[name][1])

    def values(self) -> list[_Kept]:
        """The oldest first."""
        return [entry for _, entry in self._entries.values()]

    def __len__(self) -> int:
        return len(self._entries)

    def _sweep(self, room: int = 0) -> None:
        oldest = self._clock() - self._seconds
        for name, (time_of, entry) in list(self._entries.items()):
            too_many = len(self._entries) + room > self._most
            if (time_of < oldest or too_many) and self._may_go(entry):
                del self._entries[name]
