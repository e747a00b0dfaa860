"""Samples from several processes of this machine, each with an engine of its own.

They write nothing: samples come back through pipes, so one that is killed leaves nothing behind.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from fgdm.errors import BackendError, Error, RequestError

from .crew import Work
from .sample import Made


class Workers:
    """Processes with an open engine each. Use it in a ``with`` statement, which ends them.

    Raises RequestError for a number below 1, and what opening an engine raises.
    """

    def __init__(self, work: Work, count: int) -> None:
        if count < 1:
            raise RequestError(f"workers is {count}, expected 1 or more")
        self._work, self._count = work, count
        self._context = multiprocessing.get_context("spawn")
        self._next = self._context.Value("q", 0)
        self._running: dict[Connection, BaseProcess] = {}

    def __enter__(self) -> Workers:
        try:
            for _ in range(self._count):
                ours, theirs = self._context.Pipe()
                process = self._context.Process(
                    target=_live, args=(self._work, theirs, self._next), daemon=True
                )
                process.start()
                theirs.close()
                self._running[ours] = process
            identities = [self._receive(connection) for connection in self._running]
            self.identity: dict[str, Any] = identities[0]
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def make(self, tasks: Sequence[Any], in_flight: int) -> Iterator[Made]:
        """The samples of the tasks, in the order in which they come; once.

        in_flight: requests that each engine has at a time. Raises what a worker raises, and
        BackendError for one that ends.
        """
        for connection in self._running:
            connection.send((list(tasks), in_flight))
        open_ = set(self._running)
        while open_:
            for ready in wait(open_):
                assert isinstance(ready, Connection)
                made = self._receive(ready)
                if made is None:
                    open_.discard(ready)
                else:
                    yield made

    def _receive(self, connection: Connection) -> Any:
        try:
            received = connection.recv()
        except (EOFError, OSError):
            process = self._running[connection]
            process.join(1)
            raise BackendError(
                f"a worker process ended with exit code {process.exitcode} (-9: it was killed, as "
                "where memory runs out); what it had made is kept: run the same command to go on"
            ) from None
        if isinstance(received, BaseException):
            raise received
        return received

    def _end(self) -> None:
        for connection, process in self._running.items():
            connection.close()
            process.kill()
            process.join()
        self._running.clear()


def _live(work: Work, connection: Connection, position: Any) -> None:
    """A worker's life. position: in the list of tasks, of the next that nobody works on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it

    def claims(tasks: Sequence[Any]) -> Iterator[Any]:
        while True:
            with position.get_lock():
                at = position.value
                position.value += 1
            if at >= len(tasks):
                return
            yield tasks[at]

    try:
        with work.open() as maker:
            connection.send(maker.identity())
            tasks, in_flight = connection.recv()
            for made in maker.make(claims(tasks), in_flight):
                connection.send(made)
            connection.send(None)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # nobody waits for it any more
    except BaseException as error:
        known = isinstance(error, (Error, ImportError, MemoryError))
        connection.send(error if known else BackendError(f"{type(error).__name__}: {error}"))
