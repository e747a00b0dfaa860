"""Undo and redo of a map that is edited in place, bounded by bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fgdm.errors import RequestError

from .regions import Labels, bounds, checked


@dataclass(frozen=True, eq=False)
class _Patch:
    """What a box of the map would be exchanged with."""

    x: int
    y: int
    labels: Labels


class History:
    """What was changed, box by box. most_bytes: of boxes kept; the oldest changes go first."""

    def __init__(self, most_bytes: int = 64 * 2**20) -> None:
        self._most = most_bytes
        self._done: list[_Patch] = []
        self._undone: list[_Patch] = []

    @property
    def bytes(self) -> int:
        """What the kept boxes take."""
        return sum(patch.labels.nbytes for patch in (*self._done, *self._undone))

    @property
    def can_undo(self) -> bool:
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        return bool(self._undone)

    def record(self, before: Labels, after: Labels) -> bool:
        """Remembers a change; whether there was one. What was undone can't be redone any more."""
        if checked(before).shape != checked(after).shape:
            raise RequestError(f"the map's shape changed from {before.shape} to {after.shape}")
        changed = before != after
        if not changed.any():
            return False
        x, y, width, height = bounds(changed)
        self._undone.clear()
        self._done.append(_Patch(x, y, before[y : y + height, x : x + width].copy()))
        while self._done and self.bytes > self._most:
            self._done.pop(0)
        return True

    def undo(self, labels: Labels) -> bool:
        """Takes the last change back in `labels` itself; whether there was one."""
        return _exchange(labels, self._done, self._undone)

    def redo(self, labels: Labels) -> bool:
        """Makes the change that was taken back last again; whether there was one."""
        return _exchange(labels, self._undone, self._done)


def _exchange(labels: Labels, from_: list[_Patch], to: list[_Patch]) -> bool:
    if not from_:
        return False
    patch = from_.pop()
    height, width = patch.labels.shape
    box = labels[patch.y : patch.y + height, patch.x : patch.x + width]
    to.append(_Patch(patch.x, patch.y, np.array(box)))
    box[:] = patch.labels
    return True
