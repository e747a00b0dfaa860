"""Programs that end in every way while an engine is at work, as text for a Python of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

#: What every program begins with: `engine`, and `start()`, which submits a job and returns when its
#: first step is taken.
PREAMBLE = """
import asyncio, multiprocessing, os, signal, sys, threading, time
import fgdm
stepped = threading.Event()
def see(info):
    stepped.set()
def start(**options):
    job = engine.submit("a dog", candidates=4, condition_steps=50, num_inference_steps=50, seed=1,
                        step_callback=see, **options)
    stepped.wait()
    return job
QUICK = dict(candidates=1, condition_steps=1, num_inference_steps=1, seed=1)
engine = fgdm.Engine({bundle!r}, backend="cpu", threads=1)
"""

#: Each with the exit status that Python itself would have.
PROGRAMS = {
    "end of script": ("job = start()", 0),
    "SystemExit": ("start()\nsys.exit(3)", 3),
    "exception": ("start()\nraise ValueError('elsewhere')", 1),
    "SIGINT": ("start()\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)", -signal.SIGINT),
    "asyncio": (
        "async def main():\n"
        "    threading.Timer(.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "    await engine.submit('a dog', condition_steps=99, seed=1)\n"
        "asyncio.run(main())",
        -signal.SIGINT,
    ),
    "when_done": ("job = start()\njob.when_done(lambda: print('done'))", 0),
    "daemon thread": (
        "def work():\n"
        "    while True:\n"
        "        engine.generate('a dog', **QUICK)\n"
        "threading.Thread(target=work, daemon=True).start()\ntime.sleep(.3)",
        0,
    ),
    "daemon thread that profiles": (
        "threading.Thread(target=lambda: engine.profile([2], 500), daemon=True).start()\n"
        "time.sleep(.3)",
        0,
    ),
    "daemon threads that submit": (
        "def work():\n"
        "    while True:\n"
        "        try:\n"
        "            engine.submit('a dog', **QUICK).cancel()\n"
        "            engine.find_objects('a dog beside a house ' * 500)\n"
        "        except fgdm.Error:\n"
        "            pass\n"
        "for _ in range(4):\n"
        "    threading.Thread(target=work, daemon=True).start()\n"
        "time.sleep(.5)\nsys.exit(3)",
        3,
    ),
    "daemon thread that opens engines": (
        "def work():\n"
        "    while True:\n"
        "        try:\n"
        "            fgdm.Engine({bundle!r}, backend='cpu', threads=1).close()\n"
        "        except fgdm.Error:\n"
        "            pass\n"
        "threading.Thread(target=work, daemon=True).start()\ntime.sleep(.3)\nsys.exit(3)",
        3,
    ),
    "Ctrl-C while measuring": (
        "threading.Timer(.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "engine.profile([2], 100_000)",
        -signal.SIGINT,
    ),
    "two engines": (
        "other = fgdm.Engine({bundle!r}, backend='cpu', threads=2)\n"
        "start()\nother.submit('a dog', seed=1)",
        0,
    ),
    "engine dropped in its own callback": (
        "def drop(info):\n"
        "    global engine\n"
        "    engine = None\n"
        "    stepped.set()\n"
        "engine.submit('a dog', seed=1, step_callback=drop)\nstepped.wait()",
        0,
    ),
    "fork, then exit": (
        "start()\npid = os.fork()\nif pid:\n    sys.exit(os.waitpid(pid, 0)[1] != 0)",
        0,
    ),
    "fork, then use": (
        "job = start()\npid = os.fork()\n"
        "if pid:\n"
        "    sys.exit(os.waitpid(pid, 0)[1] != 0)\n"
        "uses = [lambda: engine.generate('a dog', **QUICK), job.result, job.cancel, job.done,\n"
        "        engine.metrics, lambda: engine.profile([2], 1)]\n"
        "for use in uses:\n"
        "    try:\n"
        "        use()\n"
        "        sys.exit(5)\n"
        "    except fgdm.RequestError as error:\n"
        "        assert 'child' in str(error), error\n"
        "engine.close()",
        0,
    ),
    "fork, then an engine of its own": (
        "expected = engine.generate('a dog', **QUICK).image.tobytes()\npid = os.fork()\n"
        "if pid:\n"
        "    sys.exit(os.waitpid(pid, 0)[1] != 0)\n"
        "with fgdm.Engine({bundle!r}, backend='cpu', threads=2) as own:\n"
        "    assert own.generate('a dog', **QUICK).image.tobytes() == expected",
        0,
    ),
    "pool of forked processes": (
        "def work(seed):\n"
        "    try:\n"
        "        engine.generate('a dog', **QUICK)\n"
        "    except fgdm.RequestError:\n"
        "        return seed\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    assert pool.map(work, range(4)) == list(range(4))",
        0,
    ),
    "engines opened in forked workers": (
        "engine.close()\n"
        "def work():\n"
        "    with fgdm.Engine({bundle!r}, backend='cpu', threads=1) as own:\n"
        "        own.generate('a dog', **QUICK)\n"
        "workers = [multiprocessing.get_context('fork').Process(target=work) for _ in range(2)]\n"
        "[worker.start() for worker in workers]\n[worker.join() for worker in workers]\n"
        "sys.exit(any(worker.exitcode for worker in workers))",
        0,
    ),
}


@dataclass(frozen=True)
class Ending:
    """How a program ended: its exit status, negative for a signal; what it wrote to stderr."""

    status: int
    errors: str

    @property
    def crashed(self) -> bool:
        """Whether it died of something that nobody sent it."""
        words = ("terminate called", "Fatal Python error", "Segmentation fault", "Sanitizer")
        died = self.status < 0 and self.status != -2  # SIGINT, where Python ends by it
        return died or any(word in self.errors for word in words)


def python(
    program: str, environment: dict[str, str] | None = None, timeout: float = 180
) -> subprocess.CompletedProcess[str]:
    """Runs a program in a Python of its own; subprocess.TimeoutExpired where it hangs.

    Its children go with it: one that hangs would keep its parent's streams open.
    """
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=timeout)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def run(name: str, bundle: Path, timeout: float = 180) -> Ending:
    """Runs one of PROGRAMS; subprocess.TimeoutExpired where it hangs."""
    text = (PREAMBLE + PROGRAMS[name][0]).replace("{bundle!r}", repr(str(bundle)))
    environment = dict(os.environ)
    if "daemon" in name:  # what such a thread held when Python ended it is freed by nobody
        environment["ASAN_OPTIONS"] = environment.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    done = python(text, environment, timeout)
    return Ending(done.returncode, done.stderr)
