"""Many hostile cases in few processes: a worker takes case numbers, a watcher sees it die or hang.

A worker is a module of this folder that calls `serve`. Cases are functions of a seed and a number,
so the smallest reproduction of a failure is the line that a failure prints.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

#: No case may take longer, seconds.
LIMIT = 10.0
#: Importing and opening may wait for a busy machine.
_START_LIMIT = 120.0
#: After so many cases a worker must also end well.
_SHIFT = 250
#: Of address space, bytes: what eats memory without end gets MemoryError, not the machine.
_MEMORY = 12 * 2**30


@dataclass(frozen=True)
class Failure:
    """A case that broke its host. reproduce: a command that runs it alone."""

    case: int
    what: str
    description: str
    reproduce: str

    def __str__(self) -> str:
        return f"case {self.case}: {self.what}\n  {self.description}\n  {self.reproduce}"


def serve(prepare: Callable[[list[str]], Callable[[int], dict[str, Any]]]) -> None:
    """A worker's main: answers each number on standard input with a line of JSON.

    `prepare` takes the arguments and returns the function that runs a case; that returns a
    dictionary with "problem", None if all is well, and "description".
    """
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    arguments = sys.argv[1:]
    channel = os.fdopen(os.dup(1), "w")  # so that nothing a case prints can be taken for an answer
    os.dup2(2, 1)
    run = prepare(arguments)
    print(json.dumps("ready"), file=channel, flush=True)
    for line in sys.stdin:
        print(json.dumps(run(int(line))), file=channel, flush=True)


class Worker:
    """A process that `serve`s; its errors go to a file, of which the end is told on a failure."""

    def __init__(self, module: str, arguments: list[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            env=os.environ | {"PYTHONDEVMODE": "", "OMP_NUM_THREADS": "1"},
        )
        self.served: list[int] = []
        self._buffer = b""
        if self._line(_START_LIMIT) != "ready":
            raise RuntimeError(f"{module} didn't start: {self.end()}")

    def ask(self, case: int) -> dict[str, Any] | str:
        """The answer, or in words how the process ended instead."""
        self.served.append(case)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"%d\n" % case)
            self._process.stdin.flush()
        except BrokenPipeError:
            return self.end()
        answer = self._line(LIMIT)
        if answer is None:
            return self.end()
        assert isinstance(answer, dict)
        return answer

    def end(self) -> str:
        """Lets the process end, kills it if it doesn't; "" if it ended well."""
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        how = ""
        try:
            code = self._process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)  # faulthandler tells where it hangs
            try:
                self._process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            how = f"hung for more than {LIMIT:g} s"
        else:
            if code < 0:
                how = f"was ended by {signal.Signals(-code).name}"
            elif code > 0:
                how = f"ended with code {code}"
        if how:
            how += f"; its last words:\n{self._last_words()}"
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()
        return how

    def _line(self, seconds: float) -> Any:
        """A line of JSON from the worker; None if it ends or says nothing for so long."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(seconds):
                    return None
                more = os.read(self._process.stdout.fileno(), 65536)
                if not more:
                    return None
                self._buffer += more
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    def _last_words(self) -> str:
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 3000))
        return self._errors.read().decode("utf-8", "replace")


def attack(module: str, arguments: list[str], cases: Iterable[int]) -> list[Failure]:
    """Runs the cases in a worker for each core; every failure, by number."""
    todo = iter(cases)
    lock = threading.Lock()
    failures: list[Failure] = []
    broken: list[BaseException] = []

    def take() -> Iterator[int]:
        while True:
            with lock:
                case = next(todo, None)
            if case is None or broken:
                return
            yield case

    def work() -> None:
        try:
            for failure in _run_shifts(module, arguments, take()):
                with lock:
                    failures.append(failure)
        except BaseException as error:
            broken.append(error)

    threads = [threading.Thread(target=work) for _ in range(os.cpu_count() or 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        raise broken[0]
    return sorted(failures, key=lambda failure: failure.case)


def _run_shifts(module: str, arguments: list[str], cases: Iterator[int]) -> Iterator[Failure]:
    worker: Worker | None = None
    for case in cases:
        worker = worker or Worker(module, arguments)
        answer = worker.ask(case)
        if isinstance(answer, str):
            yield _culprit(module, arguments, worker.served, answer)
            worker = None
        elif answer["problem"]:
            yield _failure(module, arguments, case, answer["problem"], answer["description"])
        if worker and len(worker.served) >= _SHIFT:
            if how := worker.end():
                yield _culprit(module, arguments, worker.served, how)
            worker = None
    if worker and (how := worker.end()):
        yield _culprit(module, arguments, worker.served, how)


def _failure(module: str, arguments: list[str], case: int, what: str, description: str) -> Failure:
    command = " ".join(["echo", str(case), "|", "python -m", module, *arguments])
    return Failure(case, what, description, command)


def _culprit(module: str, arguments: list[str], served: list[int], how: str) -> Failure:
    """The case that ends a worker by itself: the last one, or by halves one before it."""
    if _ends_badly(module, arguments, served[-1:]):
        return _failure(module, arguments, served[-1], f"the process {how}", "alone")
    cases = served
    while len(cases) > 1:
        first, second = cases[: len(cases) // 2], cases[len(cases) // 2 :]
        if _ends_badly(module, arguments, second):
            cases = second
        elif _ends_badly(module, arguments, first):
            cases = first
        else:
            break
    together = f"only after others: {cases[:3]} … {cases[-1]}" if len(cases) > 1 else "alone"
    return _failure(module, arguments, cases[-1], f"the process {how}", together)


def _ends_badly(module: str, arguments: list[str], cases: list[int]) -> bool:
    worker = Worker(module, arguments)
    return any(isinstance(worker.ask(case), str) for case in cases) or worker.end() != ""
