"""Progress of a request: one line that redraws itself on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

_BAR_CELLS = 24
_PLAIN_INTERVAL_SECONDS = 1.0


class Progress:
    """Shows stages and their steps on `stream` (standard error by default); any thread may call.

    On a terminal it redraws one line with a bar and the time left in the stage; elsewhere it writes
    a line when a stage begins and ends, and at most one a second in between.
    """

    def __init__(
        self, stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._clock = clock
        self._lock = threading.Lock()
        self._stage = ""
        self._done = 0
        self._stage_began = 0.0
        self._written = 0.0
        self._finished = True

    def stage(self, name: str) -> None:
        """Ends the stage before and begins `name`."""
        with self._lock:
            self._begin(name)

    def step(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` steps of a stage are finished.

        Begins the stage if it's a new one, or anew if its count falls: large requests run in parts.
        """
        with self._lock:
            if stage != self._stage or done < self._done:
                self._begin(stage)
            self._done = done
            now = self._clock()
            elapsed = now - self._stage_began
            if self._terminal:
                self._redraw(_bar(stage, done, total, elapsed))
            elif done >= total or now - self._written >= _PLAIN_INTERVAL_SECONDS:
                left = f", {_left(done, total, elapsed)}" if 0 < done < total else ""
                self._line(f"{stage}: step {done} of {total}, {elapsed:.1f} s{left}")

    def close(self) -> None:
        """Ends the last stage and leaves the cursor on a line of its own."""
        with self._lock:
            self._end()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self, stage: str) -> None:
        self._end()
        self._stage = stage
        self._done = 0
        self._stage_began = self._clock()
        self._finished = False
        if self._terminal:
            self._redraw(stage)
        else:
            self._line(stage)

    def _end(self) -> None:
        if self._terminal and not self._finished:
            self._write("\n")
        self._finished = True

    def _redraw(self, line: str) -> None:
        columns = shutil.get_terminal_size().columns
        self._write("\r" + line[: columns - 1] + "\x1b[K")

    def _line(self, line: str) -> None:
        self._write(line + "\n")
        self._written = self._clock()

    def _write(self, text: str) -> None:
        """What can't be shown, on a full disk or without a reader, stops no work."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


def _bar(stage: str, done: int, total: int, elapsed: float) -> str:
    filled = _BAR_CELLS * done // total if total else _BAR_CELLS
    bar = "#" * filled + "-" * (_BAR_CELLS - filled)
    if done >= total:
        time_text = f"{elapsed:.1f} s"
    elif done:
        time_text = _left(done, total, elapsed)
    else:
        time_text = ""
    return f"{stage:<28} [{bar}] {done:>3}/{total}  {time_text}".rstrip()


def _left(done: int, total: int, elapsed: float) -> str:
    """How long the steps to go will take, at the pace of those that are done."""
    return f"{elapsed / done * (total - done):.0f} s left"
