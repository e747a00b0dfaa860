"""Plans built in processes of their own, several at once, stopped together."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from typing import IO, Any

from ..errors import ExportError
from .order import Order

#: A builder that was told to stop and hasn't ended after this long is killed.
_PATIENCE_SECONDS = 10.0
_COMMAND = [sys.executable, "-m", "fgdm.export.plans.worker"]

#: Called as ``advance(order, percent)``, on any thread.
Advance = Callable[[Order, int], None]


class Workers:
    """Builds orders, at most `limit` at once.

    After an error or Ctrl-C in `run`, every builder has been stopped and only finished plans stay.
    """

    def __init__(self, limit: int, advance: Advance, *, deserialise: bool) -> None:
        self._limit, self._advance, self._deserialise = limit, advance, deserialise
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopping = False

    def run(self, orders: Sequence[Order], done: Callable[[Order, dict[str, Any]], None]) -> None:
        """Builds all; `done` is told each plan's metadata when it is written, on this thread.

        Raises:
            ExportError: the first that can't be built or written, or whose process died.
        """
        with ThreadPoolExecutor(self._limit) as pool:
            futures = {pool.submit(self._build, order): order for order in orders}
            try:
                for future in as_completed(futures):
                    metadata = future.result()
                    if metadata is not None:
                        done(futures[future], metadata)
            except BaseException:
                self._stop()
                raise

    def _build(self, order: Order) -> dict[str, Any] | None:
        """The metadata of a built plan; None if it was stopped."""
        task = {"order": order.as_json(), "deserialise": self._deserialise}
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            process = self._start(json.dumps(task), errors)
            if process is None:
                return None
            answer: dict[str, Any] = {}
            with suppress(BrokenPipeError), process:  # closing what a dead process didn't read
                answer = self._listen(process, order)
            with self._lock:
                self._running.discard(process)
            if "done" in answer:
                return dict(answer["done"])
            if "stopped" in answer or self._stopping:
                return None
            raise ExportError(answer.get("error") or _obituary(order, process.returncode, errors))

    def _start(self, task: str, errors: IO[str]) -> subprocess.Popen[bytes] | None:
        """A process that has its task; None once all are to stop."""
        with self._lock:
            if self._stopping:
                return None
            process = subprocess.Popen(
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C reaches us alone, and we stop it in order
            )
            self._running.add(process)
            _send(process, task)
            return process

    def _listen(self, process: subprocess.Popen[bytes], order: Order) -> dict[str, Any]:
        """The last answer of a process; {} if it died before."""
        assert process.stdout is not None
        for line in process.stdout:
            answer: dict[str, Any] = json.loads(line)
            if "progress" not in answer:
                return answer
            self._advance(order, answer["progress"])
        return {}

    def _stop(self) -> None:
        with self._lock:
            self._stopping = True
            running = list(self._running)
        for process in running:
            _send(process, "stop")
            killer = threading.Timer(_PATIENCE_SECONDS, process.kill)
            killer.daemon = True
            killer.start()


def _send(process: subprocess.Popen[bytes], line: str) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError, ValueError):  # it has ended, which its answer will tell
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()


def _obituary(order: Order, code: int, errors: IO[str]) -> str:
    errors.seek(0)
    last_words = " ".join(errors.read()[-500:].split()) or "it said nothing"
    ending = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    hint = " (the kernel ends a process so when memory runs out)" if code == -9 else ""
    return f"the process that built {order.label} {ending}{hint}: {last_words}"
